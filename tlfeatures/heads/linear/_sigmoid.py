"""One sigmoid that turns the scores of a support vector machine into probabilities."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from tlfeatures.heads._scoring import Floats, Ints

FIXED_SIGMOID = (2.0, 0.0)  # where no out-of-fold score can be had: a margin of 1 means 88 %
SMALLEST_SLOPE = 1e-6


def fit_sigmoid(scores: Floats, y: Ints) -> tuple[float, float]:
    """Fit one sigmoid 1 / (1 + exp(-(slope * f + offset))) over all one-vs-rest scores.

    Maximum likelihood with the smoothed targets of Platt 1999, Probabilistic outputs for support
    vector machines; one sigmoid for all classes keeps the order of the scores.

    Parameters
    ----------
    scores : ndarray of shape (n, n_classes), float64
        Out-of-fold; entries that are not finite are left out.
    y : ndarray of shape (n,), int
        Class numbers.

    Returns
    -------
    slope, offset : float
        The slope is at least 1e-6.
    """
    is_class = y[:, None] == np.arange(scores.shape[1])
    known = np.isfinite(scores)
    f, positive = scores[known], is_class[known]
    n_positive, n_negative = positive.sum(), (~positive).sum()
    targets = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    scale = max(float(np.abs(f).max(initial=0.0)), 1e-12)  # keeps the two unknowns alike in size

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] * f / scale + parameters[1]
        error = 0.5 * (1 + np.tanh(z / 2)) - targets
        value = np.mean(np.logaddexp(0, z) - targets * z)
        return float(value), np.array([np.mean(error * f / scale), np.mean(error)])

    bounds = [(SMALLEST_SLOPE * scale, None), (None, None)]
    found = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=bounds)
    return max(float(found.x[0]) / scale, SMALLEST_SLOPE), float(found.x[1])
