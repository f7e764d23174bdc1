"""What trivial methods reach on the same split."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from tlfeatures._parameters import seed_of
from tlfeatures.errors import LabelsError
from tlfeatures.evaluation._scores import Score, score


def majority(y_train: npt.ArrayLike, y_test: npt.ArrayLike) -> Score:
    """Score the guess that every picture is of the most frequent training class.

    Parameters
    ----------
    y_train : array-like of shape (n_train,), str or int
        Labels to count; of equally frequent classes the first in sorted order is guessed.
    y_test : array-like of shape (n_test,), str or int
        Labels to score on.

    Returns
    -------
    Score
        Of the constant guess.

    Raises
    ------
    LabelsError
        If there are no training labels.
    UsageError
        If there are no test labels.
    """
    classes, counts = np.unique(np.asarray(y_train), return_counts=True)
    if not len(classes):
        raise LabelsError("there are no training labels to count; give at least one.")
    truth = np.asarray(y_test)
    return score(truth, np.full(len(truth), classes[counts.argmax()]))


def shuffled_labels(
    head: Any,
    X_train: npt.ArrayLike,
    y_train: npt.ArrayLike,
    X_test: npt.ArrayLike,
    y_test: npt.ArrayLike,
    random_state: int | np.random.RandomState | None = 0,
) -> Score:
    """Score the same head trained on shuffled labels: what leaks or luck alone would reach.

    Parameters
    ----------
    head : estimator
        Left as it is; where it was fitted, the C it chose is used.
    X_train : array-like of shape (n_train, n_features), float32 or float64
        Training codes.
    y_train : array-like of shape (n_train,), str or int
        Training labels, shuffled here.
    X_test : array-like of shape (n_test, n_features), float32 or float64
        Test codes.
    y_test : array-like of shape (n_test,), str or int
        Test labels, not shuffled.
    random_state : int, RandomState or None, default=0
        Of the shuffle.

    Returns
    -------
    Score
        On the test pictures.

    Raises
    ------
    LabelsError
        If there is one class only.
    """
    control = clone(head)
    if hasattr(head, "C_") and "C" in head.get_params():
        control.set_params(C=head.C_)
    shuffled = np.random.default_rng(seed_of(random_state)).permutation(np.asarray(y_train))
    with warnings.catch_warnings():  # what the head has to say was said when it was fitted
        warnings.simplefilter("ignore", UserWarning)
        control.fit(X_train, shuffled)
    return score(y_test, control.predict(X_test))
