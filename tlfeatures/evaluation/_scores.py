"""Accuracy, mean recall, differences; each with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm

from tlfeatures.errors import UsageError

Interval = tuple[float, float]
PRIOR = 8  # pictures; 4 to 12 cover alike
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """How good predictions are, with the doubt that n pictures leave.

    Attributes
    ----------
    accuracy : float
        Share of pictures that are right, in [0, 1].
    ci95 : tuple of (float, float)
        95 % interval of the accuracy (Wilson).
    mean_recall : float
        Mean over classes of the share that is right: every class counts the same.
    mean_recall_ci95 : tuple of (float, float)
        95 % interval of the mean recall.
    n : int
        Pictures.
    """

    accuracy: float
    ci95: Interval
    mean_recall: float
    mean_recall_ci95: Interval
    n: int


@dataclass(frozen=True)
class PairedDifference:
    """How far two methods lie apart on the same pictures.

    Attributes
    ----------
    difference : float
        Accuracy of a minus accuracy of b.
    standard_error : float
        Of the difference; 0 where both are right on the same pictures.
    ci95 : tuple of (float, float)
        95 % interval of the difference, never of width 0.
    n : int
        Pictures.
    """

    difference: float
    standard_error: float
    ci95: Interval
    n: int


def wilson_interval(n_right: int, n: int, level: float = 0.95) -> Interval:
    """Bound a share by the score interval of Wilson 1927 (J. Am. Stat. Assoc. 22:209).

    Parameters
    ----------
    n_right : int
        Successes, 0 to n.
    n : int
        Trials, at least 1.
    level : float, default=0.95
        Confidence, in (0, 1).

    Returns
    -------
    low, high : float
        In [0, 1].

    Raises
    ------
    UsageError
        If n is below 1, n_right is not in 0..n or level not in (0, 1).

    Examples
    --------
    >>> [round(bound, 3) for bound in wilson_interval(81, 263)]
    [0.255, 0.366]
    """
    if n < 1 or not 0 <= n_right <= n or not 0 < level < 1:
        raise UsageError(
            f"no interval for {n_right} right of {n} at level {level}; "
            "give 0 <= n_right <= n, n >= 1 and 0 < level < 1."
        )
    interval = binomtest(int(n_right), int(n)).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def mean_recall(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Average the share that is right over the classes that occur in y_true.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,), str or int
        True and predicted labels.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    UsageError
        If the two differ in length or are empty.
    """
    right, n = _right_per_class(y_true, y_pred)
    return float(np.mean(right / n))


def mean_recall_interval(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, level: float = 0.95
) -> Interval:
    """Bound the mean recall by a Wilson interval of as many pictures as its variance is worth.

    The mean recall is a stratified estimate, whose variance is the sum of those of the classes. A
    class of a few pictures says little of its own: its recall is drawn towards that of all
    pictures by `PRIOR` pictures, as beta-binomial shrinkage does. The interval is Wilson's for the
    effective number of pictures that has this variance (Korn & Graubard 1998, Survey Methodology
    24:193, do so with the interval of Clopper and Pearson). With one class it is the Wilson
    interval. How often it covers: `benchmarks/coverage.py`.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,), str or int
        True and predicted labels; classes absent from y_true are left out.
    level : float, default=0.95
        Confidence, in (0, 1).

    Returns
    -------
    low, high : float
        In [0, 1].

    Raises
    ------
    UsageError
        If the two differ in length or are empty, or level is not in (0, 1).
    """
    right, n = _right_per_class(y_true, y_pred)
    if not 0 < level < 1:
        raise UsageError(f"level is {level}; give a number between 0 and 1.")
    low, high = recall_bounds(right, n, level)
    return float(low), float(high)


