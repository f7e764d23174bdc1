"""The whole honest protocol: split, codes, heads, held-out scores, controls -> a dataclass."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from tlfeatures._columns import Alone, group_name
from tlfeatures._parameters import seed_of
from tlfeatures.classification._classifier import TransferClassifier, seeded
from tlfeatures.classification._controls import score_controls
from tlfeatures.classification._result import Baseline, head_result
from tlfeatures.classification._trained import TrainedOn
from tlfeatures.doctor import check_preprocessing
from tlfeatures.errors import LabelsError, UsageError
from tlfeatures.evaluation import Split, make_split, score
from tlfeatures.extraction import CNNCodes, Extraction, Resolved, as_codes, remember_pace
from tlfeatures.heads import HEADS, choose_head, head_name, make_head
from tlfeatures.pictures import (
    Pictures,
    as_pictures,
    check_readable,
    find_exact_copies,
    labelled_pictures,
)

COPIES_NAMED = 5
TEST = "test"  # the split that a person sets aside


def evaluate_baseline(
    pictures: Any,
    backbone: str | CNNCodes = "resnet50",
    *,
    heads: Sequence[str] = tuple(HEADS),
    test: Any = None,
    train_per_class: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    refit: bool = True,
    say: Callable[[str], None] = lambda words: None,
    begin: Callable[[Pictures, Resolved], None] = lambda pictures, resolved: None,
) -> Baseline:
    """Score every head on held-out pictures, beside what trivial methods reach on the same split.

    Split: the test folder if there is one, else val, else a stratified 25 % that respects groups.
    C, the head and everything else are chosen inside the training side. Controls use about 2,000
    pictures.

    Parameters
    ----------
    pictures : Pictures, folder, or list of pictures
        With labels.
    backbone : str or CNNCodes
    heads : sequence of {"svm", "logistic", "knn"}
    test : folder, Pictures, float or None
        Other pictures to test on (a test folder that `pictures` have is then left aside), or the
        share to hold out.
    train_per_class : int, optional
        Train on so many pictures a class.
    random_state : int, RandomState or None, default=0
    refit : bool, default=True
        Fit `classifier`, with head and C as found, on all pictures but those that a person has set
        aside as a test: `val` and a share that was drawn come in. False: it is the head that was
        scored, fitted on the training side.
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
    random_state = seed_of(random_state)
    names = [head_name(name) for name in _names_of(heads)]
    unfitted = {name: make_head(name, **seeded(name, random_state)) for name in names}
    share = _share_of(test)
    notes: list[str] = []
    pictures = labelled_pictures(pictures)
    if share is None and test is not None:
        pictures = _with_test(pictures, as_pictures(test, "classes"), notes)
    seconds: dict[str, float] = {}
    codes_of = as_codes(backbone)
    how = (share, train_per_class, random_state)
    split = make_split(np.asarray(pictures.labels), pictures.split, pictures.groups, *how)
    resolved = codes_of.resolve(len(pictures))
    begin(pictures, resolved)
    with _timed(seconds, "extract"):
        extraction = codes_of.extract(pictures, resolved)
    kept = extraction.pictures
    labels: Any = kept.labels
    check_readable(pictures, kept, extraction.bad)
    with _timed(seconds, "doctor"):
        warning = check_preprocessing(extraction, codes_of.request(), codes_of.run_options(), say)
        notes += [warning] if warning else []
    if len(kept) < len(pictures):
        split = make_split(labels, kept.split, kept.groups, *how)
    notes += [
        *kept.notes,
        *split.warnings,
        *_alike(kept, split),
        *_copies(kept, extraction.codes.keys, split),
    ]
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
        controls = score_controls(codes_of, kept, X, split, fitted[name], spec, random_state, notes)
    rows = _rows_to_fit(kept, split) if refit else train
    with _timed(seconds, "refit"):
        if len(rows) > len(train):
            say(f"fitting the chosen head on {len(rows)} pictures")
        head = _refitted(fitted[name], X, kept, rows, train)
    if extraction.computed == len(kept):  # the control's codes were computed too
        after = sum(seconds.values()) - seconds["extract"]
        remember_pace("evaluate", codes_of.request(), codes_of.run_options(), len(kept), after)
    return Baseline(
        classes=sorted(set(labels.tolist())),
        protocol=split.protocol,
        n_train=len(train),
        n_test=len(held_out),
        n_fitted=len(rows),
        fitted_on=_words_of(rows, len(kept), refit),
        bad=extraction.bad,
        backbone=spec.backbone,
        weights_id=spec.weights_id,
        layer=spec.layer,
        key=spec.key,
        heads={n: head_result(scores[n], fitted[n]) for n in unfitted},
        chosen=name,
        controls=controls,
        warnings=list(dict.fromkeys(notes)),
        seconds={k: round(v, 3) for k, v in seconds.items()},
        classifier=_classifier(codes_of, name, head, extraction, rows, random_state),
        train=kept[train],
        test=kept[held_out],
    )


