"""The engine: a backbone on a device, in float32."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from tlfeatures.backbones import Backbone, BackboneRequest, load_backbone
from tlfeatures.errors import UsageError
from tlfeatures.store import CodeSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

CPU_BATCH, GPU_BATCH = 32, 128
KEPT_OPEN = 2  # a network and its random control
_open: dict[Any, TorchEngine] = {}


class TorchEngine:
    """Runs a backbone; see `extraction.Engine` for the interface.

    Parameters
    ----------
    backbone : Backbone
    device : {"cpu", "cuda", "mps"}
    batch_size : int
    """

    def __init__(self, backbone: Backbone, device: str, batch_size: int) -> None:
        self.backbone = backbone.to(device)
        self.backbone.network.to(memory_format=torch.channels_last)
        self.device, self.batch_size = device, batch_size
        self.source: Mapping[str, Any] | None = None
        self.spec = CodeSpec(
            backbone=backbone.name,
            weights_id=backbone.weights_id,
            layer=backbone.layer,
            pooling=backbone.pooling,
            dim=backbone.dim,
            preprocessing=backbone.preprocessing.to_json(),
        )

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop one RGB picture."""
        return self.backbone.preprocessing.prepare(picture)

    def codes(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Codes (n, d), float32, of prepared pictures (n, side, side, 3), uint8."""
        return self.backbone.codes(batch)


def open_torch_engine(
    request: BackboneRequest,
    device: str = "auto",
    batch_size: int | None = None,
    tensors: Mapping[str, Any] | None = None,
) -> TorchEngine:
    """Load the network, or take one that is still open.

    Raises
    ------
    UsageError, WeightsError
        From the words or the weights; a device that is not there.
    """
    device = resolve_device(device)
    batch_size = batch_size or (CPU_BATCH if device == "cpu" else GPU_BATCH)
    key = (request, device, batch_size, _stamp(request), id(tensors))
    if key not in _open:
        while len(_open) >= KEPT_OPEN:
            _open.pop(next(iter(_open)))
        as_torch = tensors and {k: torch.from_numpy(array.copy()) for k, array in tensors.items()}
        _open[key] = TorchEngine(load_backbone(request, tensors=as_torch), device, batch_size)
        _open[key].source = tensors  # kept, so that its id stays taken
    return _open[key]


def resolve_device(device: str) -> str:
    """Replace "auto" by the best device there is.

    Raises
    ------
    UsageError
        If the device asked for is not there.
    """
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there.insert(0, "cuda")
    if device == "auto":
        return there[0]
    if device not in there:
        raise UsageError(f"device {device!r} is not here; there is {', '.join(there)}. Try 'auto'.")
    return device


def _stamp(request: BackboneRequest) -> tuple[int, int] | None:
    """Size and time of a local weights file, so that a changed one is loaded again."""
    try:
        facts = os.stat(request.weights or "")
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns
