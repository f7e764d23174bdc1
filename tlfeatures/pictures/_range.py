"""The range of values that pictures deeper than 8 bits really use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures._given import as_pictures
from tlfeatures.pictures._pictures import Pictures
from tlfeatures.pictures.decoding._depth import deep_values
from tlfeatures.pictures.decoding._open import as_bytes, open_picture

PERCENTILES = (0.1, 99.9)  # a hot pixel or a dead one decides nothing
SAMPLED = 64
VALUES_EACH = 1 << 16


def estimate_range(pictures: Pictures, *, n: int = SAMPLED) -> tuple[float, float] | None:
    """Percentiles 0.1 and 99.9 of the values of some pictures, spread evenly over all.

    Parameters
    ----------
    pictures : Pictures
    n : int, default=64
        How many are opened at most; bad ones and those of 8 bits count for nothing.

    Returns
    -------
    (low, high) or None
        None if no picture among them is deeper than 8 bits, or all their values are equal.
    """
    pictures = as_pictures(pictures)
    total = len(pictures)
    chosen = dict.fromkeys(i * total // n for i in range(n)) if total > n else range(total)
    samples = [_sample(pictures.items[i]) for i in chosen]
    values = np.concatenate([*samples, np.zeros(0)])
    if not values.size:
        return None
    low, high = (float(value) for value in np.percentile(values, PERCENTILES))
    return (low, high) if low < high else None


def _sample(item: Any) -> NDArray[np.float64]:
    """Finite values of a deep picture, at most `VALUES_EACH`; none of any other."""
    try:
        data = as_bytes(item)
        with open_picture(data) as picture:
            values = deep_values(picture, data)
    except ImageReadError:
        return np.zeros(0)
    if values is None:
        return np.zeros(0)
    values = (values[..., :3] if values.ndim == 3 else values).ravel()
    some = values[:: -(-values.size // VALUES_EACH)].astype(np.float64)
    return some[np.isfinite(some)]
