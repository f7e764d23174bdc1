"""Which pictures train and which test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from tlfeatures._columns import cells_of, is_missing, whole_groups, whole_labels
from tlfeatures._parameters import seed_of
from tlfeatures.errors import LabelsError, UsageError, few

Ints = npt.NDArray[np.intp]
Labels = npt.NDArray[Any]

HELD_OUT = 0.25  # where nothing else is said
NEAR = 0.01  # of the share that was asked for
SIDES = ("train", "val", "test")
SHOWN = 5  # notes of one kind


@dataclass(frozen=True)
class Split:
    """Row numbers of the two sides, how they came about, and what to keep in mind.

    Attributes
    ----------
    train : ndarray of shape (n_train,), int
        Ascending.
    test : ndarray of shape (n_test,), int
        Ascending; shares no row with train.
    protocol : str
        A sentence fragment for reports.
    warnings : tuple of str
        One line each.
    """

    train: Ints
    test: Ints
    protocol: str
    warnings: tuple[str, ...]


def draw(y: npt.ArrayLike, n: int, random_state: int | np.random.RandomState | None = 0) -> Ints:
    """Draw n training pictures a class.

    One generator shuffles the rows of each class, in sorted order of the labels; the first n of
    each are drawn, all where a class has fewer.

    Parameters
    ----------
    y : array-like of shape (n_images,), str or int
        Labels.
    n : int
        Pictures a class.
    random_state : int, RandomState or None, default=0
        Seed of the generator.

    Returns
    -------
    ndarray of shape (n_drawn,), int
        Row numbers, ascending.
    """
    labels = np.asarray(y)
    rng = np.random.default_rng(seed_of(random_state))
    chosen: list[int] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rng.shuffle(rows)
        chosen.extend(rows[:n])
    return np.sort(np.array(chosen, dtype=np.intp))


def make_split(
    y: npt.ArrayLike,
    split: Sequence[str | None] | npt.NDArray[Any] | None = None,
    groups: npt.ArrayLike | None = None,
    test: float | None = None,
    train_per_class: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> Split:
    """Split labelled pictures into a training and a test side.

    In this order: a `split` column that has "test" is followed ("val" rows then train too), else
    one that has "val" (which is then the test side). Without either, `train_per_class` alone
    draws that many training pictures a class and tests on all the rest. Otherwise a stratified
    share is held out: each class gives its share, at least one picture and never its last, as
    near as whole groups allow. With a fixed split, a share or groups, `train_per_class` then
    thins out the training side by the same draw.

    Parameters
    ----------
    y : array-like of shape (n_images,), str or int
        Labels.
    split : sequence of {"train", "val", "test"} or None, optional
        Where each picture comes from.
    groups : array-like of shape (n_images,), optional
        Pictures of one group stay on one side (as far as a fixed split allows); a picture without
        one (None, NaN) is a group of its own.
    test : float, optional
        Share to hold out, in (0, 1); a quarter without it.
    train_per_class : int, optional
        Training pictures a class, at least 1.
    random_state : int, RandomState or None, default=0
        Of every draw; the protocol names the number that it came to.

    Returns
    -------
    Split
        Rows of both sides, the protocol and warnings.

    Raises
    ------
    LabelsError
        If a label is missing, there is one class only, or a side would be empty.
    UsageError
        If an option is out of range, the lengths differ, or a split's name is unknown.
    """
    labels, random_state = whole_labels(y), seed_of(random_state)
    group_rows = None if groups is None else whole_groups(groups)
    _check_options(labels, group_rows, test, train_per_class)
    sides = _sides(split, len(labels))
    _check_classes(labels)
    fixed, thinned = bool(np.isin(sides, ("val", "test")).any()), train_per_class
    notes: list[str] = []
    if fixed:
        train, held_out, protocol = _fixed(labels, sides)
        notes = _notes_on_fixed(train, held_out, group_rows, test)
    elif train_per_class is not None and test is None and group_rows is None:
        train, thinned = draw(labels, train_per_class, random_state), None
        held_out = np.setdiff1d(np.arange(len(labels)), train)
        protocol = f"random {train_per_class} a class for training"
    else:
        train, held_out, protocol = _share(labels, group_rows, test, random_state)
        notes = _notes_on_share(labels, held_out, test)
    if thinned is not None:
        train = train[draw(labels[train], thinned, random_state)]
        protocol += f", {thinned} a class drawn from the training side"
    _check_sides(labels, train, held_out)
    seed = "" if fixed and thinned is None else f", seed {random_state}"
    protocol += f"{seed}: trained on {len(train)}, tested on {len(held_out)}"
    if n_unused := len(labels) - len(train) - len(held_out):
        protocol += f", {n_unused} left out"
    return Split(train, held_out, protocol, (*notes, *_notes_on_classes(labels, train, held_out)))


def _check_options(y: Labels, groups: Labels | None, test: Any, train_per_class: Any) -> None:
    if groups is not None and len(groups) != len(y):
        raise UsageError(f"{len(groups)} groups for {len(y)} labels; give one a picture.")
    if test is not None and not (isinstance(test, Real) and 0 < float(test) < 1):
        raise UsageError(f"`test={test}` is no share to hold out; give one between 0 and 1.")
    n = train_per_class
    if n is not None and not (isinstance(n, Integral) and int(n) >= 1):
        raise UsageError(f"`train_per_class={n}` trains on nothing; give 1 or more.")


def _sides(split: Sequence[str | None] | Labels | None, n: int) -> Labels:
    """The split column of shape (n,), all "train" where there is none."""
    split = None if split is None else cells_of(split, "split")
    if split is None or all(is_missing(side) for side in split):
        return np.full(n, "train")
    if len(split) != n:
        raise UsageError(f"{len(split)} split entries for {n} labels; give one a picture.")
    unknown = sorted({str(side) for side in split} - set(SIDES))
    if unknown:
        raise UsageError(
            f"the split column holds {few(unknown)}; write train, val or test in every row."
        )
    return np.asarray(split, dtype=str)


def _check_classes(y: Labels) -> None:
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2:
        only = f"only class {classes[0]!s}" if len(classes) else "no class at all"
        raise LabelsError(f"there is {only}; give pictures of at least two classes.")
    if counts.max() == 1:
        raise LabelsError(
            f"each of the {len(classes)} classes has one picture, so none can be held out; "
            "add at least one more of each."
        )


def _fixed(y: Labels, sides: Labels) -> tuple[Ints, Ints, str]:
    tested = "test" if (sides == "test").any() else "val"
    held_out = np.flatnonzero(sides == tested)
    train = np.flatnonzero(sides != tested)
    trained = "+".join(side for side in SIDES if side != tested and (sides == side).any())
    if not len(train):
        raise LabelsError(
            f"all {len(y)} pictures are in {tested}, none to train on; add a train folder."
        )
    return train, held_out, f"{trained}/{tested} folders"


def _notes_on_fixed(
    train: Ints, held_out: Ints, groups: Labels | None, test: float | None
) -> list[str]:
    notes = []
    if test is not None:
        notes.append(f"`test={test:g}` was not used: the pictures come with a split of their own")
    shared = np.intersect1d(groups[train], groups[held_out]) if groups is not None else train[:0]
    if len(shared):
        notes.append(
            f"{len(shared)} groups (first: {shared[0]!s}) lie on both sides of the fixed split, "
            "so the figures may be too good"
        )
    return notes


def _share(
    y: Labels, groups: Labels | None, test: float | None, random_state: int
) -> tuple[Ints, Ints, str]:
    share = HELD_OUT if test is None else test
    held_out = _hold_out(y, groups, share, np.random.default_rng(random_state))
    train = np.setdiff1d(np.arange(len(y)), held_out)
    whole = "" if groups is None else ", groups kept whole"
    made, asked = _percent(len(held_out) / len(y)), _percent(share)
    meant = "" if made == asked else f" (asked for: {asked} %)"
    return train, held_out, f"random stratified {made} % held out{meant}{whole}"


def _percent(share: float) -> str:
    """One decimal, and more where that would say nothing or all of a share that is neither."""
    shown = f"{100 * share:.1f}".removesuffix(".0")
    return f"{100 * share:.6g}" if shown in ("0", "100") else shown


def _notes_on_share(y: Labels, held_out: Ints, test: float | None) -> list[str]:
    """Which classes are too small for the share that was asked for, where that shows."""
    if test is None or abs(len(held_out) / len(y) - test) <= NEAR:
        return []
    classes, counts = np.unique(y, return_counts=True)
    nearest = np.clip(np.round(test * counts), 1, counts - 1) / counts
    small = [str(each) for each in classes[abs(nearest - test) > NEAR]]
    if not small:
        return []
    which = "1 class is" if len(small) == 1 else f"{len(small)} classes are"
    return [
        f"{_percent(test)} % were to be held out, {_percent(len(held_out) / len(y))} % are: "
        f"{which} too small for that share ({few(small)})"
    ]


def _hold_out(y: Labels, groups: Labels | None, share: float, rng: np.random.Generator) -> Ints:
    """Rows to hold out: groups in random order join while they bring classes nearer their share.

    With no groups each row is its own, and every class gives exactly its rounded share.
    """
    encoded = np.unique(y, return_inverse=True)[1].ravel()
    sizes = np.bincount(encoded)
    wanted = np.clip(np.round(share * sizes), 1, sizes - 1)
    held = np.zeros(len(sizes))
    chosen: list[int] = []

    def gain(rows: Ints) -> float:
        """By how much a group brings its classes nearer; -inf if it leaves one nothing."""
        after = held + np.bincount(encoded[rows], minlength=len(sizes))
        is_last = ((after >= sizes) & (after > held)).any()
        return -np.inf if is_last else float((abs(wanted - held) - abs(wanted - after)).sum())

    def take(rows: Ints) -> None:
        held[:] += np.bincount(encoded[rows], minlength=len(sizes))
        chosen.extend(rows)

    left = []
    for rows in _shuffled_groups(groups, len(y), rng):
        if gain(rows) > 0:
            take(rows)
        else:
            left.append(rows)
    for label in range(len(sizes)):  # groups may be too large to bring a class nearer its share
        if not held[label]:
            best = max((rows for rows in left if label in encoded[rows]), key=gain, default=None)
            if best is not None and gain(best) > -np.inf:
                take(best)
    return np.sort(np.array(chosen, dtype=np.intp))


def _shuffled_groups(groups: Labels | None, n: int, rng: np.random.Generator) -> list[Ints]:
    if groups is None:
        return list(rng.permutation(n)[:, None])
    encoded = np.unique(groups, return_inverse=True)[1].ravel()
    order = np.argsort(encoded, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(encoded))[:-1])
    return [parts[number] for number in rng.permutation(len(parts))]


def _check_sides(y: Labels, train: Ints, held_out: Ints) -> None:
    if not len(held_out):
        raise LabelsError(
            f"no picture of {len(y)} is left to test on; ask for fewer training pictures a class, "
            "add pictures, or use smaller groups."
        )
    if len(np.unique(y[train])) < 2:
        raise LabelsError(
            f"the training side holds only class {y[train][0]!s}; "
            "add training pictures of another class."
        )


def _notes_on_classes(y: Labels, train: Ints, held_out: Ints) -> list[str]:
    trained, tested = set(y[train].tolist()), set(y[held_out].tolist())
    classes, counts = np.unique(y, return_counts=True)
    unknown, untested = [], []
    for label, count in zip(classes.tolist(), counts.tolist(), strict=True):
        pictures = "1 picture" if count == 1 else f"{count} pictures"
        if label not in trained:
            unknown.append(f"class {label} occurs in no training picture: it is always wrong")
        elif label not in tested:
            untested.append(
                f"class {label} ({pictures}) has none to test on: its recall cannot be estimated"
            )
    return [*_cut(unknown), *_cut(untested)]


def _cut(notes: list[str]) -> list[str]:
    """The first of notes that are alike, and how many more there are."""
    more = len(notes) - SHOWN
    return notes if more < 1 else [*notes[:SHOWN], f"{more} more classes like these"]
