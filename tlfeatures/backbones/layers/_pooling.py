"""How a layer's output becomes a code: maps and tokens are pooled, vectors stay as they are."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from tlfeatures.errors import UsageError

GEM_POWER = 3.0  # Radenovic, Tolias, Chum: Fine-tuning CNN image retrieval (2018), their default
GEM_FLOOR = 1e-6
OF_PLACES = ("max", "gem", "cls", "cls+avg")  # a mean is the same of a vector, what is flat too


class PoolingError(UsageError):
    """A layer's output that the pooling asked for has nothing to do with."""


def pool_codes(output: Any, pooling: str, n_prefix: int, batch: torch.Tensor) -> torch.Tensor:
    """Turn a layer's output into codes of shape (n, d).

    Parameters
    ----------
    output : Tensor
        A vector (n, d), a map (n, C, H, W) or (n, H, W, C), or tokens (n, T, C).
    pooling : {"avg", "max", "gem", "flatten", "cls", "cls+avg"}
        "cls" is the class token; the others leave tokens out that stand for no place.
    n_prefix : int
        Tokens of the network that stand for no place of the picture; the first is the class token.
    batch : Tensor of shape (n, 3, H, W)
        The network's input; a map has its proportions.

    Returns
    -------
    Tensor of shape (n, d)
        With memory of its own: layers that work in place do not change it later. Places are pooled
        in float32 at least.

    Raises
    ------
    PoolingError
        If it has no effect: on a vector, on a map of one place; or if there is no class token where
        one is asked for.
    UsageError
        If the output has no such shape.
    """
    if not isinstance(output, torch.Tensor):
        kind = type(output).__name__
        raise UsageError(f"this layer gives a {kind}, no tensor; choose another layer.")
    if output.ndim == 0 or len(output) != len(batch):
        raise UsageError(
            f"this layer gives an output of shape {tuple(output.shape)} for {len(batch)} pictures; "
            "choose a layer that treats the whole batch at once."
        )
    if output.ndim <= 2 and pooling in OF_PLACES:
        raise PoolingError(f"gives a vector already, so pooling {pooling!r} changes nothing")
    if output.ndim <= 2 or pooling == "flatten":
        return output.flatten(1).clone() if output.ndim > 1 else output[:, None].clone()
    if output.dtype in (torch.bfloat16, torch.float16):
        output = output.float()
    places = _as_places(output, batch)
    before = _prefix_here(places.shape[1], n_prefix) if output.ndim == 3 else 0
    rest = places[:, before:]
    if pooling in ("cls", "cls+avg"):
        if not before:
            raise PoolingError(f"has no class token, which pooling {pooling!r} needs")
        first = places[:, 0]
        return first.clone() if pooling == "cls" else torch.cat([first, rest.mean(1)], 1)
    if pooling in OF_PLACES and rest.shape[1] == 1:
        raise PoolingError(f"gives one place alone, so pooling {pooling!r} changes nothing")
    if pooling == "max":
        return rest.amax(1)
    if pooling == "gem":
        return (rest.clamp(min=GEM_FLOOR) ** GEM_POWER).mean(1) ** (1.0 / GEM_POWER)
    return rest.mean(1)


def count_prefix_tokens(network: nn.Module) -> int:
    """Tokens before those of the picture: timm says how many, a class token alone is one."""
    said = getattr(network, "num_prefix_tokens", None)
    if isinstance(said, int):
        return said
    return int(any(hasattr(network, name) for name in ("class_token", "cls_token")))


def has_places(output: Any, batch: torch.Tensor) -> bool:
    """Whether a layer's output is of several places, a map or tokens, that can be pooled."""
    if not isinstance(output, torch.Tensor) or output.ndim not in (3, 4):
        return False
    return len(output) == len(batch) and _as_places(output, batch).shape[1] > 1


def _prefix_here(n_tokens: int, n_prefix: int) -> int:
    """How many of a layer's tokens stand for no place: in some networks they join late.

    The places of a square picture make a square.
    """
    places = n_tokens - n_prefix
    if places > 0 and math.isqrt(places) ** 2 == places:
        return n_prefix
    return 0 if math.isqrt(n_tokens) ** 2 == n_tokens else n_prefix


def _as_places(output: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    """A view (n, places, C)."""
    if output.ndim == 3:
        return output
    if output.ndim != 4:
        shape = tuple(output.shape[1:])
        raise UsageError(f"this layer gives {shape} a picture, no map; use `pooling='flatten'`.")
    _, a, b, c = output.shape
    height, width = batch.shape[2:]
    first, last = (abs(math.log(sides * width / height)) for sides in (a / b, b / c))
    return output.flatten(1, 2) if first < last else output.flatten(2).transpose(1, 2)
