"""What trivial methods reach on the same split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from tlfeatures._parameters import seed_of
from tlfeatures.errors import LabelsError
from tlfeatures.evaluation._scores import Score, score

PERMUTATIONS = 20
STRENGTH = 1.0  # of the ridge, on rows of unit length
Floats = npt.NDArray[np.float64]


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
    X_train: npt.ArrayLike,
    y_train: npt.ArrayLike,
    X_test: npt.ArrayLike,
    y_test: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> Floats:
    """Score ridge classifiers trained on shuffled labels: a sanity check of the protocol.

    What is learned from labels in a random order is luck, so that their accuracies lie around
    chance; where they do not, the protocol leaks. One order says little (of two classes, one seed
    gave 94 % and another 6 %), so there are 20.

    Parameters
    ----------
    X_train : array-like of shape (n_train, n_features), float32 or float64
        Training codes.
    y_train : array-like of shape (n_train,), str or int
        Training labels, shuffled here.
    X_test : array-like of shape (n_test, n_features), float32 or float64
        Test codes.
    y_test : array-like of shape (n_test,), str or int
        Test labels, not shuffled.
    groups : array-like of shape (n_train,), optional
        The labels of a group stay beside each other and change places with those of others.
    random_state : int, RandomState or None, default=0
        Of the orders.

    Returns
    -------
    ndarray of shape (20,), float64
        The accuracy with each order.

    Raises
    ------
    LabelsError
        If there is one training class only.
    """
    classes, encoded = np.unique(np.asarray(y_train), return_inverse=True)
    if len(classes) < 2:
        raise LabelsError("one class cannot be shuffled; give training labels of two.")
    rng = np.random.default_rng(seed_of(random_state))
    orders = np.array([_shuffled(encoded, groups, rng) for _ in range(PERMUTATIONS)])
    targets = np.moveaxis(np.eye(len(classes))[orders], 0, 1)  # (n_train, 20, n_classes)
    flat = targets.reshape(len(encoded), -1)
    scores = _ridge(_unit_rows(X_train), flat, _unit_rows(X_test))
    found = classes[scores.reshape(len(scores), *targets.shape[1:]).argmax(axis=2)]
    accuracies: Floats = (found == np.asarray(y_test)[:, None]).mean(axis=0)
    return accuracies


def _shuffled(
    y: npt.NDArray[np.intp], groups: npt.ArrayLike | None, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """The labels in another order; those of a group one after the other, as its pictures are."""
    if groups is None:
        return rng.permutation(y)
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    places = np.argsort(numbers, kind="stable")
    order = np.argsort(rng.permutation(numbers.max() + 1)[numbers], kind="stable")
    mixed = np.empty_like(y)
    mixed[places] = y[order]
    return mixed


def _unit_rows(X: npt.ArrayLike) -> Floats:
    rows = np.asarray(X, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = rows / np.where(lengths > 0, lengths, 1.0)
    return unit


def _ridge(X: Floats, Y: Floats, X_test: Floats) -> Floats:
    """What ridge regression of the columns of Y says of X_test; one factorisation for all."""
    centre, mean = X.mean(axis=0), Y.mean(axis=0)
    A, B = X - centre, X_test - centre
    is_wide = A.shape[1] > A.shape[0]
    gram = A @ A.T if is_wide else A.T @ A
    factor = cho_factor(gram + STRENGTH * np.eye(len(gram)))
    if is_wide:
        return np.asarray((B @ A.T) @ cho_solve(factor, Y - mean) + mean)
    return np.asarray(B @ cho_solve(factor, A.T @ (Y - mean)) + mean)
