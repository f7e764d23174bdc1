"""What a network says about what it is fed: batch-norm statistics, and the answers of its own head.

The distance of the batch norms is, per channel, Hellinger's between two normal distributions: the
inputs as they come, and the running mean and variance stored in training (0 the same, 1 disjoint).

The head is asked about each picture and two altered views of it, mirrored and zoomed in. Fed what
it was trained on, it gives the views the same name, with logits that go up and down together, and
is sure of it; confidence alone would not do, since a network fed values that are too large is sure
of anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tlfeatures.backbones import Preprocessing, normalise
from tlfeatures.errors import ImageReadError
from tlfeatures.pictures import DecodeOptions, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from tlfeatures.pictures import Pictures

    Floats = NDArray[np.float64]

BATCH = 16
FIRST_NORMS = 6  # the stem and a block: further in, wrong inputs have been normalised away
DEAD = 1e-3  # of the median variance: what quantising and pruning leave of a channel
LEAST_CLASSES = 100  # with few classes an untroubled head is as sure as a troubled one
LEAST_SPREAD = 0.01  # of what is compared, where all pictures get the same
ZOOM = 0.8  # of each side, as a training crop would take


class Sample:
    """Some of the pictures, in an order that mixes folders, decoded as they are needed.

    Parameters
    ----------
    pictures : Pictures
    options : DecodeOptions
    limit : int
        Pictures looked at, bad ones included.

    Attributes
    ----------
    bad : list of (path, reason)
    short_sides : list of int
        Of the pictures read so far, in pixels.
    """

    def __init__(self, pictures: Pictures, options: DecodeOptions, limit: int) -> None:
        self._pictures, self._options = pictures, options
        self._waiting = [int(i) for i in np.random.default_rng(0).permutation(len(pictures))]
        self._waiting = self._waiting[:limit][::-1]
        self._rows: list[int] = []
        self._made: dict[Any, list[NDArray[np.uint8]]] = {}
        self.bad: list[tuple[str, str]] = []
        self.short_sides: list[int] = []

    def squares(
        self, geometry: Preprocessing, first: int, last: int, *, is_zoomed: bool = False
    ) -> NDArray[np.uint8]:
        """Pictures first..last as the network's squares, or their middles; fewer at the end.

        Returns
        -------
        ndarray of shape (n, side, side, 3), uint8, RGB
        """
        g = geometry
        key = (g.resize, g.input_size, g.crop, g.interpolation, is_zoomed)
        made = self._made.setdefault(key, [])
        while len(made) < last and (picture := self._picture(len(made))) is not None:
            made.append(g.prepare(_middle(picture) if is_zoomed else picture))
        side, wanted = g.input_size, made[first:last]
        return np.stack(wanted) if wanted else np.zeros((0, side, side, 3), np.uint8)

    def _picture(self, place: int) -> Image.Image | None:
        """The picture at that place among those that can be read; None after the last."""
        if place < len(self._rows):
            return decode(self._pictures.items[self._rows[place]], self._options, check=False)
        while self._waiting:
            row = self._waiting.pop()
            try:
                picture = decode(self._pictures.items[row], self._options)
            except ImageReadError as error:
                self.bad.append((self._pictures.paths[row], str(error)))
                continue
            self._rows.append(row)
            self.short_sides.append(min(picture.size))
            return picture
        return None


class Patient:
    """A whole network, and what it says about what it is fed.

    Parameters
    ----------
    network : nn.Module
        In eval mode, on its device.

    Attributes
    ----------
    norms : list of batch norms
        Those that have statistics.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.device = next((p.device for p in network.parameters()), torch.device("cpu"))
        kind = nn.modules.batchnorm._BatchNorm
        self.norms = [m for m in network.modules() if isinstance(m, kind) and _has_statistics(m)]

    def answers(self, squares: NDArray[np.uint8], fed: Preprocessing) -> Floats:
        """Logits (n, n_classes) of squares (n, side, side, 3), uint8."""
        batches = [self._batch(squares[i : i + BATCH], fed) for i in range(0, len(squares), BATCH)]
        return np.concatenate([self.network(each).double().numpy(force=True) for each in batches])

    def has_head(self, squares: NDArray[np.uint8], fed: Preprocessing) -> bool:
        """Whether it names classes, many of them, and its classifier has weights."""
        logits = self.network(self._batch(squares[:1], fed))
        is_vector = isinstance(logits, torch.Tensor) and logits.ndim == 2
        return is_vector and logits.shape[1] >= LEAST_CLASSES and bool(torch.isfinite(logits).all())

    def norm_distance(self, squares: NDArray[np.uint8], fed: Preprocessing) -> float | None:
        """Mean distance, 0..1, of the first batch norms' inputs to what is stored; None: no norms.

        Nothing after those norms is computed.
        """
        parts = [squares[i : i + BATCH] for i in range(0, len(squares), BATCH)]
        met = [self._meet(self._batch(part, fed)) for part in parts]
        weights = [len(part) for part in parts]
        distances = []
        for calls in zip(*met, strict=True):
            mean, square = (
                np.average([call[i] for call in calls], axis=0, weights=weights) for i in (1, 2)
            )
            stored = [t.double().numpy(force=True) for t in _stored(calls[0][0])]
            alive = stored[1] > DEAD * np.median(stored[1])
            distances.append(hellinger(mean, square - mean**2, *stored)[alive].mean())
        return float(np.mean(distances)) if distances else None

    def _meet(self, batch: torch.Tensor) -> list[tuple[nn.Module, Floats, Floats]]:
        """The first norms that are called, with mean and mean square of each channel."""
        met: list[tuple[nn.Module, Floats, Floats]] = []

        def look(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0].float()
            axes = [0, *range(2, x.ndim)]
            # On maps with channels last torch.var_mean takes four times as long.
            mean, square = (each.mean(axes).double().numpy(force=True) for each in (x, x.square()))
            met.append((norm, mean, square))
            if len(met) == FIRST_NORMS:
                raise _EnoughSeen

        handles = [norm.register_forward_pre_hook(look) for norm in self.norms]
        try:
            self.network(batch)
        except _EnoughSeen:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return met

    def _batch(self, squares: NDArray[np.uint8], fed: Preprocessing) -> torch.Tensor:
        return normalise(torch.from_numpy(np.ascontiguousarray(squares)).to(self.device), fed)


