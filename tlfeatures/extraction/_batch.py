"""Prepared pictures become batches of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlfeatures.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlfeatures.extraction._chunk import Engine


def run_padded(engine: Engine, batch: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
    """Codes (n, d) of n <= batch_size pictures, computed in a batch of the fixed size.

    A row's bits may depend on the size of its batch; stored rows are all computed at one size.

    Raises
    ------
    UsageError
        If the pictures were prepared to different shapes.
    """
    stacked = stack(batch)
    if len(batch) < engine.batch_size:
        missing = engine.batch_size - len(batch)
        stacked = np.pad(stacked, ((0, missing), *((0, 0),) * (stacked.ndim - 1)))
    return [codes[: len(batch)] for codes in engine.codes(stacked)]


def stack(batch: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One array of prepared pictures.

    Raises
    ------
    UsageError
        If they were prepared to different shapes.
    """
    shapes = sorted({pixels.shape for pixels in batch})
    if len(shapes) > 1:
        raise UsageError(
            f"preprocess gives arrays of different shapes, {shapes[0]} and {shapes[1]}; it must "
            "give the same for every picture."
        )
    return np.stack(list(batch))
