"""What is inside a weights file: the state dict of a training checkpoint, whose network it is."""

from __future__ import annotations

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
    said = []
    if isinstance(loaded, Mapping) and not _is_state(loaded):
        key = next((k for k in STATE_KEYS if _is_state(loaded.get(k))), None)
        if key is None:
            return {}, []
        epoch = loaded.get("epoch")
        after = f" of epoch {epoch}" if isinstance(epoch, int) else ""
        said.append(f"a training checkpoint{after}: its weights are under {key!r}")
        loaded = loaded[key]
    if not _is_state(loaded):
        return {}, said
    state = dict(loaded)
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            said.append(f"prefix {prefix!r} removed from every name")
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state, said


def likeliest_network(state: Mapping[str, torch.Tensor]) -> tuple[str, float] | None:
    """The known network whose tensors agree best by name and shape, and the share that agrees.

    None if none has half of them. Builds all networks without memory: some seconds.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    best = max(((_agreement(shapes, own), name) for name, own in _known_shapes()), default=None)
    return (best[1], best[0]) if best is not None and best[0] >= LIKELY else None


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
        and all(isinstance(value, torch.Tensor) for value in thing.values())
    )
