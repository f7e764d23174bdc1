"""Choose among heads by cross-validation inside the training data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from tlfeatures._columns import whole_groups, whole_labels
from tlfeatures._parameters import seed_of
from tlfeatures.errors import UsageError
from tlfeatures.heads._scoring import Floats
from tlfeatures.heads.linear._path import Fold, make_folds

SIMPLEST_FIRST = ("logistic", "svm", "knn")


@dataclass(frozen=True)
class HeadScore:
    """How one head did on held-out folds of the training data.

    Attributes
    ----------
    name : str
        The name it was given.
    accuracy : float
        Out of fold, in [0, 1]; nan where nothing could be held out.
    behind : float
        The best head's accuracy minus this one's, on the same pictures.
    standard_error : float
        Of that paired difference; over groups where there are groups.
    head : estimator
        Fitted on all the training data.
    """

    name: str
    accuracy: float
    behind: float
    standard_error: float
    head: Any


def choose_head(
    heads: Mapping[str, Any],
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    random_state: int | np.random.RandomState | None = 0,
) -> tuple[str, tuple[HeadScore, ...]]:
    """Choose a head: the simplest that is within one standard error of the best.

    Each head predicts every training picture from the other folds. A linear head uses the folds
    of its own C path: for each fold the C by which the pictures of the *other* folds were
    predicted best (from all folds but their own, so this is less than a nested search). The other
    heads are fitted once a fold. The standard error is that of the paired difference to the best
    head (the one-standard-error rule of Breiman et al. 1984, on differences). Simplest first:
    logistic, svm, knn, then others in the order given.

    Parameters
    ----------
    heads : mapping of str to estimator
        Unfitted; left as they are.
    X : array-like of shape (n_images, n_features), float32 or float64
        Codes of the training pictures.
    y : array-like of shape (n_images,), str or int
        Their labels.
    groups : array-like of shape (n_images,), optional
        Pictures of one group stay in one fold; a picture without one (None, NaN) is a group of
        its own.
    random_state : int, RandomState or None, default=0
        Of the folds of heads that have none of their own.

    Returns
    -------
    name : str
        The chosen one.
    table : tuple of HeadScore
        Simplest first, each with the head fitted on all of X.

    Raises
    ------
    UsageError
        If there are no heads.
    LabelsError
        If a label is missing, or there is one class only.

    Warns
    -----
    UserWarning
        If a class has one picture (or group), so that nothing can be held out: the simplest
        head is then taken.
    """
    if not heads:
        raise UsageError("there is no head to choose from; give at least one.")
    labels = whole_labels(y, "y")
    encoded = np.unique(labels, return_inverse=True)[1].ravel()
    group_of = None if groups is None else whole_groups(groups)
    names = sorted(heads, key=_simplicity)
    fitted = {name: _fit(heads[name], X, labels, group_of) for name in names}
    folds = make_folds(encoded, group_of, seed_of(random_state))
    if folds is None:
        warnings.warn(
            f"a class has one picture or group, so no head can be judged; the simplest, "
            f"{names[0]!r}, is taken. Add pictures of that class or name a head.",
            UserWarning,
            stacklevel=2,
        )
        nan = float("nan")
        return names[0], tuple(HeadScore(name, nan, nan, nan, fitted[name]) for name in names)
    codes = np.asarray(X)
    right = {
        name: _out_of_fold(heads[name], fitted[name], codes, labels, folds, group_of) == labels
        for name in names
    }
    best = max(names, key=lambda name: right[name].mean())  # of equal ones the first, simplest
    table = tuple(_score(name, right[name], right[best], group_of, fitted[name]) for name in names)
    return next(row.name for row in table if row.behind <= row.standard_error), table


def _simplicity(name: str) -> int:
    return SIMPLEST_FIRST.index(name) if name in SIMPLEST_FIRST else len(SIMPLEST_FIRST)


def _fit(head: Any, X: npt.ArrayLike, y: npt.NDArray[Any], groups: Any) -> Any:
    return clone(head).fit(X, y) if groups is None else clone(head).fit(X, y, groups=groups)


def _out_of_fold(
    head: Any,
    fitted: Any,
    X: Floats,
    y: npt.NDArray[Any],
    folds: list[Fold],
    groups: npt.NDArray[Any] | None,
) -> npt.NDArray[Any]:
    own = getattr(fitted, "out_of_fold_", None)
    if own is not None:
        return np.asarray(own)
    predictions = np.empty_like(y)
    for train, held_out in folds:
        inner = None if groups is None else groups[train]
        predictions[held_out] = _predict_fold(head, X[train], y[train], inner, X[held_out])
    return predictions


def _predict_fold(
    head: Any, X: Floats, y: npt.NDArray[Any], groups: Any, held_out: Floats
) -> npt.NDArray[Any]:
    if len(np.unique(y)) == 1:  # groups may leave one class only
        return np.full(len(held_out), y[0])
    return np.asarray(_fit(head, X, y, groups).predict(held_out))


def _score(name: str, right: Any, best: Any, groups: Any, fitted: Any) -> HeadScore:
    difference = best.astype(float) - right
    error = _standard_error(difference, groups)
    return HeadScore(name, float(right.mean()), float(difference.mean()), error, fitted)


def _standard_error(difference: Floats, groups: npt.NDArray[Any] | None) -> float:
    """Of the mean of per-picture differences; groups count as units, since members are alike."""
    deviation = difference - difference.mean()
    if groups is not None:
        deviation = np.bincount(np.unique(groups, return_inverse=True)[1].ravel(), deviation)
    units = len(deviation)
    return float(np.sqrt(units / (units - 1) * np.sum(deviation**2)) / len(difference))
