"""The engine: a backbone on a device, in float32."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tlfeatures.backbones import Backbone, BackboneRequest, check_layers_of_entry, load_network
from tlfeatures.errors import UsageError
from tlfeatures.store import CodeSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from tlfeatures.backbones import Network

CPU_BATCH, GPU_BATCH = 32, 128
KEPT_OPEN = 2  # a network and its random control


class TorchEngine:
    """Runs a backbone; see `extraction.Engine` for the interface.

    Parameters
    ----------
    backbone : Backbone
    device : {"cpu", "cuda", "mps"}
    batch_size : int
    """

    def __init__(self, backbone: Backbone, device: str, batch_size: int) -> None:
        self.backbone, self.device, self.batch_size = backbone, device, batch_size
        self.made_with = made_with(device)
        self.specs = tuple(
            CodeSpec(
                backbone=backbone.name,
                weights_id=backbone.weights_id,
                layer=layer,
                pooling=backbone.pooling,
                dim=dim,
                preprocessing=backbone.preprocessing.to_json(),
            )
            for layer, dim in zip(backbone.layers, backbone.dims, strict=True)
        )

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """Resize and crop one RGB picture."""
        return self.backbone.preprocessing.prepare(picture)

    def codes(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Codes (n, d), float32, of each layer, of prepared pictures."""
        return self.backbone.codes(batch)


@dataclass
class _Opened:
    """A loaded network on its device, and its cuts so far."""

    network: Network
    tensors: Mapping[str, Any] | None  # kept, so that its id stays taken
    engines: dict[Any, TorchEngine] = field(default_factory=dict)


_open: dict[Any, _Opened] = {}


def open_torch_engine(
    request: BackboneRequest,
    layers: Sequence[str | None],
    device: str = "auto",
    batch_size: int | None = None,
    tensors: Mapping[str, Any] | None = None,
) -> TorchEngine:
    """Load the network, or take one that is still open, and cut it at the layers.

    Where code of the user's own takes part, all is loaded anew each time: it may have changed.

    Raises
    ------
    UsageError, WeightsError
        From the words or the weights; a device that is not there.
    """
    device = resolve_device(device)
    batch_size = batch_size or (CPU_BATCH if device == "cpu" else GPU_BATCH)
    check_layers_of_entry(request, layers)
    if request.needs_probes:
        opened = _load(request, device, tensors)
    else:
        whole = replace(request, layer=None, pooling="avg")
        key = (whole, device, _stamp(request), id(tensors))
        if key not in _open:
            while len(_open) >= KEPT_OPEN:
                _open.pop(next(iter(_open)))
            _open[key] = _load(request, device, tensors)
        opened = _open[key]
    cut = (tuple(layers), request.pooling, batch_size)
    if cut not in opened.engines:
        backbone = Backbone(opened.network, layers, request.pooling)
        opened.engines[cut] = TorchEngine(backbone, device, batch_size)
    return opened.engines[cut]


def made_with(device: str) -> dict[str, str]:
    """What the numbers may depend on beyond 1e-4, if anything goes wrong: versions, the device."""
    found = {"torch": str(torch.__version__), "numpy": np.__version__, "device": device}
    if device == "cuda":
        found["device"] = torch.cuda.get_device_name()
        found["CUDA"] = str(torch.version.cuda)
        found["cuDNN"] = str(torch.backends.cudnn.version())
    return found


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


def _load(request: BackboneRequest, device: str, tensors: Mapping[str, Any] | None) -> _Opened:
    as_torch = tensors and {k: torch.from_numpy(array.copy()) for k, array in tensors.items()}
    network = load_network(request, as_torch)
    network.module.to(device).to(memory_format=torch.channels_last)
    return _Opened(network, tensors)


def _stamp(request: BackboneRequest) -> tuple[int, int] | None:
    """Size and time of a local weights file, so that a changed one is loaded again."""
    try:
        facts = os.stat(request.weights or "")
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns
