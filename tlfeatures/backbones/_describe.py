"""What a network is made of, layer by layer, computed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from tlfeatures.backbones._network import Network, find_layers, load_network
from tlfeatures.backbones._request import BackboneRequest
from tlfeatures.backbones.layers._layers import Layers, Step
from tlfeatures.backbones.sources._embedded import PREPROCESSING, make_embedded
from tlfeatures.backbones.sources._listing import EMBEDDED
from tlfeatures.backbones.sources._torchvision import (
    make_network,
    preset,
    torchvision_names,
    without_memory,
)
from tlfeatures.backbones.weights._words import is_file_name, random_seed
from tlfeatures.errors import TlfeaturesError, UsageError

BYTES = 4  # of a float32 value
HEAVIEST = 3


@dataclass(frozen=True)
class Totals:
    """Sums over the table.

    Attributes
    ----------
    values : int
        Activations of one picture, the picture itself included.
    memory_bytes : int
        Of these in float32.
    parameters, weights : int
        All trained numbers; those of matrices and kernels, without biases and norms.
    multiply_adds : int
    """

    values: int
    memory_bytes: int
    parameters: int
    weights: int
    multiply_adds: int


@dataclass(frozen=True)
class Description:
    """The per-layer table of a network.

    Attributes
    ----------
    name : str
    input_shape : tuple of int
        (3, H, W).
    layers : tuple of Step
        The picture, then each layer that hands on new values or has parameters.
    totals : Totals
    heavy : dict of str to list of (layer, share)
        For "values", "parameters" and "multiply_adds" the heaviest layers, shares in 0..1.
    default_layer : str
    dim : int
        Width of its code.
    head : tuple of str
        What comes after it: the classification head.
    aliases : dict of str to (layer, width)
        The width with average pooling.
    names : tuple of str
        All layers in order of computation, those without values of their own too.
    unused : int
        Parameters that evaluation never touches (auxiliary heads).
    """

    name: str
    input_shape: tuple[int, ...]
    layers: tuple[Step, ...]
    totals: Totals
    heavy: dict[str, list[tuple[str, float]]]
    default_layer: str
    dim: int
    head: tuple[str, ...]
    aliases: dict[str, tuple[str, int]]
    names: tuple[str, ...]
    unused: int


def describe_backbone(request: BackboneRequest) -> Description:
    """Compute the table; torchvision's networks need neither weights nor memory for it.

    Parameters
    ----------
    request : BackboneRequest
        Its layer, pooling and, for torchvision's networks, local files and randomness play no part.

    Raises
    ------
    UsageError, WeightsError
        If a word is wrong; if an own network's weights cannot be had.
    """
    network, batch = _open(request)
    try:
        layers = find_layers(network, batch)
        steps = _steps(layers, batch)
        default = layers.default_layer()
        widths = _widths(layers, [*layers.aliases.values(), default], batch)
    except TlfeaturesError:
        raise
    except Exception as error:  # an own network may raise anything
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        side = tuple(batch.shape[1:])
        raise UsageError(
            f"the network cannot be run on pictures of shape {side} alone ({line}); check "
            "`input_size`, or give a network of pictures."
        ) from error
    aliases = {alias: layer for alias, layer in layers.aliases.items() if layer in widths}
    parameters = {id(p): p for p in network.parameters()}.values()
    rows = [s for s in steps if s.values or s.parameters]
    total = sum(p.numel() for p in parameters)
    side = tuple(batch.shape[1:])
    picture = Step("input", "picture", side, batch[0].numel(), 0, 0)
    values = picture.values + sum(s.values for s in rows)
    return Description(
        name=request.backbone if isinstance(request.backbone, str) else type(network).__name__,
        input_shape=side,
        layers=(picture, *rows),
        totals=Totals(
            values=values,
            memory_bytes=BYTES * values,
            parameters=total,
            weights=sum(p.numel() for p in parameters if p.ndim > 1),
            multiply_adds=sum(s.multiply_adds for s in rows),
        ),
        heavy={what: _heaviest(rows, what) for what in ("values", "parameters", "multiply_adds")},
        default_layer=default,
        dim=widths[default],
        head=_head(layers.names, default, steps),
        aliases={alias: (layer, widths[layer]) for alias, layer in aliases.items()},
        names=tuple(layers.names),
        unused=total - sum(s.parameters for s in rows),
    )


def _open(request: BackboneRequest) -> tuple[nn.Module, torch.Tensor]:
    """The network and a batch of one picture, without memory where it is known by name."""
    name = request.backbone
    if name == EMBEDDED or (isinstance(name, str) and name in torchvision_names()):
        is_entry = not is_file_name(request.weights) and random_seed(request.weights) is None
        default = (
            PREPROCESSING
            if name == EMBEDDED
            else preset(name, request.weights if is_entry else None)
        )
        side = request.input_size or default.input_size
        with without_memory():
            module = make_embedded() if name == EMBEDDED else make_network(name, image_size=side)
        return module.eval().to("meta"), torch.empty(1, 3, side, side, device="meta")
    words: dict[str, Any] = {"layer": None}
    if not request.is_own:
        words["weights"] = "random"
    elif request.preprocess == "torchvision":
        words["preprocess"] = "imagenet"  # the table needs a size, no right pixels
    network: Network = load_network(replace(request, **words))
    return network.module, network.example()


def _steps(layers: Layers, batch: torch.Tensor) -> list[Step]:
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused kernel's work is not counted
    try:
        return layers.steps(batch)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _widths(layers: Layers, names: Sequence[str], batch: torch.Tensor) -> dict[str, int]:
    """Widths of codes by layer; layers that give no tensor are left out."""
    found: dict[str, int] = {}
    with torch.inference_mode():
        for name in dict.fromkeys(names):
            for pooling in ("avg", "flatten"):  # what is neither map nor tokens cannot be averaged
                with contextlib.suppress(UsageError):
                    found.setdefault(name, layers.cut([name], pooling)(batch)[0].shape[1])
    return found


def _heaviest(rows: Sequence[Step], what: str) -> list[tuple[str, float]]:
    total = sum(getattr(row, what) for row in rows) or 1
    ordered = sorted(rows, key=lambda row: -getattr(row, what))[:HEAVIEST]
    return [(row.name, getattr(row, what) / total) for row in ordered if getattr(row, what)]


def _head(names: Sequence[str], default: str, steps: Sequence[Step]) -> tuple[str, ...]:
    after = set(names[names.index(default) + 1 :]) if default in names else set()
    last = next((s.name for s in reversed(steps) if s.parameters), None)
    return tuple(
        f"{s.name}: {s.kind} -> {'x'.join(map(str, s.shape))}"
        for s in steps
        if s.name in after or s.name == last
    )
