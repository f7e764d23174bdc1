"""What weights may expect of pixel values, and what a wrong preprocessing is called.

Everything here is arithmetic on `Preprocessing`; no network, no pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tlfeatures.backbones import Preprocessing, make_preprocessing
from tlfeatures.errors import PicturesError

RIGHT, CANNOT_TELL, SIZE, OTHER = "right", "cannot tell", "wrong input size", "other"
SWAPPED, UNSCALED, BARE, TWICE = "BGR", "0-255", "no mean/std", "normalised twice"
PRESETS = ("imagenet", "tf", "caffe")
AS_ASKED = "as asked"
LEAST_PICTURES = 16
SAME = 0.02  # of the range of values: presets that differ by less do not matter
SMALL_STEP = 0.1  # what a step of a pixel value 0..255 becomes: smaller for inputs of about 1


class Candidate(NamedTuple):
    """One thing that these weights may expect."""

    name: str
    preprocessing: Preprocessing


@dataclass
class Finding:
    """What was measured of one candidate.

    Attributes
    ----------
    name : str
    input_size : int
    batch_norm_distance : float or None
        0..1; None without batch norms.
    confidence, agreement : float or None
        Of the original head: mean probability of the first class; share of altered views that get
        the picture's name. None where it was not asked.
    n_pictures : int
        That the head was asked about.
    excluded : str or None
        By what; None: it is possible.
    """

    name: str
    input_size: int
    batch_norm_distance: float | None = None
    confidence: float | None = None
    agreement: float | None = None
    n_pictures: int = 0
    excluded: str | None = None


def check_count(n: int) -> None:
    """Refuse too few pictures.

    Raises
    ------
    PicturesError
    """
    if n < LEAST_PICTURES:
        have = "1 picture" if n == 1 else f"{n} pictures"
        raise PicturesError(
            f"{have} that can be read; the doctor compares over at least {LEAST_PICTURES}, "
            "100 tell more."
        )


def make_candidates(asked: Preprocessing, published: Preprocessing | None) -> list[Candidate]:
    """Everything that is tried, in the geometry of what was asked; no two are the same.

    The three presets of the field, bare values 0..1 and 0..255, the preset that was published for
    the network, each also with the channels swapped; last what was asked, if it is none of these.
    """
    every: list[Candidate] = []
    bases = [(name, _like(asked, make_named(name))) for name in PRESETS]
    rgb = replace(asked, order="RGB")
    bases += [("0-1", _bare(rgb, 255.0)), ("0-255", _bare(rgb, 1.0))]
    if published is not None:
        bases.append(("published", _like(asked, published)))
    for name, base in bases:
        swapped = swap(base)
        for each in (Candidate(name, base), Candidate(f"{name}, {swapped.order}", swapped)):
            if find_same(each.preprocessing, every) is None:
                every.append(each)
    if find_same(asked, every) is None:
        every.append(Candidate(AS_ASKED, asked))
    return every


def find_same(preprocessing: Preprocessing, candidates: list[Candidate]) -> Candidate | None:
    """The candidate of the same arithmetic."""
    return next((c for c in candidates if is_same(preprocessing, c.preprocessing)), None)


def name_mistake(asked: Preprocessing, expected: Preprocessing) -> str:
    """What is wrong with the values asked for, if those are expected; see `Diagnosis`.

    Examples
    --------
    >>> imagenet = Preprocessing(256, 224)
    >>> name_mistake(replace(imagenet, divide_by=1.0), imagenet)
    '0-255'
    """
    if is_same(asked, expected):
        return RIGHT
    # The numbers may have stayed in place while the channels were swapped, or gone with them.
    swapped = swap(expected)
    if is_same(asked, swapped) or is_same(asked, replace(expected, order=swapped.order)):
        return SWAPPED
    for each in (asked, swap(asked)):
        for name, wrong in _wrong_ones(expected):
            if is_same(each, wrong):
                return name
    return OTHER


def is_same(one: Preprocessing, other: Preprocessing) -> bool:
    """Whether the network is fed the same values, geometry apart, to 2 % of their range."""
    a, b = _ends(one), _ends(other)
    span = np.abs(b[1] - b[0]).max()
    return one.order == other.order and bool(np.abs(a - b).max() <= SAME * span)


def scale_of(preprocessing: Preprocessing) -> float:
    """How large the inputs are: the range of values, the geometric mean of the channels'."""
    low, high = _ends(preprocessing)
    return float(np.prod(high - low) ** (1 / 3))


def swap(preprocessing: Preprocessing) -> Preprocessing:
    """The same arithmetic of each colour, fed in the opposite order."""
    return replace(
        preprocessing,
        order="RGB" if preprocessing.order == "BGR" else "BGR",
        mean=preprocessing.mean[::-1],
        std=preprocessing.std[::-1],
    )


def at_size(preprocessing: Preprocessing, side: int) -> Preprocessing:
    """The same at another input size, the same part of the picture."""
    resize = round(side * preprocessing.resize / preprocessing.input_size)
    return replace(preprocessing, input_size=side, resize=resize)


def make_named(name: str) -> Preprocessing:
    """One of the field's presets by name."""
    made = make_preprocessing(name, None)
    if not isinstance(made, Preprocessing):
        raise TypeError(f"{name} is no preset")
    return made


def _wrong_ones(expected: Preprocessing) -> list[tuple[str, Preprocessing]]:
    """What people do instead, the more particular first."""
    is_small = bool(np.abs(_ends(expected)[1] - _ends(expected)[0]).max() < SMALL_STEP * 255)
    wrong = [(TWICE, _twice(expected)), (BARE, _bare(expected, 255.0 if is_small else 1.0))]
    if is_small:
        in_units = _in_units(expected)
        wrong += [(TWICE, _twice(in_units)), (UNSCALED, replace(in_units, divide_by=1.0))]
    wrong += [(name, _like(expected, make_named(name))) for name in PRESETS]
    bare = ((BARE, 255.0), (UNSCALED, 1.0))
    return wrong + [(name, replace(_bare(expected, by), order="RGB")) for name, by in bare]


def _in_units(p: Preprocessing) -> Preprocessing:
    """The same arithmetic, its mean and std those of values 0..1."""
    unit = p.divide_by / 255.0
    mean, std = ((a * unit, b * unit, c * unit) for a, b, c in (p.mean, p.std))
    return replace(p, divide_by=255.0, mean=mean, std=std)


def _twice(p: Preprocessing) -> Preprocessing:
    """(v - mean) / std, done a second time to the result."""
    pairs = list(zip(p.mean, p.std, strict=True))
    first, second, third = (m + m * s for m, s in pairs)
    return replace(p, mean=(first, second, third), std=tuple(s * s for s in p.std))  # type: ignore[arg-type]


def _bare(like: Preprocessing, divide_by: float) -> Preprocessing:
    return replace(like, divide_by=divide_by, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _like(geometry: Preprocessing, arithmetic: Preprocessing) -> Preprocessing:
    """The geometry of one, the arithmetic of the other."""
    a = arithmetic
    return replace(geometry, divide_by=a.divide_by, mean=a.mean, std=a.std, order=a.order)


def _ends(p: Preprocessing) -> np.ndarray:
    """What pixel values 0 and 255 become: shape (2, 3), in the order as fed."""
    values = np.array([[0.0], [255.0]]) / p.divide_by
    made: np.ndarray = (values - np.array(p.mean)) / np.array(p.std)
    return made
