"""A linear head as the network's last layer, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_layer(head: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A linear head as a layer with a score a class, (n_classes, d) and (n_classes,).

    An SVM's scores are stretched by its sigmoid's slope, so that the softmax of the layer is about
    as sure as the head; decisions stay.
    """
    tensors, facts = head.to_arrays()
    scale = facts["sigmoid"][0] if "sigmoid" in facts else 1.0
    weights, biases = tensors["coef"] * scale, tensors["intercept"] * scale
    if len(weights) == 1:  # two classes: the score of the first one is 0
        weights, biases = np.vstack([0 * weights, weights]), np.concatenate([0 * biases, biases])
    return weights, biases


def as_head(
    weights: NDArray[np.float64], biases: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """The arrays of the logistic head that says the same as a layer."""
    if len(weights) == 2:
        weights, biases = weights[1:] - weights[:1], biases[1:] - biases[:1]
    return {"coef": weights, "intercept": biases}
