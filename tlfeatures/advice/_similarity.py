"""How similar pictures are to what a network was trained on, from numbers. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from tlfeatures._parameters import seed_of
from tlfeatures.advice._evidence import ProbedLayer
from tlfeatures.evaluation import paired_difference
from tlfeatures.heads import LogisticHead


def head_answers(logits: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Mean confidence and mean entropy of a head's answers.

    Parameters
    ----------
    logits : ndarray of shape (n_images, n_outputs), float32

    Returns
    -------
    confidence : float
        Highest probability, in 0..1.
    entropy : float
        As a share of that of a guess, in 0..1.

    Examples
    --------
    >>> import numpy as np
    >>> confidence, entropy = head_answers(np.zeros((3, 10), np.float32))
    >>> round(confidence, 6), round(entropy, 6)
    (0.1, 1.0)
    """
    logs = log_softmax(logits.astype(np.float64), axis=1)
    entropies = -np.sum(np.exp(logs) * logs, axis=1)
    return float(np.exp(logs.max(axis=1)).mean()), float(entropies.mean()) / math.log(logs.shape[1])


def probe_depths(
    codes: Sequence[npt.NDArray[np.float32]],
    names: Sequence[tuple[str, float]],
    y: npt.NDArray[Any],
    groups: npt.NDArray[Any] | None = None,
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
    found = []
    for (layer, depth), own in zip(names, right, strict=True):
        paired = paired_difference(own, right[-1])
        accuracy = float(np.mean(own))
        found.append(ProbedLayer(layer, depth, accuracy, paired.difference, paired.standard_error))
    return tuple(found)


def _is_right(
    X: npt.NDArray[np.float32],
    y: npt.NDArray[Any],
    groups: npt.NDArray[Any] | None,
    random_state: int,
) -> npt.NDArray[np.bool_]:
    """Whether each picture's class is named by a head that has not seen its fold."""
    head = LogisticHead(random_state=random_state).fit(X, y, groups=groups)
    right: npt.NDArray[np.bool_] = np.asarray(head.out_of_fold_) == y
    return right
