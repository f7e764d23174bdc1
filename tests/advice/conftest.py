"""Codes with a known learning curve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def make_codes() -> Callable[..., tuple[NDArray[np.float32], NDArray[np.str_]]]:
    """Codes of classes around random centres, with noise in many columns: (X, y)."""

    def make(
        n_a_class: int, n_classes: int = 2, width: int = 20, noise: float = 1.0, seed: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        rng = np.random.default_rng(seed)
        numbers = np.repeat(np.arange(n_classes), n_a_class)
        centres = np.random.default_rng(7).normal(size=(n_classes, width))
        X = centres[numbers] + noise * rng.normal(size=(len(numbers), width))
        return X.astype(np.float32), np.array([f"class{i}" for i in numbers])

    return make
