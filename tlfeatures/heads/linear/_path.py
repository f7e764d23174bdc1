"""The C path: one linear head fitted along a grid of C on folds of the training data.

L2-regularised linear models only see the row space of X: with X = R'Q' (QR of the transpose),
training on the (n, n) matrix R' and mapping the coefficients back by Q gives the same model as
training on the (n, d) matrix (Hastie & Tibshirani 2004, Efficient quadratic regularization for
expression arrays, Biostatistics 5:329). Folds share the one rotation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
from joblib import Parallel, delayed
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from tlfeatures.heads._scoring import Floats, Ints, Model, decide, one_score_a_class

Fold = tuple[Ints, Ints]
FitAlong = Callable[[Floats, Ints, Sequence[float]], list[Model]]

MAX_FOLDS = 5


@dataclass(frozen=True)
class Path:
    """What cross-validation along the grid found.

    Attributes
    ----------
    grid : ndarray of shape (n_C,), float64
        The C values, ascending.
    accuracy : ndarray of shape (n_C, n_folds), float64
        Of each held-out fold.
    decisions : ndarray of shape (n_C, n, n_classes), float64
        Out-of-fold scores; -inf for a class the fold's training side lacked.
    fold : ndarray of shape (n,), int
        Which fold held each row out.
    """

    grid: Floats
    accuracy: Floats
    decisions: Floats
    fold: Ints

    @property
    def best(self) -> int:
        """Index of the C with the highest mean accuracy; of equal ones the smallest C."""
        return _first_best(self.accuracy.mean(axis=1))

    def honest_predictions(self) -> Ints:
        """Class numbers of shape (n,), each fold predicted with the C that the others chose."""
        predictions = np.empty(len(self.fold), dtype=np.intp)
        for fold in range(self.accuracy.shape[1]):
            rows = self.fold == fold
            others = np.delete(self.accuracy, fold, axis=1)
            predictions[rows] = self.decisions[_first_best(others.mean(axis=1)), rows].argmax(1)
        return predictions


def _first_best(means: Floats) -> int:
    return int(np.flatnonzero(means >= means.max() - 1e-12)[0])


def rotate(X: Floats) -> tuple[Floats, Floats | None]:
    """Rotate rows into their own space where that is smaller.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64
        Normalised codes.

    Returns
    -------
    Z : ndarray of shape (n, min(n, d)), float64
        The same rows in the basis; X itself where d <= n.
    basis : ndarray of shape (d, n), float64, or None
        Orthonormal columns with Z = X basis; None where X was not rotated.
    """
    if X.shape[1] <= X.shape[0]:
        return X, None
    basis, R = scipy.linalg.qr(X.T, mode="economic", check_finite=False)
    return np.ascontiguousarray(R.T), basis


def make_folds(y: Ints, groups: npt.NDArray[Any] | None, random_state: int) -> list[Fold] | None:
    """Cut rows into stratified folds; None where a class has fewer than 2 pictures (or groups).

    Parameters
    ----------
    y : ndarray of shape (n,), int
        Class numbers 0..n_classes-1.
    groups : ndarray of shape (n,) or None
        Rows of one group stay in one fold.
    random_state : int
        Seed of the shuffle.

    Returns
    -------
    list of (train, held_out) or None
        5 folds, or as many as the smallest class has pictures (groups).
    """
    units = y if groups is None else np.unique(np.c_[y, _codes_of(groups)], axis=0)[:, 0]
    n_folds = min(MAX_FOLDS, int(np.bincount(units).min()))
    if n_folds < 2:
        return None
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(n_folds, shuffle=True, random_state=random_state)
    return list(splitter.split(np.zeros((len(y), 1)), y, groups))


def _codes_of(groups: npt.NDArray[Any]) -> Ints:
    return np.unique(groups, return_inverse=True)[1].ravel()


def search(
    fit_along: FitAlong,
    Z: Floats,
    y: Ints,
    grid: Sequence[float],
    folds: Sequence[Fold],
    n_jobs: int | None,
) -> Path:
    """Fit the path on each fold and score what it held out.

    Parameters
    ----------
    fit_along : callable
        (Z, y, grid) -> one model per C.
    Z : ndarray of shape (n, d), float64
        Rotated codes.
    y : ndarray of shape (n,), int
        Class numbers 0..n_classes-1.
    grid : sequence of float
        C values, ascending.
    folds : sequence of (train, held_out)
        From `make_folds`.
    n_jobs : int or None
        Folds at a time, in threads.

    Returns
    -------
    Path
        Accuracies and out-of-fold scores.
    """
    jobs = (delayed(_run_fold)(fit_along, Z, y, grid, fold) for fold in folds)
    scores = Parallel(n_jobs=n_jobs, prefer="threads")(jobs)
    decisions = np.empty((len(grid), len(y), int(y.max()) + 1))
    fold_of = np.empty(len(y), dtype=np.intp)
    for number, ((_, held_out), score) in enumerate(zip(folds, scores, strict=True)):
        decisions[:, held_out] = score
        fold_of[held_out] = number
    right = decisions.argmax(axis=2) == y
    accuracy = np.stack([right[:, held_out].mean(axis=1) for _, held_out in folds], axis=1)
    return Path(np.asarray(grid, dtype=float), accuracy, decisions, fold_of)


def _run_fold(fit_along: FitAlong, Z: Floats, y: Ints, grid: Sequence[float], fold: Fold) -> Floats:
    """Out-of-fold scores of shape (n_C, n_held_out, n_classes)."""
    train, held_out = fold
    present, encoded = np.unique(y[train], return_inverse=True)
    scores = np.full((len(grid), len(held_out), int(y.max()) + 1), -np.inf)
    if len(present) == 1:  # groups may leave one class only
        scores[:, :, present[0]] = 0.0
        return scores
    for step, model in enumerate(fit_along(Z[train], encoded, grid)):
        scores[step][:, present] = one_score_a_class(decide(Z[held_out], model))
    return scores
