"""The networks that are open in this process, each with its last cuts."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from tlfeatures.backbones import Backbone, BackboneRequest, check_before_weights, load_network
from tlfeatures.engine._engine import TorchEngine
from tlfeatures.engine._interface import Means

if TYPE_CHECKING:
    from tlfeatures.backbones import Network

KEPT_CUTS = 4
KEPT_OPEN = 2  # a network and its random control


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
