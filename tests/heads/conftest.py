"""Small codes with known structure."""

import numpy as np
import pytest


def _make_codes(n_per_class, n_features=30, n_classes=3, spread=0.8, seed=0):
    """Codes of shape (n, n_features), float32, with labels "class0", "class1", ..."""
    rng = np.random.default_rng(seed)
    sizes = [n_per_class] * n_classes if np.isscalar(n_per_class) else n_per_class
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    centres = np.random.default_rng(99).normal(size=(len(sizes), n_features))
    X = centres[numbers] + spread * rng.normal(size=(len(numbers), n_features)) + 1.0
    return X.astype(np.float32), np.array([f"class{number}" for number in numbers])


@pytest.fixture
def make_codes():
    """The function that makes codes."""
    return _make_codes


@pytest.fixture
def three():
    """60 codes of three classes, 30 columns, not quite separable."""
    return _make_codes(20, spread=1.5)


@pytest.fixture
def wide():
    """24 codes of three classes, 80 columns: more columns than rows."""
    return _make_codes(8, n_features=80, spread=1.5)


@pytest.fixture
def two():
    """30 codes of two classes."""
    return _make_codes(15, n_classes=2, spread=1.5)
