"""`advise`: measure size and similarity, apply the rules, say what each strategy costs here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tlfeatures._parameters import seed_of
from tlfeatures.advice._costs import experiment_of, minutes_of, pooling_of_earlier
from tlfeatures.advice._evidence import Evidence, Similarity, Size
from tlfeatures.advice._rules import Recommendation, choose
from tlfeatures.advice._sample import LEAST_A_CLASS, rows_to_probe, usable_rows
from tlfeatures.advice._similarity import head_answers, probe_depths
from tlfeatures.advice._size import measure_size
from tlfeatures.errors import LabelsError, few
from tlfeatures.evaluation import make_split
from tlfeatures.extraction import CNNCodes, Resolved, as_codes, extract_layers, resolve
from tlfeatures.pictures import Pictures, check_readable, labelled_pictures

if TYPE_CHECKING:
    from tlfeatures.advice._network import Depths
    from tlfeatures.advice._verify import Outcome
    from tlfeatures.backbones import BackboneRequest, Network
    from tlfeatures.extraction import Extraction

_log = logging.getLogger(__name__)
ASKED = 128  # pictures that the original head is asked about
LOOKED_AT = 64  # pictures whose batch-norm inputs are looked at


@dataclass(frozen=True)
class Advice:
    """What to do with these pictures, and everything it rests on; `to_json` is `advise --json`.

    Attributes
    ----------
    choice : Recommendation
    size : Size
    similarity : Similarity
    minutes : dict of str to float or None
        By strategy, what it costs on this machine; None: could not be timed.
    experiment : str
        The cheapest one that would settle the matter, as lines for the shell.
    protocol : str
        How the pictures are split; only the training side was looked at.
    n : int
        Pictures with codes.
    dim : int
        Width of the codes.
    bad : list of (path, reason)
    warnings : list of str
    seconds : dict of str to float
        What the parts of the measurement took.
    outcome : Outcome or None
        Of `verify`.
    """

    choice: Recommendation
    size: Size
    similarity: Similarity
    minutes: dict[str, float | None]
    experiment: str
    protocol: str
    backbone: str
    layer: str
    dim: int
    key: str
    n: int
    bad: list[tuple[str, str]]
    warnings: list[str]
    seconds: dict[str, float]
    outcome: Outcome | None = field(default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        probes = {
            p.layer: {"accuracy": p.accuracy, "depth": p.depth} for p in self.similarity.probes
        }
        curve = self.size.curve
        scores: dict[str, Any] = {"probes": probes}
        if curve:
            scores["codes"] = {"accuracy": curve[-1].accuracy, "n_train": curve[-1].n}
        choice = asdict(self.choice)
        return {
            "recommendation": choice.pop("strategy"),
            "recommended_layer": choice.pop("layer"),
            "cell": {"size": choice.pop("size"), "similarity": choice.pop("similarity")},
            **choice,
            "experiment": self.experiment,
            "minutes": self.minutes,
            "protocol": self.protocol,
            "size": self.size.to_json(),
            "similarity": self.similarity.to_json(),
            "scores": scores,
            "backbone": self.backbone,
            "layer": self.layer,
            "dim": self.dim,
            "key": self.key,
            "n": self.n,
            "bad": [{"path": path, "reason": reason} for path, reason in self.bad],
            "warnings": self.warnings,
            "seconds": self.seconds,
            "outcome": None if self.outcome is None else self.outcome.to_json(),
        }

    def to_text(self) -> str:
        """The advice as a page of text, at most 100 columns wide."""
        from tlfeatures.advice._text import advice_text

        return advice_text(self)


def advise(
    pictures: Any,
    backbone: str | CNNCodes = "resnet50",
    *,
    random_state: int | np.random.RandomState | None = 0,
    say: Callable[[str], None] = lambda words: None,
    begin: Callable[[Pictures, Resolved], None] = lambda pictures, resolved: None,
) -> Advice:
    """Measure how many and how similar the pictures are, and say which strategy suits them.

    Size is judged by numbers of pictures and the learning curve of a linear head on the codes,
    similarity by the confidence of the network's original head and the depth at which a linear
    probe does best. All of it on the training side alone, as `evaluate_baseline` splits: nothing
    is chosen on what will be reported. The first run extracts about five layers of at most 500
    pictures; codes and probed layers are cached.

    Parameters
    ----------
    pictures : Pictures, folder, or list of pictures
        With labels.
    backbone : str or CNNCodes, default="resnet50"
    random_state : int, RandomState or None, default=0
        Of folds and draws.
    say : callable
        Told in words what is done next.
    begin : callable
        Given the pictures, once labels and split are found possible, and before a network is opened
        or downloaded.

    Returns
    -------
    Advice

    Raises
    ------
    LabelsError
        If there are no labels, or fewer than two classes with four pictures on the training side.
    PicturesError
        If no picture can be read.
    """
    given, random_state = labelled_pictures(pictures), seed_of(random_state)
    check_sides(given, None, random_state)
    codes = as_codes(backbone)
    begin(given, codes.resolve(len(given)))
    say(f"codes of all {len(given)} pictures")
    sides = take_sides(given, codes, None, random_state)
    return advise_on(sides, codes, random_state=random_state, say=say)


def advise_on(
    sides: Sides, codes: CNNCodes, *, random_state: int, say: Callable[[str], None]
) -> Advice:
    """`advise`, once the pictures are read and split: the held-out side is only counted."""
    seconds = {"extract": sides.seconds}
    kept, notes = _usable(sides.training)
    extraction = codes.extract(kept)
    with _timed(seconds, "network"):
        network, depths = _open(codes)
    with _timed(seconds, "probes"):
        chosen = kept[rows_to_probe(labels_of(kept), kept.groups, random_state)]
        say(f"codes of {len(depths.layers)} depths of {len(chosen)} pictures")
        probed = _extract_depths(chosen, codes, depths)
        answers = _ask_head(chosen, codes, network, depths)
    with _timed(seconds, "size"):
        say("the learning curve of a linear head")
        X = np.asarray(extraction.codes)
        size = measure_size(X, labels_of(kept), kept.groups, random_state=random_state)
        size = replace(size, n_test=len(sides.held_out))
    with _timed(seconds, "similarity"):
        say("the original head, probes by depth, batch norms")
        similarity = _similarity(probed, answers, depths, network, codes, random_state)
    with _timed(seconds, "costs"):
        say("what a step of training costs here")
        per_picture = _seconds_a_picture(network, kept, codes)
    choice = choose(Evidence(size, similarity))
    minutes = minutes_of(per_picture, size.n, size.n - len(chosen), seconds)
    spec = extraction.codes.spec
    return Advice(
        choice=choice,
        size=size,
        similarity=similarity,
        minutes=minutes,
        experiment=experiment_of(choice, minutes, codes, random_state),
        protocol=sides.protocol,
        backbone=spec.backbone,
        layer=spec.layer,
        dim=spec.dim,
        key=spec.key,
        n=len(sides.training) + len(sides.held_out),
        bad=sides.bad,
        warnings=[*sides.training.notes, *notes],
        seconds={name: round(value, 3) for name, value in seconds.items()},
    )


@dataclass(frozen=True)
class Sides:
    """The readable pictures, split as `fit` splits them; advice looks at the training side alone.

    Attributes
    ----------
    training, held_out : Pictures
        Without a split column: whoever is given one side may carve from it as they like.
    protocol : str
    bad : list of (path, reason)
    seconds : float
        What extraction took.
    """

    training: Pictures
    held_out: Pictures
    protocol: str
    bad: list[tuple[str, str]]
    seconds: float


def take_sides(pictures: Pictures, codes: CNNCodes, test: float | None, random_state: int) -> Sides:
    """Extract all pictures and split the readable ones.

    Raises
    ------
    LabelsError
        If there are too few classes or pictures to hold any out.
    PicturesError
        If no picture can be read.
    """
    started = time.perf_counter()
    extraction = codes.extract(pictures)
    kept = extraction.pictures
    check_readable(pictures, kept, extraction.bad)
    split = make_split(labels_of(kept), kept.split, kept.groups, test, None, random_state)
    training, held_out = (
        Pictures(
            side.items, side.labels, groups=side.groups, names=side.paths, notes=side.read_notes
        )
        for side in (kept[split.train], kept[split.test])
    )
    seconds = time.perf_counter() - started
    return Sides(training, held_out, split.protocol, extraction.bad, seconds)


def check_sides(pictures: Pictures, test: float | None, random_state: int) -> None:
    """Split the pictures as they are given, for what cannot be advised on to be said at once.

    Raises
    ------
    LabelsError
        As `advise`.
    """
    labels, groups = labels_of(pictures), pictures.groups
    split = make_split(labels, pictures.split, groups, test, None, random_state)
    _usable(pictures[split.train])


def _open(codes: CNNCodes) -> tuple[Network, Depths]:
    """A network of our own (it is trained a step), where `extract` will find its files in use."""
    import torch

    from tlfeatures.advice._network import find_depths
    from tlfeatures.backbones import load_network

    request, tensors = codes.request(), codes._tensors()
    as_torch = tensors and {k: torch.from_numpy(array.copy()) for k, array in tensors.items()}
    network = load_network(request, as_torch)
    depths = find_depths(network, request, is_carried=tensors is not None)
    network.module.to(codes.run_options().settled().device)
    return network, depths


def labels_of(pictures: Pictures) -> npt.NDArray[Any]:
    """Labels that are known to be there."""
    return np.asarray(pictures.labels)


def _extract_depths(pictures: Pictures, codes: CNNCodes, depths: Depths) -> list[Extraction]:
    """Codes of all depths; the last ones are those that the advice is about, and stored already."""
    request, (*earlier, last) = codes.request(), depths.layers
    pooled = replace(request, pooling=pooling_of_earlier(request.pooling))
    found = _extract(pictures, codes, pooled, earlier) if earlier else []
    return [*found, *_extract(pictures, codes, request, [last])]


def _ask_head(
    pictures: Pictures, codes: CNNCodes, network: Network, depths: Depths
) -> Extraction | None:
    """Answers of the original head to some of the pictures, at a size that it knows.

    On a small input most heads are surer, whatever is to be seen.
    """
    if depths.output is None or depths.own_size is None:
        return None
    request = codes.request()
    if getattr(network.preprocessing, "input_size", depths.own_size) < depths.own_size:
        request = replace(request, input_size=None, resize=None)
    return _extract(_some(pictures, ASKED), codes, request, [depths.output])[0]


def _extract(
    pictures: Pictures, codes: CNNCodes, request: BackboneRequest, layers: Sequence[str]
) -> list[Extraction]:
    run, tensors = codes.run_options(), codes._tensors()
    resolved = resolve(request, run, layers, n=len(pictures), tensors=tensors)
    return extract_layers(pictures, resolved, progress=codes.progress)


def _some(pictures: Pictures, n: int) -> Pictures:
    """At most n pictures, spread evenly."""
    spread = np.linspace(0, len(pictures) - 1, min(n, len(pictures)))
    some: Pictures = pictures[spread.astype(int)]
    return some


def _usable(pictures: Pictures) -> tuple[Pictures, list[str]]:
    """Pictures of classes that are large enough, and a note about the others."""
    rows, small = usable_rows(labels_of(pictures), pictures.groups)
    kept: Pictures = pictures[rows]
    least = f"{LEAST_A_CLASS} training pictures (or groups)"
    if len(kept.classes) < 2:
        raise LabelsError(
            f"{len(kept.classes)} of {len(pictures.classes)} classes have {least} to learn from "
            "and to choose with; advice needs two such classes. Add pictures."
        )
    if not small:
        return kept, []
    return kept, [f"{len(small)} classes with fewer than {least} are left out: {few(small)}"]


def _similarity(
    probed: list[Extraction],
    answers: Extraction | None,
    depths: Depths,
    network: Network,
    codes: CNNCodes,
    random_state: int,
) -> Similarity:
    from tlfeatures.advice._network import batch_norm_distance, prepare_batch

    pictures = probed[0].pictures
    arrays = [np.asarray(extraction.codes) for extraction in probed]
    names = list(zip(depths.layers, depths.depths, strict=True))
    probes = probe_depths(
        arrays, names, labels_of(pictures), pictures.groups, random_state=random_state
    )
    confidence, entropy = None, None
    if answers is not None and len(answers.pictures):
        confidence, entropy = head_answers(np.asarray(answers.codes))
    batch = prepare_batch(network, _some(pictures, LOOKED_AT), codes)
    distance = batch_norm_distance(network.module, batch)
    missing = dict(depths.missing)
    if distance is None:
        missing["batch_norms"] = "the network has none"
    return Similarity(
        confidence, depths.published, entropy, probes, distance, missing, len(pictures)
    )


def _seconds_a_picture(network: Network, pictures: Pictures, codes: CNNCodes) -> dict[str, float]:
    from tlfeatures.advice._network import TIMED, prepare_batch, seconds_a_picture

    try:
        return seconds_a_picture(network, prepare_batch(network, pictures[:TIMED], codes))
    except Exception as error:  # an own network may not be made for training
        _log.info("the costs of training could not be timed: %s", error)
        return {}


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started
