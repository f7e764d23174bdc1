"""Size and similarity measured on codes and logits. No torch in here."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from tlfeatures._parameters import LARGEST_SEED, seed_of
from tlfeatures.advice._evidence import FITTED, CurvePoint, ProbedLayer, Size
from tlfeatures.advice._sample import Ints, Labels, nested_parts, units_per_class
from tlfeatures.evaluation import paired_difference
from tlfeatures.heads import LogisticHead

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.float32]
SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)  # of the training side
FOLDS = 5
ROUNDS, FEW = 2, 1500  # rounds of folds where there are so few pictures; else one says enough
CHOOSING = 300  # training pictures that choose C, roughly: it is the curve's shape that counts


def measure_size(
    X: Codes,
    y: Labels,
    groups: Labels | None = None,
    *,
    random_state: int | np.random.RandomState | None = 0,
) -> Size:
    """Count the pictures and measure whether accuracy still rises with their number.

    Each fold of a cross-validation is held out once (twice where pictures are few); logistic
    regression is trained on nested stratified parts of the others, C chosen inside each.

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
    rounds, seed = ROUNDS if len(y) <= FEW else 1, seed_of(random_state)
    splits = [split for r in range(rounds) for split in _folds(y, groups, seed + r)]
    rows = [_one_split(X, y, groups, *split, seed + i) for i, split in enumerate(splits)]
    sizes, accuracies = np.array(rows).transpose(1, 0, 2)
    n, error = sizes.mean(axis=0), _standard_error(accuracies)
    columns = zip(n, accuracies.mean(axis=0), error, strict=True)
    curve = tuple(CurvePoint(round(float(x)), float(m), float(e)) for x, m, e in columns)
    counts = np.unique(y, return_counts=True)[1]
    return Size(len(y), len(counts), int(np.median(counts)), curve, *slope_of(n, accuracies))


def slope_of(n: Floats, accuracies: Floats) -> tuple[float, float] | tuple[None, None]:
    """Accuracy gained by a doubling at the upper end, by least squares, and its standard error.

    Each split has a slope of its own; the error is that of their mean. None if the parts do not
    differ in size.

    Parameters
    ----------
    n : ndarray of shape (n_shares,), float64
        Training pictures, mean over the splits.
    accuracies : ndarray of shape (n_splits, n_shares), float64
        Held out.
    """
    x = np.log2(n[-FITTED:])
    x = x - x.mean()
    if not np.any(x):
        return None, None
    slopes = accuracies[:, -FITTED:] @ x / np.sum(x**2)
    return float(slopes.mean()), float(_standard_error(slopes))


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


def confidence_of(logits: npt.NDArray[np.float32]) -> float | None:
    """Mean highest probability, in 0..1; None where no picture's answer is finite.

    Parameters
    ----------
    logits : ndarray of shape (n_images, n_outputs), float32
    """
    finite = logits[np.isfinite(logits).all(axis=1)].astype(np.float64)
    return float(softmax(finite, axis=1).max(axis=1).mean()) if len(finite) else None


def probe_depths(
    codes: Sequence[Codes],
    names: Sequence[tuple[str, float]],
    y: Labels,
    groups: Labels | None = None,
    *,
    random_state: int | np.random.RandomState | None = 0,
) -> tuple[ProbedLayer, ...]:
    """Score a linear head on the codes of each depth, out of fold, C chosen by the other folds.

    Parameters
    ----------
    codes : sequence of ndarray of shape (n_images, n_features), float32
        By depth, the codes asked for last.
    names : sequence of (layer, depth)
    y : ndarray of shape (n_images,)
        Labels, at least two pictures, or groups, of each class.
    groups : ndarray of shape (n_images,), optional
    random_state : int, RandomState or None, default=0

    Returns
    -------
    tuple of ProbedLayer
        In the order given.
    """
    seed = seed_of(random_state)
    right = [_is_right(X, y, groups, seed) for X in codes]
    paired = [paired_difference(own, right[-1]) for own in right]
    return tuple(
        ProbedLayer(*name, float(np.mean(own)), pair.difference, pair.standard_error)
        for name, own, pair in zip(names, right, paired, strict=True)
    )


def _is_right(X: Codes, y: Labels, groups: Labels | None, seed: int) -> npt.NDArray[np.bool_]:
    """Whether each picture's class is named by a head that has not seen its fold."""
    head = LogisticHead(random_state=seed).fit(X, y, groups=groups)
    right: npt.NDArray[Any] = np.asarray(head.out_of_fold_) == y
    return right
