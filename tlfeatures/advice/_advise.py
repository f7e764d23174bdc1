"""`advise`: measure size and similarity, apply the rules, say what each strategy costs here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from tlfeatures._parameters import seed_of
from tlfeatures.advice._advice import Advice
from tlfeatures.advice._costs import experiment_of, minutes_of, pooling_of_earlier
from tlfeatures.advice._evidence import Evidence, Similarity
from tlfeatures.advice._measure import Codes, confidence_of, measure_size, probe_depths
from tlfeatures.advice._rules import choose
from tlfeatures.advice._sample import LEAST_A_CLASS, rows_to_probe, usable_rows
from tlfeatures.errors import LabelsError, few
from tlfeatures.evaluation import make_split
from tlfeatures.extraction import CNNCodes, Resolved, as_codes
from tlfeatures.pictures import Pictures, check_readable, labelled_pictures

if TYPE_CHECKING:
    from tlfeatures.advice._network import Depths
    from tlfeatures.backbones import Network
    from tlfeatures.evaluation import Split

_log = logging.getLogger(__name__)
ASKED = 128  # pictures that the original head is asked about


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
    _usable(given[_split(given, random_state).train])
    codes = as_codes(backbone)
    resolved = codes.resolve(len(given))
    begin(given, resolved)
    say(f"codes of all {len(given)} pictures")
    seconds: dict[str, float] = {}
    with _timed(seconds, "extract"):
        extraction = codes.extract(given, resolved)
        readable = extraction.pictures
        check_readable(given, readable, extraction.bad)
        split = _split(readable, random_state)
        kept, notes = _usable(readable[split.train])
    with _timed(seconds, "size"):
        say("the learning curve of a linear head")
        X, y = codes.transform(kept), np.asarray(kept.labels)
        size = measure_size(X, y, kept.groups, random_state=random_state)
        size = replace(size, n_test=len(split.test))
    with _timed(seconds, "similarity"):
        network, depths = _open(codes)
        chosen = kept[rows_to_probe(y, kept.groups, random_state)]
        say(
            f"codes of {len(depths.layers)} depths of {len(chosen)} pictures, and the original head"
        )
        similarity = _similarity(chosen, codes, network, depths, random_state)
    with _timed(seconds, "costs"):
        say("what a step of training costs here")
        took = seconds["extract"] + seconds["size"]
        minutes = minutes_of(_seconds_per_picture(network), size.n, size.n - len(chosen), took)
    choice, spec = choose(Evidence(size, similarity)), extraction.codes.spec
    return Advice(
        choice=choice,
        size=size,
        similarity=similarity,
        minutes=minutes,
        experiment=experiment_of(choice, minutes, codes, random_state),
        protocol=split.protocol,
        backbone=spec.backbone,
        layer=spec.layer,
        dim=spec.dim,
        key=spec.key,
        n=len(split.train) + len(split.test),
        bad=extraction.bad,
        warnings=notes,
        seconds={name: round(value, 3) for name, value in seconds.items()},
    )


def _split(pictures: Pictures, random_state: int) -> Split:
    """As `evaluate_baseline` splits them."""
    labels = np.asarray(pictures.labels)
    return make_split(labels, pictures.split, pictures.groups, None, None, random_state)


def _usable(pictures: Pictures) -> tuple[Pictures, list[str]]:
    """Pictures of classes that are large enough, and notes, one about the others."""
    rows, small = usable_rows(np.asarray(pictures.labels), pictures.groups)
    kept: Pictures = pictures[rows]
    least = f"{LEAST_A_CLASS} training pictures (or groups)"
    if len(kept.classes) < 2:
        raise LabelsError(
            f"{len(kept.classes)} of {len(pictures.classes)} classes have {least} to learn from "
            "and to choose with; advice needs two such classes. Add pictures."
        )
    if not small:
        return kept, pictures.notes
    words = f"{len(small)} classes with fewer than {least} are left out: {few(small)}"
    return kept, [*pictures.notes, words]


def _open(codes: CNNCodes) -> tuple[Network, Depths]:
    """A network of our own (it is trained a step), where `extract` will find its files in use."""
    import torch

    from tlfeatures.advice._network import find_depths
    from tlfeatures.backbones import load_network

    request, tensors = codes.request(), getattr(codes, "tensors_", None)
    as_torch = tensors and {k: torch.from_numpy(array.copy()) for k, array in tensors.items()}
    network = load_network(request, as_torch)
    depths = find_depths(network, request, is_carried=tensors is not None)
    network.module.to(codes.run_options().settled().device)
    return network, depths


def _similarity(
    pictures: Pictures, codes: CNNCodes, network: Network, depths: Depths, random_state: int
) -> Similarity:
    names = list(zip(depths.layers, depths.depths, strict=True))
    arrays = probed_codes(pictures, codes, depths.layers)
    labels, groups = np.asarray(pictures.labels), pictures.groups
    probes = probe_depths(arrays, names, labels, groups, random_state=random_state)
    confidence = _confidence(pictures, codes, network, depths)
    published = None if depths.facts is None else depths.facts.top1
    return Similarity(confidence, published, probes, depths.missing, len(pictures))


def probed_codes(pictures: Pictures, codes: CNNCodes, layers: tuple[str, ...]) -> list[Codes]:
    """Codes of all depths; the last ones are those that the advice is about, and stored already."""
    pooled = clone(codes).set_params(pooling=pooling_of_earlier(codes.pooling))
    earlier = pooled.transform_layers(pictures, layers[:-1]) if layers[:-1] else []
    return [*earlier, codes.transform(pictures)]


def _confidence(
    pictures: Pictures, codes: CNNCodes, network: Network, depths: Depths
) -> float | None:
    """How sure the original head is of some of the pictures, spread evenly.

    It is asked at a size that it knows: on a small input most heads are surer, whatever is to be
    seen.
    """
    if depths.facts is None:
        return None
    own_size = depths.facts.input_size
    asked = clone(codes).set_params(layer=depths.output, on_bad="nan")
    if getattr(network.preprocessing, "input_size", own_size) < own_size:
        asked.set_params(input_size=None, resize=None)
    spread = np.linspace(0, len(pictures) - 1, min(ASKED, len(pictures)))
    return confidence_of(asked.transform(pictures[spread.astype(int)]))


def _seconds_per_picture(network: Network) -> dict[str, float]:
    from tlfeatures.advice._network import seconds_per_picture

    try:
        return seconds_per_picture(network)
    except Exception as error:  # an own network may not be made for training
        _log.info("the costs of training could not be timed: %s", error)
        return {}


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started
