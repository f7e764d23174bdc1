"""Which pictures are measured: classes that are large enough, a part for probing, nested parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.intp]
Labels = npt.NDArray[Any]
LEAST_A_CLASS = 4  # pictures or groups; with fewer nothing is left to hold out and to choose C on
PROBED = 500  # pictures at most, or the first run would take its time
PROBED_CLASSES = 100


def units_per_class(y: Labels, groups: Labels | None = None) -> tuple[Labels, Ints]:
    """The classes, and how many pictures, or groups, each has."""
    if groups is None:
        return np.unique(y, return_counts=True)
    pairs = set(zip(y.tolist(), groups.tolist(), strict=True))
    counts = Counter(label for label, _ in pairs)
    classes = np.unique(y)
    return classes, np.array([counts[label] for label in classes.tolist()], dtype=np.intp)


def usable_rows(y: Labels, groups: Labels | None = None) -> tuple[Ints, list[str]]:
    """Rows of classes that are large enough to be measured, and the names of the other classes."""
    classes, counts = units_per_class(y, groups)
    small = classes[counts < LEAST_A_CLASS]
    return np.flatnonzero(~np.isin(y, small)), [str(label) for label in small]


def rows_to_probe(y: Labels, groups: Labels | None = None, random_state: int = 0) -> Ints:
    """About 500 rows at most, ascending: as many of each class as it has and as that allows.

    Labels are those of classes that are large enough; of a class, different groups come first.
    """
    rng = np.random.default_rng(random_state)
    classes, counts = np.unique(y, return_counts=True)
    places = np.sort(rng.permutation(len(classes))[:PROBED_CLASSES])
    each = max(LEAST_A_CLASS, _most_a_class(counts[places]))
    rows = [
        _spread(rng.permutation(np.flatnonzero(y == label)), groups)[:each]
        for label in classes[places]
    ]
    return np.sort(np.concatenate(rows))


def nested_parts(y: Labels, shares: Sequence[float], least: int, random_state: int) -> list[Ints]:
    """Stratified parts of the rows, each inside the next: ascending rows, one array per share.

    Shares ascend in (0, 1]; of each class at least `least` pictures, where it has them.
    """
    rng = np.random.default_rng(random_state)
    parts: list[list[int]] = [[] for _ in shares]
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        for part, share in zip(parts, shares, strict=True):
            part.extend(rows[: max(least, round(share * len(rows)))])
    return [np.sort(np.array(part, dtype=np.intp)) for part in parts]


def _most_a_class(counts: Ints) -> int:
    """The most pictures a class with which the sum stays within the limit."""
    fitting = [n for n in range(1, PROBED + 1) if np.minimum(counts, n).sum() <= PROBED]
    return max(fitting, default=1)


def _spread(rows: Ints, groups: Labels | None) -> Ints:
    """The rows, first those that are the first of their group, then the second ones, ..."""
    if groups is None:
        return rows
    seen: Counter[Any] = Counter()
    rounds = []
    for group in groups[rows].tolist():
        rounds.append(seen[group])
        seen[group] += 1
    return rows[np.argsort(rounds, kind="stable")]
