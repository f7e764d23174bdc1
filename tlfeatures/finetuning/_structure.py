"""Finds the parts of a network: units, stages, the classifier part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tlfeatures.backbones import Backbone
from tlfeatures.finetuning.recipes._parts import Stage, Structure, Unit

CONTAINERS = (nn.Sequential, nn.ModuleList)
LARGE = 0.5  # share of the parameters
FEWEST_STAGES = 3  # with fewer, as in vision transformers, each unit is a stage


def find_structure(backbone: Backbone, n_classes: int) -> Structure:
    """Find the units and stages of a network up to its layer, from passes of one picture.

    Units are the modules inside the network's containers; a stage ends where the resolution
    changes. So ResNets have conv1, layer1 to layer4, VGG16 its five blocks; vision transformers,
    whose resolution stays, one stage a block.

    Parameters
    ----------
    backbone : Backbone
        Cut at one layer.
    n_classes : int

    Raises
    ------
    UsageError
        If no parameter leads to the codes.
    """
    calls = _calls(backbone)
    used = _used_parameters(backbone)
    units = list(_units(backbone.network, used, calls))
    spatial = [each for each in units if not each.is_vector]
    vectors = tuple(each.unit for each in units if each.is_vector)
    runs = [list(run) for _, run in itertools.groupby(spatial, key=lambda each: each.positions)]
    if len(runs) < FEWEST_STAGES:
        runs = list(_each_alone(spatial))
    names = [each.unit.name for each in units]
    stages = tuple(_named([each.unit for each in run], names) for run in runs)
    n_head = (backbone.dims[0] + 1) * n_classes
    features = getattr(backbone.network, "features", None)
    return Structure(
        backbone.name,
        stages,
        _named(list(vectors), names) if vectors else None,
        n_head,
        len(features) if isinstance(features, nn.Sequential) else 0,
    )


@dataclass(frozen=True)
class _Call:
    """The output of one layer with parameters: places a picture, and whether it is a vector."""

    positions: int
    is_vector: bool


@dataclass(frozen=True)
class _Found:
    unit: Unit
    positions: int
    is_vector: bool


def _example(backbone: Backbone) -> torch.Tensor:
    device = next(backbone.network.parameters()).device
    shape = (2, *backbone.input_shape[1:])
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)


def _calls(backbone: Backbone) -> dict[str, _Call]:
    """The layers with parameters of their own that one forward pass calls, in order of ending."""
    calls: dict[str, _Call] = {}

    def note(path: str, module: nn.Module, answer: Any) -> None:
        answer = answer[0] if isinstance(answer, tuple) else answer
        if isinstance(answer, torch.Tensor):
            calls.pop(path, None)  # a layer that is called twice stands where it ends last
            calls[path] = _Call(_positions(module, answer), answer.ndim == 2)

    hooks = [
        module.register_forward_hook(lambda m, _, answer, path=path: note(path, m, answer))
        for path, module in backbone.network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    try:
        with torch.no_grad():
            backbone.cut(_example(backbone))
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _positions(module: nn.Module, answer: torch.Tensor) -> int:
    """Places of a map (n, C, H, W) or (n, H, W, C), tokens (n, T, C), or 1 of a vector."""
    named = ("out_channels", "num_features", "out_features")
    width = next((getattr(module, name) for name in named if hasattr(module, name)), None)
    if isinstance(module, nn.LayerNorm):
        width = module.normalized_shape[-1]
    width = width or answer.shape[-1]
    return int(answer[0].numel() // width)


def _used_parameters(backbone: Backbone) -> dict[str, nn.Parameter]:
    """The parameters that the codes depend on, by name."""
    named = dict(backbone.network.named_parameters())
    before = {name: parameter.requires_grad for name, parameter in named.items()}
    try:
        backbone.network.requires_grad_(True)
        with torch.enable_grad():
            total = backbone.cut(_example(backbone))[0].float().sum()
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    finally:
        for name, parameter in named.items():
            parameter.requires_grad_(before[name])
    found = zip(named.items(), gradients, strict=True)
    return {name: parameter for (name, parameter), gradient in found if gradient is not None}


def _units(
    network: nn.Module, used: dict[str, nn.Parameter], calls: dict[str, _Call]
) -> Iterator[_Found]:
    """The units in the order in which their last layer ends."""
    paths = [path for path, module in _leaves(network, sum(p.numel() for p in used.values()))]
    members: dict[str, list[str]] = {}
    for name in used:
        owner = name.rpartition(".")[0]
        inside = [path for path in paths if owner == path or owner.startswith(f"{path}.")]
        # what belongs to no unit, as a class token, goes with the first one
        members.setdefault(inside[-1] if inside else "", []).append(name)
    loose = members.pop("", [])
    places = _places(list(members), calls)
    ordered = sorted(members, key=lambda path: places[path][0])
    if ordered:
        members[ordered[0]] += loose
    modules = dict(network.named_modules())
    for path in ordered:
        call = places[path][1]
        names = tuple(members[path])
        norms = tuple(_batch_norms(path, modules[path]))
        unit = Unit(path, names, sum(used[name].numel() for name in names), norms)
        yield _Found(unit, call.positions, call.is_vector)


def _places(paths: list[str], calls: dict[str, _Call]) -> dict[str, tuple[int, _Call]]:
    """Where in the forward pass each unit ends, and the shape of what it gives.

    A norm that is traced as a function is not called as a module: it goes with the unit that is
    defined before it.
    """
    order = {path: i for i, path in enumerate(calls)}
    places: dict[str, tuple[int, _Call]] = {}
    before = (-1, _Call(1, False))
    for path in paths:
        inside = [call for call in calls if call == path or call.startswith(f"{path}.")]
        if inside:
            before = (order[inside[-1]], calls[inside[-1]])
        places[path] = before
    return places


def _leaves(module: nn.Module, total: int, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules with parameters that stand inside containers only."""
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        if not any(True for _ in child.parameters()):
            continue
        if isinstance(child, CONTAINERS) or _holds_container(child, LARGE * total):
            yield from _leaves(child, total, inner)
        else:
            yield inner, child


