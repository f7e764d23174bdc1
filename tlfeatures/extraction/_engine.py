"""The engine: a backbone on a device, in one precision, as fast as it runs there."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx, nn

from tlfeatures.backbones import Backbone, BackboneRequest, check_layers_of_entry, load_network
from tlfeatures.extraction._compile import CompiledCut, compile_cut, compiled_path
from tlfeatures.extraction._fuse import fold_batch_norms, fuse
from tlfeatures.extraction._settings import DTYPES, computing
from tlfeatures.store import CodeSpec, relative_difference, tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from tlfeatures.backbones import Network

_log = logging.getLogger(__name__)
KEPT_OPEN = 2  # a network and its random control


@dataclass(frozen=True)
class Means:
    """By what means codes are computed; settled before the first picture.

    Attributes
    ----------
    device : {"cpu", "cuda", "mps"}
    precision : {"float32", "bf16", "fp16"}
    batch_size : int
    decoder : {"exact", "fast", "gpu"}
    compiled_in : Path or None
        The folder where compiled networks are kept; None: not compiled.
    """

    device: str = "cpu"
    precision: str = "float32"
    batch_size: int = 16
    decoder: str = "exact"
    compiled_in: Path | None = None


class TorchEngine:
    """Runs a backbone; see `extraction.Engine` for the interface.

    Parameters
    ----------
    backbone : Backbone
        Its cut is replaced by a faster one, where there is one.
    means : Means
    """

    def __init__(self, backbone: Backbone, means: Means) -> None:
        self.backbone, self.precision = backbone, means.precision
        self.device, self.batch_size = means.device, means.batch_size
        self.made_with = made_with(means.device)
        self.specs = tuple(
            CodeSpec(
                backbone=backbone.name,
                weights_id=backbone.weights_id,
                layer=layer,
                pooling=backbone.pooling,
                dim=dim,
                preprocessing=backbone.preprocessing.to_json(),
                precision=means.precision,
                decode=means.decoder,
            )
            for layer, dim in zip(backbone.layers, backbone.dims, strict=True)
        )
        whole = backbone.cut
        backbone.cut = faster_cut(backbone, means)
        self.is_compiled = False
        if means.compiled_in is not None:
            self._compile(whole, means, means.compiled_in)

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """Resize and crop one RGB picture."""
        return self.backbone.preprocessing.prepare(picture)

    def codes(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Codes (n, d), float32, of each layer, of prepared pictures.

        Where the device's memory does not hold the batch, it is halved, for all that follow too.
        """
        try:
            with computing(self.device, self.precision):
                return self.backbone.codes(batch)
        except torch.OutOfMemoryError:
            if len(batch) < 2:
                raise
            if self.device == "cuda":
                torch.cuda.empty_cache()
        half = (len(batch) + 1) // 2
        if half < self.batch_size:
            self.batch_size = half
            _log.warning("the device's memory is short; going on with batches of %d", half)
        parts = [self.codes(batch[:half]), self.codes(batch[half:])]
        return [np.concatenate(codes) for codes in zip(*parts, strict=True)]

    def _compile(self, whole: nn.Module, means: Means, folder: Path) -> None:
        shape = (means.batch_size, *self.backbone.input_shape[1:])
        batch = torch.zeros(shape, device=means.device).to(memory_format=torch.channels_last)
        keys = [spec.key for spec in self.specs]
        path = compiled_path(folder, keys, means.device, means.batch_size)
        made = compile_cut(whole, batch, means.precision, path, self.backbone.name)
        if made is not None:
            self.backbone.cut = CompiledCut(made, self.backbone.cut, means.batch_size)
            self.is_compiled = True


def faster_cut(backbone: Backbone, means: Means) -> nn.Module:
    """The network with fewer, larger operations, if its graph is known and it says the same.

    On a CPU with oneDNN's fused operations, elsewhere with the batch norms folded.
    """
    cut = backbone.cut
    if not isinstance(cut, fx.GraphModule):
        return cut
    noise = torch.rand(backbone.input_shape, generator=torch.Generator().manual_seed(0))
    batch = noise.to(means.device, memory_format=torch.channels_last)
    try:
        if means.device == "cpu":
            made = fuse(cut, DTYPES[means.precision], batch, means.batch_size)
        else:
            made = fold_batch_norms(cut)
        with computing(means.device, "float32"):
            wanted = [codes.numpy(force=True) for codes in cut(batch)]
        with computing(means.device, means.precision):
            found = [codes.float().numpy(force=True) for codes in made(batch)]
    except Exception as error:  # an operation that this torch or this processor has not
        _log.debug("%s runs as it is: %s", backbone.name, error)
        return cut
    allowed = tolerance(means.precision)
    is_same = all(relative_difference(a, b) <= allowed for a, b in zip(found, wanted, strict=True))
    return made if is_same else cut


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
    means: Means | None = None,
    tensors: Mapping[str, Any] | None = None,
) -> TorchEngine:
    """Load the network, or take one that is still open, and cut it at the layers.

    Where code of the user's own takes part, all is loaded anew each time: it may have changed.

    Raises
    ------
    UsageError, WeightsError
        From the words or the weights; a device that is not there.
    """
    means = means or Means()
    check_layers_of_entry(request, layers)
    if request.needs_probes:
        opened = _load(request, means.device, tensors)
    else:
        whole = replace(request, layer=None, pooling="avg")
        key = (whole, means.device, _stamp(request), id(tensors))
        if key not in _open:
            while len(_open) >= KEPT_OPEN:
                _open.pop(next(iter(_open)))
            _open[key] = _load(request, means.device, tensors)
        opened = _open[key]
    cut = (tuple(layers), request.pooling, means)
    if cut not in opened.engines:
        backbone = Backbone(opened.network, layers, request.pooling)
        opened.engines[cut] = TorchEngine(backbone, means)
    return opened.engines[cut]


def made_with(device: str) -> dict[str, str]:
    """What the numbers may depend on beyond tolerance, if anything goes wrong: versions, device."""
    found = {"torch": str(torch.__version__), "numpy": np.__version__, "device": device}
    if device == "cuda":
        found["device"] = torch.cuda.get_device_name()
        found["CUDA"] = str(torch.version.cuda)
        found["cuDNN"] = str(torch.backends.cudnn.version())
    return found


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
