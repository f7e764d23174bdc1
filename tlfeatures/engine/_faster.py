"""Larger operations in place of the network's own, if it then says the same."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import fx, nn

from tlfeatures.backbones import Backbone, Preprocessing, network_input, normalise, trace_cut
from tlfeatures.engine._folded import fold_batch_norms, keep_first_exact
from tlfeatures.engine._fuse import fuse, fuse_linears, has_linears
from tlfeatures.engine._interface import CPU_BATCH, Means
from tlfeatures.engine._settings import DTYPES, computing
from tlfeatures.engine.kernels._kernels import WINOGRAD, say_unusable
from tlfeatures.engine.kernels._winograd import Kernels, load_kernels
from tlfeatures.store import relative_difference, tolerance

_log = logging.getLogger(__name__)
ROWS_AGREE = 1e-5  # float32 rows of one key, whatever computed them


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
    pictures = noise(backbone, 1, means.device)
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
        return exact_enough(fold_batch_norms(cut), means.precision)
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


def noise(backbone: Backbone, n: int, device: str) -> torch.Tensor:
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


def exact_enough(cut: nn.Module, precision: str) -> nn.Module:
    """The network as it runs under autocast in that precision.

    fp16 is eight times finer than bf16 and rounds normalised pixels finely enough.
    """
    if precision != "bf16" or not isinstance(cut, fx.GraphModule):
        return cut
    return keep_first_exact(cut)
