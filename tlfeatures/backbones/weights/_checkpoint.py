"""What is inside a weights file: the state dicts of a training checkpoint, whose network it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from tlfeatures._torch_private import versions_of
from tlfeatures.backbones.sources._embedded import make_embedded
from tlfeatures.backbones.sources._torchvision import (
    AUXILIARY,
    make_network,
    torchvision_names,
    without_memory,
)
from tlfeatures.backbones.weights._names import State, n_shared, shapes_of

STATE_KEYS = (  # where several hold the same network, the first is taken
    "state_dict", "model_state_dict", "model", "net", "network", "teacher", "student",
    "state_dict_ema", "model_ema", "ema",
)  # fmt: skip
DEEPEST = 6  # of dictionaries in dictionaries
LIKELY = 0.5  # share of tensors that must agree before a network is named


def find_states(loaded: Any) -> list[State]:
    """The state dicts in what a file holds, in the order in which to take them.

    The tensors themselves, or of a training checkpoint, whose other things (an optimizer, an epoch)
    play no part; empty if there is no tensor by name.
    """
    epoch = loaded.get("epoch") if isinstance(loaded, Mapping) else None
    after = f" of epoch {epoch}" if isinstance(epoch, int) else ""
    return [
        State(
            {str(name): each for name, each in found.items() if isinstance(each, torch.Tensor)},
            versions_of(found),
            (f"a training checkpoint{after}: its weights are under {place!r}",) if place else (),
        )
        for place, found in _mappings(loaded, "", DEEPEST)
        if any(isinstance(n, str) and isinstance(t, torch.Tensor) for n, t in found.items())
    ]


def _mappings(thing: Any, place: str, depth: int) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Dictionaries inside, with the names of the way to them, outer ones first."""
    if isinstance(thing, (list, tuple)) and len(thing) < DEEPEST:  # as fastai's
        thing = dict(enumerate(thing))
    if not isinstance(thing, Mapping) or not depth:
        return
    yield place, thing
    known = [key for key in STATE_KEYS if key in thing]
    for key in [*known, *(key for key in thing if key not in known)]:
        yield from _mappings(thing[key], f"{place}.{key}" if place else str(key), depth - 1)


def likeliest_network(state: Mapping[str, torch.Tensor]) -> tuple[str, float] | None:
    """The known network whose tensors agree best by name and shape, and the share that agrees.

    None if none has half of them. Builds all networks without memory: some seconds.
    """
    shapes = _without_auxiliary(shapes_of(state))
    best = max(((_agreement(shapes, own), name) for name, own in _known_shapes()), default=None)
    return (best[1], best[0]) if best is not None and best[0] >= LIKELY else None


def _known_shapes() -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    with without_memory():
        yield "embedded", shapes_of(make_embedded().state_dict())
        for name in torchvision_names():
            yield name, _without_auxiliary(shapes_of(make_network(name).state_dict()))


def _without_auxiliary(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if not name.startswith(AUXILIARY)}


def _agreement(one: dict[str, tuple[int, ...]], other: dict[str, tuple[int, ...]]) -> float:
    return n_shared(one, other) / max(len(one), len(other), 1)
