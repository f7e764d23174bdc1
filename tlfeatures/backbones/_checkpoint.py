"""What is inside a weights file: the state dict of a training checkpoint, whose network it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tlfeatures.backbones._embedded import make_embedded
from tlfeatures.backbones._torchvision import (
    AUXILIARY,
    make_network,
    torchvision_names,
    without_memory,
)

StateDict = dict[str, torch.Tensor]
STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "state_dict_ema", "ema")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.")
LIKELY = 0.5  # share of tensors that must agree before a network is named


def unwrap(loaded: Any) -> tuple[StateDict, list[str]]:
    """The tensors of a state dict or of a training checkpoint, and in words what was unwrapped.

    Empty if there is no state dict inside.
    """
    if _is_state(loaded):
        return dict(loaded), []
    if not isinstance(loaded, Mapping):
        return {}, []
    key = next((k for k in STATE_KEYS if _is_state(loaded.get(k))), None)
    if key is None:
        return {}, []
    epoch = loaded.get("epoch")
    after = f" of epoch {epoch}" if isinstance(epoch, int) else ""
    return dict(loaded[key]), [f"a training checkpoint{after}: its weights are under {key!r}"]


def fit_names(state: StateDict, own: Mapping[str, torch.Tensor]) -> tuple[StateDict, list[str]]:
    """The state without the prefixes that wrappers put before names, and in words what was done.

    "module." of DataParallel, "_orig_mod." of torch.compile, a training module's attribute, or
    several of them: what most names begin with is taken off as long as more names then fit the
    network's own.
    """
    best, best_prefix, prefix = state, "", ""
    current = state
    while first := _commonest(current):
        prefix += first
        current = {n.removeprefix(first): t for n, t in current.items() if n.startswith(first)}
        if _n_fitting(current, own) > _n_fitting(best, own):
            best, best_prefix = current, prefix
    if not best_prefix:
        return state, []
    left = len(state) - len(best)
    rest = f", {left} tensors without it left out" if left else ""
    return best, [f"prefix {best_prefix!r} removed from the names{rest}"]


def _commonest(state: StateDict) -> str:
    """What more than half of the names begin with, up to the first dot; "" if nothing."""
    counts = Counter(name.partition(".")[0] + "." for name in state if "." in name)
    if not counts:
        return ""
    first, count = counts.most_common(1)[0]
    return first if 2 * count > len(state) else ""


def _n_fitting(state: StateDict, own: Mapping[str, torch.Tensor]) -> int:
    return sum(name in own and own[name].shape == tensor.shape for name, tensor in state.items())


def likeliest_network(state: Mapping[str, torch.Tensor]) -> tuple[str, float] | None:
    """The known network whose tensors agree best by name and shape, and the share that agrees.

    None if none has half of them. Builds all networks without memory: some seconds.
    """
    shapes = _stripped({name: tuple(tensor.shape) for name, tensor in state.items()})
    best = max(((_agreement(shapes, own), name) for name, own in _known_shapes()), default=None)
    return (best[1], best[0]) if best is not None and best[0] >= LIKELY else None


def _stripped(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Without the usual prefixes of wrappers."""
    found = next((p for p in PREFIXES if all(name.startswith(p) for name in shapes)), None)
    if found is None or not shapes:
        return shapes
    return _stripped({name.removeprefix(found): shape for name, shape in shapes.items()})


def _known_shapes() -> Any:
    with without_memory():
        yield "embedded", _shapes(make_embedded())
        for name in torchvision_names():
            yield name, _shapes(make_network(name))


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.startswith(AUXILIARY)
    }


def _agreement(one: dict[str, tuple[int, ...]], other: dict[str, tuple[int, ...]]) -> float:
    shared = sum(other.get(name) == shape for name, shape in one.items())
    return shared / max(len(one), len(other), 1)


def _is_state(thing: Any) -> bool:
    return (
        isinstance(thing, Mapping)
        and bool(thing)
        and all(isinstance(name, str) for name in thing)
        and all(isinstance(value, torch.Tensor) for value in thing.values())
    )
