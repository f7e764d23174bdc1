"""The engine: a backbone on a device, in one precision, as fast as it runs there."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx, nn

from tlfeatures.backbones import (
    Backbone,
    BackboneRequest,
    Preprocessing,
    check_before_weights,
    load_network,
    network_input,
    normalise,
    trace_cut,
)
from tlfeatures.engine._fuse import (
    fold_batch_norms,
    fuse,
    fuse_linears,
    has_linears,
    keep_first_exact,
)
from tlfeatures.engine._interface import CPU_BATCH
from tlfeatures.engine._settings import DTYPES, computing, is_out_of_memory
from tlfeatures.engine.kernels._kernels import WINOGRAD, say_unusable
from tlfeatures.engine.kernels._winograd import Kernels, WinogradConv2d, load_kernels
from tlfeatures.errors import ExtractionError, ImageReadError, TlfeaturesError, UsageError
from tlfeatures.store import CodeSpec, relative_difference, tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from tlfeatures.backbones import Network
    from tlfeatures.engine.kernels._resize import Resizer

_log = logging.getLogger(__name__)
MOST_BATCH = 512
TRIED = 8  # pictures that tell how much memory one takes
KEPT_CUTS = 4
ROWS_AGREE = 1e-5  # float32 rows of one key, whatever computed them
KEPT_OPEN = 2  # a network and its random control


@dataclass(frozen=True)
class Means:
    """By what means codes are computed; settled before the first picture.

    Attributes
    ----------
    device : {"cpu", "cuda", "mps"}
    precision : {"float32", "bf16", "fp16"}
    batch_size : int or None
        None: 16 on a CPU, what the memory holds on a GPU.
    decode : {"exact", "fast"}
    kernels : Path or None
        Our own compiled convolutions, for a process of one thread.
    """

    device: str = "cpu"
    precision: str = "float32"
    batch_size: int | None = None
    decode: str = "exact"
    kernels: Path | None = None


class TorchEngine:
    """Runs a backbone; see `Engine` for the interface.

    Parameters
    ----------
    backbone : Backbone
        Its cut is replaced by a faster one, where there is one.
    means : Means

    Attributes
    ----------
    resizer : Resizer or None
        What prepares pictures, as far as it can; the rest is Pillow's, with the same bytes. As the
        last run wanted that opened it.
    """

    def __init__(self, backbone: Backbone, means: Means) -> None:
        self.resizer: Resizer | None = None
        self.backbone, self.precision = backbone, means.precision
        self.device = means.device
        self.batch_size = means.batch_size or CPU_BATCH
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
                decode=means.decode,
            )
            for layer, dim in zip(backbone.layers, backbone.dims, strict=True)
        )
        faster = faster_cut(backbone, means)
        backbone.cut = _exact_enough(backbone.cut, means.precision) if faster is None else faster
        if faster is None and means.precision != "float32":
            self._try()
        if means.batch_size is None and means.device == "cuda":
            self.batch_size = self._fitting_batch()

    @property
    def kernels(self) -> tuple[str, ...]:
        """The operations of our own that it computes with."""
        modules = list(self.backbone.cut.modules())
        has = {
            "resizing": self.resizer is not None,
            "convolutions": any(isinstance(each, WinogradConv2d) for each in modules),
        }
        return tuple(name for name, is_there in has.items() if is_there)

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """Resize and crop one RGB picture.

        Raises
        ------
        ImageReadError
            If a preprocess function of the user's own fails, or gives another shape than before.
        """
        how, resizer = self.backbone.preprocessing, self.resizer
        if not isinstance(how, Preprocessing):
            return self._checked(how.prepare(picture))
        made = None if resizer is None else resizer.prepare(picture, how)
        return how.prepare(picture) if made is None else made

    def _checked(self, made: NDArray[np.float32]) -> NDArray[np.float32]:
        expected = tuple(self.backbone.input_shape[1:])
        if made.shape != expected:
            raise ImageReadError(
                f"preprocess gives an array of shape {made.shape} for it, {expected} for others",
                is_lasting=False,
            )
        return made

    def codes(self, batch: NDArray[Any] | torch.Tensor) -> list[NDArray[np.float32]]:
        """Codes (n, d), float32, of each layer, of prepared pictures.

        Where the device's memory does not hold the batch, it is halved, for all that follow too.
        Where numbers leave the range of fp16, the batch is computed in float32.

        Raises
        ------
        ExtractionError
            If memory is too short for one picture, or the network, which may be anybody's, fails.
        """
        try:
            with computing(self.device, self.precision):
                codes = self._codes_of(batch)
            if self.precision == "fp16" and not all(np.isfinite(each).all() for each in codes):
                _say_overflow(self.backbone.name)
                with computing(self.device, "float32"):
                    codes = self._codes_of(batch)
            return codes
        except TlfeaturesError:
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                raise self._failed(batch, f"{type(error).__name__}: {error}") from error
            if len(batch) < 2:
                raise ExtractionError(self._too_short()) from error
        if self.device == "cuda":  # what the error has held is free by now
            torch.cuda.empty_cache()
        # One that was gathered before the size was halved needs no smaller size yet.
        is_late = len(batch) > self.batch_size
        half = self.batch_size if is_late else (len(batch) + 1) // 2
        if half < self.batch_size:
            self.batch_size = half
            _log.warning("the device's memory is short; going on with batches of %d", half)
        parts = [self.codes(batch[:half]), self.codes(batch[half:])]
        return [np.concatenate(codes) for codes in zip(*parts, strict=True)]

    def _codes_of(self, batch: NDArray[Any] | torch.Tensor) -> list[NDArray[np.float32]]:
        codes = self.backbone.codes(batch)
        for each, dim in zip(codes, self.backbone.dims, strict=True):
            if each.shape != (len(batch), dim):
                raise self._failed(batch, f"it gave codes of shape {each.shape}, not (n, {dim})")
        return codes

    def _failed(self, batch: NDArray[Any] | torch.Tensor, why: str) -> ExtractionError:
        return ExtractionError(
            f"the network {self.backbone.name} failed on a batch of {len(batch)} pictures "
            f"({why.splitlines()[0]}); what was computed before is kept."
        )

    def _too_short(self) -> str:
        """That not even one picture can be computed."""
        smaller = "a smaller network or input size"
        return (
            f"memory of device {self.device} is too short for one picture in "
            f"{self.backbone.name}; end what else uses it, or take "
            f"{smaller if self.device == 'cpu' else f'{smaller}, or device cpu'}."
        )

    def _try(self) -> None:
        """Run one example in half precision: what a person's own network does may not know it.

        Raises
        ------
        ExtractionError
            If memory is too short for it.
        UsageError
        """
        try:
            with computing(self.device, self.precision):
                self.backbone.codes(_noise(self.backbone, 1, self.device))
        except Exception as error:
            if is_out_of_memory(error):
                raise ExtractionError(self._too_short()) from error
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(
                f"{self.backbone.name} does not run in {self.precision}: {line}; use "
                "`precision='float32'`."
            ) from error

    def _fitting_batch(self) -> int:
        """The batch size for the memory that is free, from what a few pictures take."""
        _, channels, *sides = self.backbone.input_shape
        is_ours = isinstance(self.backbone.preprocessing, Preprocessing)
        shape = (TRIED, *sides, channels) if is_ours else (TRIED, channels, *sides)
        torch.cuda.empty_cache()  # what is kept for later counts as free
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self.codes(np.zeros(shape, np.uint8 if is_ours else np.float32))
        taken = torch.cuda.max_memory_allocated() - before
        return batch_size_for(torch.cuda.mem_get_info()[0], taken // TRIED)


def batch_size_for(free: int, a_picture: int) -> int:
    """The power of two, at most 512, of which half the free memory holds the activations.

    Parameters
    ----------
    free, a_picture : int
        Bytes.
    """
    fitting = max(1, free // 2 // max(1, a_picture))
    return int(min(MOST_BATCH, 2 ** (fitting.bit_length() - 1)))


def faster_cut(backbone: Backbone, means: Means) -> nn.Module | None:
    """The network with fewer, larger operations, if it says the same.

    On a CPU with oneDNN's fused operations, elsewhere with the batch norms folded. In bf16 the
    convolutions that look at pixels lose nothing of these: on a CPU they take them as they are,
    where that can be, elsewhere they stay in float32. Of networks whose graph cannot be known only
    linear layers are replaced, on a CPU. It has been run in its precision.
    """
    whole, limit = backbone.cut, tolerance(means.precision)
    graph = _graph_of(whole)
    if graph is not None:
        kernels = _kernels_of(means)
        if kernels is not None:
            strict = ROWS_AGREE if means.precision == "float32" else limit
            made, reason = _try_fused(graph, backbone, means, strict, kernels)
            if made is not None:
                return made
            _log.warning("%s runs without our convolutions: %s", backbone.name, reason)
        made, reason = _try_fused(graph, backbone, means, limit)
        if made is not None:
            return made
        if graph is whole:
            _say_unfused(backbone.name, reason)
    if graph is not whole and means.device == "cpu" and has_linears(whole):
        return _try_fused(whole, backbone, means, limit)[0]
    return None


def _graph_of(cut: nn.Module) -> fx.GraphModule | None:
    """Its operations, those of networks whose layers are modules too, as far as they are known."""
    if isinstance(cut, fx.GraphModule):
        return cut
    try:
        return trace_cut(cut)
    except Exception:  # torch.fx raises whatever the network's own code does
        return None


def _try_fused(
    cut: nn.Module,
    backbone: Backbone,
    means: Means,
    limit: float,
    kernels: Kernels | None = None,
) -> tuple[nn.Module | None, str]:
    """The network with larger operations; None, and why, unless it says the same within a limit."""
    try:
        made, difference = _fused(cut, backbone, means, kernels)
    except Exception as error:  # an operation that this torch or this processor has not
        return None, (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return (made, "") if difference <= limit else (None, "fused it gives other codes")


def _fused(
    cut: nn.Module, backbone: Backbone, means: Means, kernels: Kernels | None
) -> tuple[nn.Module, float]:
    """The network with larger operations, and how far its codes of noise are from the plain one's.

    Raises
    ------
    Exception
        Whatever PyTorch raises where it has no such operations.
    """
    preprocessing = backbone.preprocessing
    pictures = _noise(backbone, 1, means.device)
    batch = normalise(pictures, preprocessing)
    made = _with_larger_operations(cut, backbone, means, batch, kernels)
    with computing(means.device, "float32"):
        wanted = backbone.cut(batch)
    with computing(means.device, means.precision):
        found = made(network_input(pictures, preprocessing, made))
    return made, _difference(found, wanted)


def _with_larger_operations(
    cut: nn.Module, backbone: Backbone, means: Means, batch: torch.Tensor, kernels: Kernels | None
) -> nn.Module:
    dtype, size = DTYPES[means.precision], means.batch_size or CPU_BATCH
    if not isinstance(cut, fx.GraphModule):
        return fuse_linears(cut, dtype, size)
    if means.device != "cpu":
        return _exact_enough(fold_batch_norms(cut), means.precision)
    how = backbone.preprocessing
    known = how if isinstance(how, Preprocessing) else None
    return fuse(cut, dtype, batch, size, known, kernels)


def _kernels_of(means: Means) -> Kernels | None:
    if means.kernels is None or means.device != "cpu" or means.precision not in WINOGRAD:
        return None
    try:
        return load_kernels(means.kernels, means.precision)
    except OSError as error:
        say_unusable(means.kernels, str(error))
        return None


@lru_cache(maxsize=64)
def _say_unfused(name: str, reason: str) -> None:
    """Once in a process, however often a network is opened."""
    _log.warning("%s runs unfused, which is slower: %s", name, reason)


@lru_cache(maxsize=64)
def _say_overflow(name: str) -> None:
    """Once in a process."""
    _log.warning(
        "numbers of %s leave the range of fp16; batches where they do are computed again in "
        "float32, which takes longer; bf16 has the range",
        name,
    )


def _noise(backbone: Backbone, n: int, device: str) -> torch.Tensor:
    """`n` prepared pictures to compare networks on, the same each time."""
    generator = torch.Generator("cpu").manual_seed(0)
    _, channels, height, width = backbone.input_shape
    if isinstance(backbone.preprocessing, Preprocessing):
        shape = (n, height, width, channels)
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8).to(device)
    noise = torch.rand((n, channels, height, width), generator=generator, dtype=torch.float32)
    return noise.to(device, memory_format=torch.channels_last)


def _difference(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    """The largest relative difference of a picture's code of some layer; NaN is passed on."""
    differences = [
        relative_difference(a.float().numpy(force=True), b.float().numpy(force=True))
        for a, b in zip(found, wanted, strict=True)
    ]
    return float(np.max(differences))