def recall_bounds(
    right: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95
) -> tuple[Floats, Floats]:
    """The bounds of `mean_recall_interval` from counts, for many sets at once.

    Parameters
    ----------
    right, n : array-like of shape (..., n_classes), int
        Right ones and pictures of each class; n at least 1.
    level : float, default=0.95

    Returns
    -------
    low, high : ndarray of shape (...,), float64
    """
    k, size = np.asarray(right, float), np.asarray(n, float)
    overall = (k.sum(-1, keepdims=True) + 1) / (size.sum(-1, keepdims=True) + 2)
    shrunk = (k + PRIOR * overall) / (size + PRIOR)
    variance = (shrunk * (1 - shrunk) / size).sum(-1) / k.shape[-1] ** 2
    q = shrunk.mean(-1)
    n_effective = q * (1 - q) / variance
    mean, z = (k / size).mean(-1), float(norm.ppf((1 + level) / 2))
    centre = mean + z**2 / (2 * n_effective)
    half = z * np.sqrt(mean * (1 - mean) / n_effective + z**2 / (4 * n_effective**2))
    whole = 1 + z**2 / n_effective
    return np.maximum(0.0, (centre - half) / whole), np.minimum(1.0, (centre + half) / whole)


def score(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Score:
    """Score predictions.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,), str or int
        True and predicted labels.

    Returns
    -------
    Score
        Accuracy, mean recall, their 95 % intervals, n.

    Raises
    ------
    UsageError
        If the two differ in length or are empty.
    """
    right, n = _right_per_class(y_true, y_pred)
    n_right, total = int(right.sum()), int(n.sum())
    return Score(
        accuracy=n_right / total,
        ci95=wilson_interval(n_right, total),
        mean_recall=float(np.mean(right / n)),
        mean_recall_ci95=mean_recall_interval(y_true, y_pred),
        n=total,
    )


def paired_difference(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> PairedDifference:
    """Compare two methods on the same pictures.

    The interval is the adjusted Wald one of Bonett & Price 2012 (J. Educ. Behav. Stat. 37:479),
    which keeps its level for few pictures and few disagreements.

    Parameters
    ----------
    right_a, right_b : array-like of shape (n,), bool
        Whether each method is right on each picture.

    Returns
    -------
    PairedDifference
        a minus b, its standard error and 95 % interval.

    Raises
    ------
    UsageError
        If the two differ in length or are empty.
    """
    a, b = _same_length(right_a, right_b)
    a, b, n = a.astype(bool), b.astype(bool), len(a)
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    difference = (only_a - only_b) / n
    variance = ((only_a + only_b) / n - difference**2) / max(n - 1, 1)
    p, q = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    half = float(norm.ppf(0.975)) * float(np.sqrt((p + q - (p - q) ** 2) / (n + 2)))
    ci95 = (max(-1.0, p - q - half), min(1.0, p - q + half))
    return PairedDifference(difference, float(np.sqrt(max(variance, 0.0))), ci95, n)


def mcnemar_p(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> float:
    """Test whether two methods are right equally often on the same pictures.

    The exact form of McNemar 1947 (Psychometrika 12:153): of the pictures on which only one method
    is right, each is as likely the one's as the other's.

    Parameters
    ----------
    right_a, right_b : array-like of shape (n,), bool
        Whether each method is right on each picture.

    Returns
    -------
    float
        Two-sided p, 1 where they never differ.

    Raises
    ------
    UsageError
        If the two differ in length or are empty.
    """
    a, b = (values.astype(bool) for values in _same_length(right_a, right_b))
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _right_per_class(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Right ones and pictures of each class in y_true, both of shape (n_classes,)."""
    truth, predicted = _same_length(y_true, y_pred)
    classes, encoded = np.unique(truth, return_inverse=True)
    right = np.bincount(encoded.ravel()[truth == predicted], minlength=len(classes))
    return right, np.bincount(encoded.ravel())


def _same_length(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    one, other = np.asarray(a).ravel(), np.asarray(b).ravel()
    if len(one) != len(other) or not len(one):
        raise UsageError(
            f"{len(one)} values are compared with {len(other)}; give one each for each picture."
        )
    return one, other