def _holds_container(module: nn.Module, least: float) -> bool:
    """Whether a container with most of the parameters stands in it, as in an encoder."""
    inside = (each for each in module.children() if isinstance(each, CONTAINERS))
    return any(sum(p.numel() for p in each.parameters()) > least for each in inside)


def _batch_norms(path: str, module: nn.Module) -> Iterator[str]:
    for name, each in module.named_modules():
        if isinstance(each, nn.modules.batchnorm._BatchNorm):
            yield f"{path}.{name}" if name else path


def _each_alone(units: list[_Found]) -> Iterator[list[_Found]]:
    """A stage a unit; one without matrices, as a last norm, goes with the one before it."""
    group: list[_Found] = []
    for each in units:
        is_norm = len(each.unit.parameters) <= 2 and bool(group)
        if group and not (is_norm and _is_small(each, group[-1])):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _is_small(one: _Found, other: _Found) -> bool:
    return one.unit.n_parameters < math.sqrt(other.unit.n_parameters) * 10


def _named(units: list[Unit], all_names: list[str]) -> Stage:
    """A stage, by the module that holds just its units, else by its first and last one."""
    names = [unit.name for unit in units]
    if len(names) == 1:
        return Stage(names[0], tuple(units))
    shared = _shared_path(names)
    others = [name for name in all_names if name not in names]
    is_own = shared and not any(name.startswith(f"{shared}.") for name in others)
    return Stage(shared if is_own else f"{names[0]}..{names[-1]}", tuple(units))


def _shared_path(names: list[str]) -> str:
    """The path that all names begin with."""
    levels = zip(*(name.split(".") for name in names), strict=False)
    shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, levels)
    return ".".join(parts[0] for parts in shared)