def _exact_enough(cut: nn.Module, precision: str) -> nn.Module:
    """The network as it runs under autocast in that precision.

    fp16 is eight times finer than bf16 and rounds normalised pixels finely enough.
    """
    if precision != "bf16" or not isinstance(cut, fx.GraphModule):
        return cut
    return keep_first_exact(cut)


@dataclass
class _Opened:
    """A loaded network on its device, and its cuts so far."""

    network: Network
    tensors: Mapping[str, Any] | None  # kept, so that its id stays taken
    engines: dict[Any, TorchEngine] = field(default_factory=dict)


_open: dict[Any, _Opened] = {}
_opening = threading.RLock()  # random weights are drawn from the process's one generator


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
    check_before_weights(request, layers)
    with _opening:
        return _take_or_load(request, layers, means, tensors)


def _take_or_load(
    request: BackboneRequest,
    layers: Sequence[str | None],
    means: Means,
    tensors: Mapping[str, Any] | None,
) -> TorchEngine:
    if request.needs_probes:
        opened = _load(request, means.device, tensors)
    else:
        whole = replace(request, layer=None, pooling="avg")
        key = (whole, means.device, _stamp(request), id(tensors))
        if key not in _open:
            while len(_open) >= KEPT_OPEN:
                _open.pop(next(iter(_open)))
                gc.collect()  # graphs hold on to themselves
            _open[key] = _load(request, means.device, tensors)
        opened = _open[key]
    cut = (tuple(layers), request.pooling, means)
    if cut not in opened.engines:
        # The one that told the specs, before there was a plan, and before ours were compiled.
        opened.engines.pop((*cut[:2], replace(means, kernels=None)), None)
        while len(opened.engines) >= KEPT_CUTS:  # each holds fused weights of its own
            opened.engines.pop(next(iter(opened.engines)))
        backbone = Backbone(opened.network, layers, request.pooling)
        opened.engines[cut] = TorchEngine(backbone, means)
    return opened.engines[cut]


def close_networks() -> None:
    """Let go of all that are open."""
    _open.clear()


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
