"""The whole honest protocol: split, codes, heads, held-out scores, controls -> a dataclass."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from tlfeatures.classification._classifier import TransferClassifier, as_codes
from tlfeatures.classification._controls import histogram_codes, pixel_codes
from tlfeatures.errors import LabelsError, UsageError
from tlfeatures.evaluation import Score, Split, majority, make_split, score, shuffled_labels
from tlfeatures.extraction import CNNCodes, check_preprocessing
from tlfeatures.heads import HEADS, choose_head, make_head
from tlfeatures.pictures import (
    Pictures,
    check_readable,
    estimate_range,
    find_exact_copies,
    load_pictures,
)
from tlfeatures.store import CodeSpec

CONTROL_LIMIT = 2000  # pictures; a control is a rough measure
GEOMETRY = ("resize", "input_size", "crop", "interpolation")
COPIES_NAMED = 5


@dataclass(frozen=True)
class HeadResult:
    """One head's held-out score, fractions in 0..1; C is None where the head has none."""

    accuracy: float
    ci95: tuple[float, float]
    mean_recall: float
    mean_recall_ci95: tuple[float, float]
    C: float | None


@dataclass(frozen=True)
class Control:
    """What a trivial method reaches on the same split."""

    accuracy: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Baseline:
    """The result of `evaluate_baseline`; field by field the keys of `tlfeatures fit --json`.

    Attributes
    ----------
    confounds, learning_curve : list
        Not examined by this version: always empty.
    classifier : TransferClassifier
        The chosen head, fitted on the training side; not part of the JSON.
    test : Pictures
        The held-out pictures; not part of the JSON.
    """

    classes: list[str]
    protocol: str
    n_train: int
    n_test: int
    bad: list[tuple[str, str]]
    backbone: str
    weights_id: str
    layer: str
    key: str
    heads: dict[str, HeadResult]
    chosen: str
    controls: dict[str, Control]
    warnings: list[str]
    seconds: dict[str, float]
    classifier: TransferClassifier = field(repr=False)
    train: Pictures = field(repr=False)
    test: Pictures = field(repr=False)
    confounds: list[dict[str, Any]] = field(default_factory=list)
    learning_curve: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with exactly the key names of the command line."""
        hidden = ("classifier", "train", "test", "bad", "heads", "controls")
        plain = {k: v for k, v in vars(self).items() if k not in hidden}
        return {
            **plain,
            "bad": [{"path": path, "reason": reason} for path, reason in self.bad],
            "heads": {name: asdict(result) for name, result in self.heads.items()},
            "controls": {name: asdict(control) for name, control in self.controls.items()},
        }


@dataclass(frozen=True)
class ModelScore:
    """How a saved model does on labelled pictures; fractions in 0..1."""

    accuracy: float
    ci95: tuple[float, float]
    mean_recall: float
    mean_recall_ci95: tuple[float, float]
    C: float | None
    n_test: int
    bad: list[tuple[str, str]]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "bad": [{"path": p, "reason": r} for p, r in self.bad]}


def evaluate_baseline(
    pictures: Pictures,
    backbone: str | CNNCodes = "resnet50",
    *,
    heads: Sequence[str] = tuple(HEADS),
    test: str | os.PathLike[str] | float | Pictures | None = None,
    train_per_class: int | None = None,
    random_state: int = 0,
    say: Callable[[str], None] = lambda words: None,
    begin: Callable[[Pictures], None] = lambda pictures: None,
) -> Baseline:
    """Score every head on held-out pictures, beside what trivial methods reach on the same split.

    Split: the test folder if there is one, else val, else a stratified 25 % that respects groups.
    C, the head and everything else are chosen inside the training side. Controls use about 2,000
    pictures.

    Parameters
    ----------
    pictures : Pictures
        With labels.
    backbone : str or CNNCodes
    heads : sequence of {"svm", "logistic", "knn"}
    test : folder, Pictures, float or None
        Other pictures to test on, or the share to hold out.
    train_per_class : int, optional
        Train on so many pictures a class.
    random_state : int, default=0
    say : callable
        Told in words what is done next.
    begin : callable
        Given all pictures, once labels, split and words are found possible, and before a network is
        opened or downloaded.

    Returns
    -------
    Baseline

    Raises
    ------
    LabelsError
        If there are no labels, or too few classes or pictures to hold any out.
    PicturesError
        If none can be read, or none of a side.
    UsageError
        If a head is unknown.
    """
    unfitted = {name: make_head(name) for name in heads}
    pictures = _with_test(pictures, test) if not isinstance(test, float) else pictures
    check_labels(pictures)
    share = test if isinstance(test, float) else None
    seconds: dict[str, float] = {}
    notes: list[str] = []
    codes_of = as_codes(backbone)
    how = (share, train_per_class, random_state)
    split = make_split(np.asarray(pictures.labels), pictures.split, pictures.groups, *how)
    begin(pictures)
    if codes_of.range == "auto":  # once for all pictures: labels play no part
        codes_of.set_params(range=estimate_range(pictures) or "full")
    with _timed(seconds, "extract"):
        extraction = codes_of.extract(pictures)
    kept = extraction.pictures
    labels: Any = kept.labels
    check_readable(pictures, kept, extraction.bad)
    with _timed(seconds, "doctor"):
        warning = check_preprocessing(extraction, codes_of.request(), codes_of.run_options(), say)
        notes += [warning] if warning else []
    if len(kept) < len(pictures):
        split = make_split(labels, kept.split, kept.groups, *how)
    notes += [*split.warnings, *_alike(kept, split), *_copies(kept, extraction.codes.keys, split)]
    X, groups = np.asarray(extraction.codes), kept.groups
    train, held_out = split.train, split.test
    train_groups = None if groups is None else groups[train]
    with _timed(seconds, "heads"), _collected(notes):
        say(f"fitting {', '.join(unfitted)} on {len(train)} pictures")
        name, table = choose_head(
            unfitted, X[train], labels[train], train_groups, random_state=random_state
        )
        fitted = {row.name: row.head for row in table}
        scores = {n: score(labels[held_out], fitted[n].predict(X[held_out])) for n in unfitted}
    with _timed(seconds, "controls"), _collected(notes):
        say("controls: pixels, colours, random weights, majority, shuffled labels")
        spec = extraction.codes.spec
        controls = _controls(codes_of, kept, X, split, fitted[name], spec, random_state, notes)
    return Baseline(
        classes=sorted(set(labels.tolist())),
        protocol=split.protocol,
        n_train=len(train),
        n_test=len(held_out),
        bad=extraction.bad,
        backbone=spec.backbone,
        weights_id=spec.weights_id,
        layer=spec.layer,
        key=spec.key,
        heads={n: _head_result(scores[n], fitted[n]) for n in unfitted},
        chosen=name,
        controls=controls,
        warnings=list(dict.fromkeys(notes)),
        seconds={k: round(v, 3) for k, v in seconds.items()},
        classifier=_classifier(codes_of, name, fitted[name], spec),
        train=kept[train],
        test=kept[held_out],
    )


def evaluate_model(model: TransferClassifier, pictures: Pictures) -> ModelScore:
    """Score a fitted model on labelled pictures; bad ones are left out and listed.

    Raises
    ------
    LabelsError
        If the pictures have no labels.
    """
    check_labels(pictures)
    extraction = model.codes_.extract(pictures)
    labels: Any = extraction.pictures.labels
    check_readable(pictures, extraction.pictures, extraction.bad, sides=False)
    unknown = sorted(map(str, set(labels.tolist()) - set(model.classes_.tolist())))
    notes = [f"the model knows no class {', '.join(unknown)}; those pictures count as wrong."]
    result = score(labels, model.head_.predict(np.asarray(extraction.codes)))
    head = _head_result(result, model.head_)
    return ModelScore(
        **asdict(head), n_test=len(labels), bad=extraction.bad, warnings=notes if unknown else []
    )


def check_labels(pictures: Pictures) -> Pictures:
    """The pictures, which must have labels.

    Raises
    ------
    LabelsError
    """
    if pictures.labels is None:
        raise LabelsError(
            "the pictures have no labels; use a folder of class folders or a manifest."
        )
    return pictures


def _with_test(pictures: Pictures, test: str | os.PathLike[str] | Pictures | None) -> Pictures:
    """The pictures with a split column that holds out `test`."""
    if test is None:
        return pictures
    other = test if isinstance(test, Pictures) else load_pictures(test)
    if pictures.labels is None or other.labels is None:
        raise LabelsError("both sides need labels; use folders of class folders.")
    return Pictures(
        [*pictures.items, *other.items],
        [*pictures.labels, *other.labels],
        ["train"] * len(pictures) + ["test"] * len(other),
        _groups_of(pictures, other),
        names=[*pictures.paths, *other.paths],
    )


def _groups_of(*sides: Pictures) -> list[str] | None:
    """The groups of all sides, where one has any; a picture without is a group of its own."""
    if all(side.groups is None for side in sides):
        return None
    found: list[str] = []
    for number, side in enumerate(sides):
        own = [f"picture {i} of side {number}" for i in range(len(side))]
        found += own if side.groups is None else [str(group) for group in side.groups]
    return found


def _controls(
    codes_of: CNNCodes,
    pictures: Pictures,
    X: NDArray[np.float32],
    split: Split,
    chosen: Any,
    spec: CodeSpec,
    random_state: int,
    notes: list[str],
) -> dict[str, Control]:
    train, held_out = _thin_out(split, np.asarray(pictures.labels), random_state)
    if len(train) + len(held_out) < len(split.train) + len(split.test):
        notes.append(f"controls use {len(train)} training and {len(held_out)} test pictures.")
    labels: Any = pictures.labels
    y_train, y_test = labels[train], labels[held_out]
    rows = np.concatenate([train, held_out])
    both, n = pictures[rows], len(train)
    groups = None if pictures.groups is None else pictures.groups[train]

    def judged(codes: NDArray[np.float32], head: Any) -> Control:
        fitted = head.fit(codes[:n], y_train, groups=groups)
        return _control(score(y_test, fitted.predict(codes[n:])))

    random_codes = _at_random(codes_of, spec)
    options = codes_of.decode_options()
    controls = {
        "pixels": judged(pixel_codes(both, options), make_head("logistic")),
        "histogram": judged(histogram_codes(both, options), make_head("logistic")),
        "random_weights": judged(random_codes.transform(both), clone(chosen)),
        "majority": _control(majority(y_train, y_test)),
    }
    if len(set(y_train.tolist())) > 1:
        shuffled = shuffled_labels(chosen, X[train], y_train, X[held_out], y_test, random_state)
        controls["shuffled_labels"] = _control(shuffled)
    return controls


def _at_random(codes_of: CNNCodes, spec: CodeSpec) -> CNNCodes:
    """The same network on the same squares, with weights that were drawn."""
    made: CNNCodes = clone(codes_of).set_params(weights="random", weights_id=None, on_bad="raise")
    if "resize" in spec.preprocessing:  # else one's own function, which has them in itself
        made.set_params(**{name: spec.preprocessing[name] for name in GEOMETRY})
    return made


def _thin_out(
    split: Split, y: NDArray[Any], random_state: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """About 2,000 pictures, both sides in proportion; all where there are fewer.

    Of the training side 1,000 at least, so that controls learn from as many as the heads where
    these have few, and two of each class.
    """
    n_train, n_test = len(split.train), len(split.test)
    if n_train + n_test <= CONTROL_LIMIT:
        return split.train, split.test
    rng = np.random.default_rng(random_state)
    share = round(CONTROL_LIMIT * n_train / (n_train + n_test))
    most = max(CONTROL_LIMIT // 2, CONTROL_LIMIT - n_test, share)
    train = split.train if n_train <= most else _draw_evenly(split.train, y, most, rng)
    most = min(n_test, max(CONTROL_LIMIT // 4, CONTROL_LIMIT - len(train)))
    return train, np.sort(rng.choice(split.test, most, replace=False))


def _draw_evenly(
    rows: NDArray[np.intp], y: NDArray[Any], n: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """About n of the rows: of each class its share, and two at least where it has them."""
    drawn: list[NDArray[np.intp]] = []
    for label in np.unique(y[rows]):
        of_class = rows[y[rows] == label]
        wanted = max(2, n * len(of_class) // len(rows))
        drawn.append(rng.permutation(of_class)[:wanted])
    return np.sort(np.concatenate(drawn))


def _control(result: Score) -> Control:
    return Control(result.accuracy, result.ci95)


def _head_result(result: Score, head: Any) -> HeadResult:
    C = getattr(head, "C_", None)
    return HeadResult(
        result.accuracy,
        result.ci95,
        result.mean_recall,
        result.mean_recall_ci95,
        None if C is None else float(C),
    )


def _classifier(codes: CNNCodes, name: str, head: Any, spec: Any) -> TransferClassifier:
    model = TransferClassifier(codes, head=name)
    model.codes_, model.head_, model.head_name_, model.spec_ = codes, head, name, spec
    model.classes_ = head.classes_
    return model


def _alike(pictures: Pictures, split: Split) -> list[str]:
    """That intervals, which count every picture, are too narrow where pictures of a group test."""
    if pictures.groups is None:
        return []
    n_groups = len(set(pictures.groups[split.test].tolist()))
    if n_groups == len(split.test):
        return []
    return [
        f"the {len(split.test)} test pictures are of {n_groups} groups; the intervals count each "
        "picture by itself, so where pictures of a group are alike they are too narrow."
    ]


def _copies(pictures: Pictures, keys: Sequence[bytes], split: Split) -> list[str]:
    sides = np.full(len(pictures), "unused", dtype=object)
    sides[split.train], sides[split.test] = "train", "test"
    rows = np.flatnonzero(sides != "unused")
    found = find_exact_copies(pictures[rows], [keys[int(i)] for i in rows], sides[rows].tolist())
    lines = [copies.describe() for copies in found[:COPIES_NAMED]]
    if len(found) > COPIES_NAMED:
        lines.append(f"{len(found) - COPIES_NAMED} more groups of exact copies like these.")
    return lines


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


@contextmanager
def _collected(notes: list[str]) -> Iterator[None]:
    """Turn the heads' warnings into lines of the result."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    notes += [str(w.message) for w in caught if issubclass(w.category, UserWarning)]


def check_share(share: float) -> float:
    """A share of pictures to hold out.

    Raises
    ------
    UsageError
        If it is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UsageError(f"test share {share} must lie between 0 and 1.")
    return share
