"""Pictures become prepared pictures, and these become batches of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlfeatures.errors import UsageError
from tlfeatures.pictures import DecodeOptions, decode_with_notes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlfeatures.extraction._chunk import Engine


def prepare_item(engine: Engine, item: Any, options: DecodeOptions) -> tuple[Any, frozenset[str]]:
    """The network's input for a file's bytes or a picture in memory, and notes about it.

    An engine may take files as they are (`prepare_file`), to decode them on its device.

    Raises
    ------
    ImageReadError
        If it is bad.
    """
    if isinstance(item, bytes) and hasattr(engine, "prepare_file"):
        prepared = engine.prepare_file(item, options)
        if prepared is not None:
            return prepared, frozenset()
    decoded = decode_with_notes(item, options)
    return engine.prepare(decoded.picture), decoded.notes


def run_padded(engine: Engine, batch: Sequence[Any]) -> list[NDArray[np.float32]]:
    """Codes (n, d) of n <= batch_size pictures, computed in a batch of the fixed size.

    A row's bits may depend on the size of its batch; stored rows are all computed at one size.

    Raises
    ------
    UsageError
        If the pictures were prepared to different shapes.
    """
    padded = [*batch, *[batch[-1]] * (engine.batch_size - len(batch))]
    return [codes[: len(batch)] for codes in engine.codes(stack(padded))]


def stack(batch: Sequence[Any]) -> Any:
    """One array of prepared pictures; one tensor if they are on a device.

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
    if all(isinstance(pixels, np.ndarray) for pixels in batch):
        return np.stack(list(batch))
    import torch

    device = next(pixels.device for pixels in batch if not isinstance(pixels, np.ndarray))
    return torch.stack([torch.as_tensor(pixels, device=device) for pixels in batch])