def _names_of(heads: Any) -> list[Any]:
    if isinstance(heads, str):
        return [heads]
    if not isinstance(heads, Iterable):
        raise UsageError(f"heads is {heads!r:.80}; give names, of {', '.join(HEADS)}.")
    return list(heads)


def _share_of(test: Any) -> float | None:
    """The share to hold out, if it is a number."""
    if not isinstance(test, Real):
        return None
    if not 0 < float(test) < 1:
        raise UsageError(
            f"test is {test}; a share lies between 0 and 1, and a folder is given by its name as "
            "text or as a path."
        )
    return float(test)


def _with_test(pictures: Pictures, other: Pictures, notes: list[str]) -> Pictures:
    """The pictures with a split column that holds out `other`.

    What they have set aside as a test themselves is neither trained on nor tested on.
    """
    if pictures.split is not None and (aside := pictures.split == TEST).any():
        notes.append(
            f"{aside.sum()} pictures of a test of their own are left aside: other ones were given."
        )
        pictures = pictures[~aside]
    if pictures.labels is None or other.labels is None:
        raise LabelsError("both sides need labels; use folders of class folders.")
    return Pictures(
        [*pictures.items, *other.items],
        [*pictures.labels, *other.labels],
        ["train"] * len(pictures) + [TEST] * len(other),
        _groups_of(pictures, other),
        names=[*pictures.paths, *other.paths],
        notes=[*pictures.read_notes, *other.read_notes],
    )


def _groups_of(*sides: Pictures) -> list[str] | None:
    """The groups of all sides, where one has any; a picture without is a group of its own."""
    if all(side.groups is None for side in sides):
        return None
    found: list[str] = []
    for number, side in enumerate(sides):
        own = [Alone(f"picture {i} of side {number}") for i in range(len(side))]
        for alone, group in zip(own, own if side.groups is None else side.groups, strict=True):
            is_alone = isinstance(group, Alone)  # named by its row, which both sides have
            found.append(alone if is_alone else group_name(group))
    return found


def _rows_to_fit(pictures: Pictures, split: Split) -> NDArray[np.intp]:
    """All but those that a person has set aside as a test; at least the training side."""
    if pictures.split is None:
        return np.arange(len(pictures))
    return np.union1d(split.train, np.flatnonzero(pictures.split != TEST))


def _refitted(
    head: Any,
    X: NDArray[np.float32],
    pictures: Pictures,
    rows: NDArray[np.intp],
    train: NDArray[np.intp],
) -> Any:
    """The head with the C that it found, fitted on these rows; itself where they are the same."""
    if len(rows) == len(train):
        return head
    again, labels, groups = clone(head), np.asarray(pictures.labels), pictures.groups
    if hasattr(head, "C_"):
        again.set_params(C=head.C_)
    with warnings.catch_warnings():  # what the head has to say was said when it was scored
        warnings.simplefilter("ignore", UserWarning)
        return again.fit(X[rows], labels[rows], groups=None if groups is None else groups[rows])


def _words_of(rows: NDArray[np.intp], n: int, refit: bool) -> str:
    """Which of the n pictures the classifier was fitted on."""
    if not refit:
        return f"the {len(rows)} pictures of the training side"
    if len(rows) == n:
        return f"all {n} pictures"
    return f"the {len(rows)} pictures that are not set aside as a test"


def _classifier(
    codes: CNNCodes,
    name: str,
    head: Any,
    extraction: Extraction,
    rows: NDArray[np.intp],
    random_state: int,
) -> TransferClassifier:
    model = TransferClassifier(codes, name, random_state)
    model.codes_, model.head_, model.head_name_ = codes, head, name
    model.spec_, model.classes_ = extraction.codes.spec, head.classes_
    model.trained_on_ = TrainedOn.of(extraction.digests[i] for i in rows)
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
