"""Pictures become prepared pictures, and these become batches of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlfeatures.errors import UsageError
from tlfeatures.pictures import DecodeOptions, decode_with_notes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlfeatures.engine import Engine


def prepare_item(engine: Engine, item: Any, options: DecodeOptions) -> tuple[Any, frozenset[str]]:
    """The network's input for a file's bytes or a picture in memory, and notes about it.

    Raises
    ------
    ImageReadError
        If it is bad.
    """
    decoded = decode_with_notes(item, options)
    return engine.prepare(decoded.picture), decoded.notes


def stack_padded(engine: Engine, batch: Sequence[Any]) -> Any:
    """Up to a batch of prepared pictures, filled up to the fixed size, ready for `engine.codes`.

    A row's bits may depend on the size of its batch; stored rows are all computed at one size.

    Raises
    ------
    UsageError
        If the pictures were prepared to different shapes.
    """
    stacked = stack([*batch, *[batch[-1]] * (-len(batch) % engine.batch_size)])
    if engine.device != "cuda":
        return stacked
    import torch

    from tlfeatures.engine import is_out_of_memory

    made = torch.from_numpy(stacked)
    try:
        return made.pin_memory()  # its copy to the device need not be waited for
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return made


def stack(batch: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One array of prepared pictures.

    Raises
    ------
    UsageError
        If they were prepared to different shapes.
    """
    shapes = sorted({tuple(pixels.shape) for pixels in batch})
    if len(shapes) > 1:
        raise UsageError(
            f"preprocess gives arrays of different shapes, {shapes[0]} and {shapes[1]}; it must "
            "give the same for every picture."
        )
    return np.stack(list(batch))