class _EnoughSeen(Exception):  # noqa: N818  no error: how a forward pass is left early
    pass


def hellinger(
    mean: Floats,
    variance: Floats,
    other_mean: Floats,
    other_variance: Floats,
) -> Floats:
    """Squared Hellinger distance of normal distributions, shape (n_channels,), 0..1.

    Bounded, so that a few channels far off do not outweigh all others.
    """
    v, w = np.maximum(variance, 1e-12), np.maximum(other_variance, 1e-12)
    overlap = np.sqrt(2 * np.sqrt(v * w) / (v + w))
    made: Floats = 1 - overlap * np.exp(-((mean - other_mean) ** 2) / (4 * (v + w)))
    return made


def corners(squares: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A corner of each square (n, h, w, 3), the four in turn: (n, side, side, 3), or whole ones.

    Together they show all of the pictures, as statistics do, for a part of the work.
    """
    rest = squares.shape[1] - side
    if rest <= 0:
        return squares
    starts = [(rest * (i // 2 % 2), rest * (i % 2)) for i in range(len(squares))]
    pairs = zip(squares, starts, strict=True)
    return np.stack([each[top : top + side, left : left + side] for each, (top, left) in pairs])


@dataclass
class Views:
    """Logits of pictures and of their altered views, with what they say together.

    Attributes
    ----------
    logits : ndarray of shape (n_views, n, n_classes), float64
        The first view is the picture itself.
    """

    logits: Floats

    @classmethod
    def of(
        cls, patient: Patient, sample: Sample, fed: Preprocessing, first: int, last: int
    ) -> Views:
        """Ask about pictures first..last: plain, mirrored and zoomed in."""
        plain = sample.squares(fed, first, last)
        every = (plain, plain[:, :, ::-1], sample.squares(fed, first, last, is_zoomed=True))
        return cls(np.stack([patient.answers(each, fed) for each in every]))

    def and_more(self, other: Views) -> Views:
        """With further pictures."""
        return Views(np.concatenate([self.logits, other.logits], axis=1))

    def agreement(self) -> Floats:
        """Share of the altered views that get the picture's name, shape (n,)."""
        names = self.logits.argmax(axis=2)
        made: Floats = (names[1:] == names[0]).mean(axis=0)
        return made

    def correlation(self) -> Floats:
        """How far the views' logits go together, beyond what all pictures have in common, (n,)."""
        x = self.logits - self.logits.mean(axis=2, keepdims=True)
        x = x - x.mean(axis=1, keepdims=True)
        x = x / (np.linalg.norm(x, axis=2, keepdims=True) + 1e-12)
        made: Floats = (x[1:] * x[0]).sum(axis=2).mean(axis=0)
        return made

    def confidence(self) -> Floats:
        """Of the views' averaged answer, shape (n,): high if sure of the same thing each time."""
        made: Floats = softmax(self.logits).mean(axis=0).max(axis=1)
        return made


def compare(one: Views, other: Views, what: Sequence[str]) -> float:
    """How much better `one` does on the same pictures, in standard errors.

    Differences of each picture in the methods named, in units of their spread, are added up.
    """
    total = np.zeros(one.logits.shape[1])
    for name in what:
        a, b = getattr(one, name)(), getattr(other, name)()
        total += (a - b) / max(np.sqrt(a.var() + b.var()), LEAST_SPREAD)
    return float(total.mean() / (total.std() / np.sqrt(len(total)) + 1e-9))


def lead(logits: Floats) -> float:
    """By how much the first class leads the second in the middle picture, in nats."""
    top = np.sort(logits, axis=1)[:, -2:]
    return float(np.median(top[:, 1] - top[:, 0]))


def height(logits: Floats) -> Floats:
    """Of the first class above the mean of all, for each picture, shape (n,)."""
    made: Floats = logits.max(axis=1) - logits.mean(axis=1)
    return made


def lead_of(one: Floats, other: Floats) -> float:
    """By how many standard errors one is larger than the other, over the same pictures."""
    more = one - other
    return float(more.mean() / (max(more.std(ddof=1), LEAST_SPREAD) / np.sqrt(len(more))))


def softmax(logits: Floats) -> Floats:
    """Probabilities over the last axis."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    made: Floats = e / e.sum(axis=-1, keepdims=True)
    return made


def _has_statistics(norm: Any) -> bool:
    """Whether it has statistics, and not those of a network never trained."""
    if norm.running_mean is None or norm.running_var is None:
        return False
    mean, variance = _stored(norm)
    is_new = bool((mean == 0).all() and (variance == 1).all())
    return not is_new and bool(torch.isfinite(mean).all() and torch.isfinite(variance).all())


def _stored(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return norm.running_mean, norm.running_var


def _middle(picture: Image.Image) -> Image.Image:
    """The middle of the picture, a little zoomed in."""
    width, height = (max(1, round(ZOOM * side)) for side in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
