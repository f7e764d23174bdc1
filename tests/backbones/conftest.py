"""Pictures of awkward sizes and what several files ask of networks."""

from __future__ import annotations

import numpy as np
from PIL import Image

AWKWARD_SIZES = (
    (500, 375), (333, 500), (224, 224), (100, 80), (257, 255), (640, 123), (37, 300), (225, 1000),
    (1, 1), (231, 230),
)  # fmt: skip


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """An RGB picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def relative(found: object, expected: object) -> float:
    """Length of the difference by the length of what was expected, in float64."""
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
