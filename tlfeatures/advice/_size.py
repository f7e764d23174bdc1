"""The size of a set, by the learning curve of a linear head on its codes. No torch in here."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from tlfeatures._parameters import LARGEST_SEED, seed_of
from tlfeatures.advice._evidence import FITTED, CurvePoint, Size
from tlfeatures.advice._sample import nested_parts, units_per_class
from tlfeatures.heads import LogisticHead

Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[Any]
Codes = npt.NDArray[np.float32]
SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)  # of the training side
FOLDS = 5
ROUNDS, FEW = 2, 1500  # rounds of folds where there are so few pictures; else one says enough
CHOOSING = 300  # training pictures that choose C, roughly: it is the curve's shape that counts


@dataclass(frozen=True)
class Curve:
    """Held-out accuracies of several splits.

    Attributes
    ----------
    n : ndarray of shape (n_shares,), float64
        Training pictures, mean over the splits.
    accuracy : ndarray of shape (n_splits, n_shares), float64
    """

    n: Floats
    accuracy: Floats

    def points(self) -> tuple[CurvePoint, ...]:
        """Means over the splits, with their standard errors."""
        mean, error = self.accuracy.mean(axis=0), _standard_error(self.accuracy)
        rows = zip(self.n, mean, error, strict=True)
        return tuple(CurvePoint(round(float(n)), float(m), float(e)) for n, m, e in rows)

    def slope(self) -> tuple[float, float] | None:
        """Accuracy gained by a doubling at the upper end, by least squares, and its standard error.

        Each split has a slope of its own; the error is that of their mean. None if the parts do
        not differ in size.
        """
        x = np.log2(self.n[-FITTED:])
        x = x - x.mean()
        if not np.any(x):
            return None
        slopes = self.accuracy[:, -FITTED:] @ x / np.sum(x**2)
        return float(slopes.mean()), float(_standard_error(slopes))


def measure_size(
    X: Codes,
    y: Labels,
    groups: Labels | None = None,
    *,
    random_state: int | np.random.RandomState | None = 0,
) -> Size:
    """Count the pictures and measure whether accuracy still rises with their number.

    Parameters
    ----------
    X : ndarray of shape (n_images, n_features), float32
        Codes.
    y : ndarray of shape (n_images,)
        Labels; at least four pictures, or groups, of each class.
    groups : ndarray of shape (n_images,), optional
        Pictures that stay on one side.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    Size
    """
    counts = np.unique(y, return_counts=True)[1]
    curve = measure_curve(X, y, groups, random_state=random_state)
    slope, error = curve.slope() or (None, None)
    return Size(len(y), len(counts), int(np.median(counts)), curve.points(), slope, error)


def measure_curve(
    X: Codes,
    y: Labels,
    groups: Labels | None = None,
    *,
    random_state: int | np.random.RandomState | None = 0,
) -> Curve:
    """The learning curve of logistic regression, by cross-validation.

    Each fold is held out once (twice where pictures are few); the classifier is trained on nested
    stratified parts of the others. C is chosen inside each training side.

    Parameters
    ----------
    X, y, groups, random_state
        As in `measure_size`.
    """
    rounds, random_state = ROUNDS if len(y) <= FEW else 1, seed_of(random_state)
    splits = [split for r in range(rounds) for split in _folds(y, groups, random_state + r)]
    rows = [
        _one_split(X, y, groups, train, held_out, random_state + i)
        for i, (train, held_out) in enumerate(splits)
    ]
    sizes, accuracies = np.array(rows).transpose(1, 0, 2)
    return Curve(sizes.mean(axis=0), accuracies)


def _one_split(
    X: Codes, y: Labels, groups: Labels | None, train: Ints, held_out: Ints, random_state: int
) -> tuple[list[float], list[float]]:
    """Training pictures and held-out accuracies along the curve."""
    share = min(1.0, CHOOSING / len(train))
    choosing = train[nested_parts(y[train], [share], 2, random_state)[0]]
    of_groups = None if groups is None else groups[choosing]
    with warnings.catch_warnings():  # a part may lack a second group that the whole has
        warnings.simplefilter("ignore", UserWarning)
        C = LogisticHead().fit(X[choosing], y[choosing], groups=of_groups).C_
    sizes, accuracies = [], []
    for part in nested_parts(y[train], SHARES, 1, random_state):
        head = LogisticHead(C=C).fit(X[train[part]], y[train[part]])
        sizes.append(float(len(part)))
        accuracies.append(float(np.mean(head.predict(X[held_out]) == y[held_out])))
    return sizes, accuracies


def _folds(y: Labels, groups: Labels | None, random_state: int) -> list[tuple[Ints, Ints]]:
    n_folds = min(FOLDS, int(units_per_class(y, groups)[1].min()))
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(n_folds, shuffle=True, random_state=random_state % (LARGEST_SEED + 1))
    return list(splitter.split(np.zeros((len(y), 1)), y, groups))


def _standard_error(values: Floats) -> Floats:
    """Of the means over the first axis."""
    return np.asarray(values.std(axis=0, ddof=1) / math.sqrt(len(values)))
