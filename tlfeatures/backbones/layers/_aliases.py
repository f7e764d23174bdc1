"""The field's names of layers: fc7, pool5, conv5_3, avgpool, block-1, whatever the network says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
MAX_POOLS = (nn.MaxPool2d,)
GLOBAL_POOLS = ("adaptive_avg_pool2d", "mean")
VGG_STAGES = 5


@dataclass(frozen=True)
class Call:
    """A layer as the forward pass meets it.

    Attributes
    ----------
    name : str
    module : nn.Module or None
        None for a function.
    kind : str
        Class of the module, or name of the function.
    """

    name: str
    module: nn.Module | None
    kind: str


def find_aliases(network: nn.Module, calls: Sequence[Call]) -> dict[str, str]:
    """Alias -> layer name. Where a ReLU follows, the alias means the values after it.

    fc6, fc7, fc8 and convK_I, poolK as Simonyan and Zisserman (2015) and Caffe name them, for
    networks without blocks; conv2_x .. conv5_x and pool5 of residual networks (He et al., 2016);
    fire2 .. of SqueezeNet; avgpool, logits, and block-1, block-2, ... from the end for all.
    """
    blocks = find_blocks(network)
    ends = [end for block in blocks if (end := _last_inside(calls, block))]
    found = {} if ends else _plain_aliases(calls)
    found |= _family_aliases(network, calls)
    if pool := _global_pool(calls):
        found["avgpool"] = pool
    if weighted := [call for call in calls if _has_weights(call)]:
        found["logits"] = weighted[-1].name
    stages = ends or [name for alias, name in found.items() if alias.startswith("pool")]
    found |= {f"block-{i}": end for i, end in enumerate(reversed(stages), 1)}
    return found


def find_blocks(network: nn.Module) -> list[str]:
    """Paths of the network's repeated parts, in order of definition.

    A block is a module with at least two convolutions or linear layers; a module that holds
    several blocks of one class in a row (a stage, an encoder) is looked into instead.
    """
    found = [path for path, _ in _blocks(network, "")]
    return found if len(found) > 1 else []


def _blocks(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        if _is_block(child):
            yield inner, child
        else:
            yield from _blocks(child, inner)


def _is_block(module: nn.Module) -> bool:
    if isinstance(module, (nn.Sequential, nn.ModuleList)) or not _is_heavy(module):
        return False
    return not any(
        isinstance(row, (nn.Sequential, nn.ModuleList)) and _repeats(row)
        for row in module.modules()
    )


def _repeats(row: nn.Module) -> bool:
    kinds = [
        type(child)
        for child in row.children()
        if _is_heavy(child) and not isinstance(child, (nn.Sequential, nn.ModuleList))
    ]
    return len(kinds) > 1 and len(set(kinds)) == 1


def _is_heavy(module: nn.Module) -> bool:
    kinds = (*CONVOLUTIONS, nn.Linear, nn.MultiheadAttention)
    return sum(isinstance(part, kinds) for part in module.modules()) >= 2


def _plain_aliases(calls: Sequence[Call]) -> dict[str, str]:
    """Of networks that are one row of convolutions, poolings and fully connected layers."""
    found: dict[str, str] = {}
    pools = [call for call in calls if isinstance(call.module, MAX_POOLS)]
    stage, inside, convolutions = 1, 0, 0
    for i, call in enumerate(calls):
        if isinstance(call.module, CONVOLUTIONS):
            inside, convolutions = inside + 1, convolutions + 1
            is_vgg = len(pools) == VGG_STAGES
            alias = f"conv{stage}_{inside}" if is_vgg else f"conv{convolutions}"
            found[alias] = _after_relu(calls, i)
        elif isinstance(call.module, MAX_POOLS):
            found[f"pool{stage if len(pools) == VGG_STAGES else convolutions}"] = call.name
            stage, inside = stage + 1, 0
    linear = [i for i, call in enumerate(calls) if isinstance(call.module, nn.Linear)]
    if len(linear) == 3:
        names = (_after_relu(calls, i) for i in linear)
        found |= dict(zip(("fc6", "fc7", "fc8"), names, strict=True))
    return found


def _family_aliases(network: nn.Module, calls: Sequence[Call]) -> dict[str, str]:
    names, found = {name for name, _ in network.named_children()}, {}
    if {"layer1", "layer2", "layer3", "layer4"} <= names:
        ends = {i: _last_inside(calls, f"layer{i}") for i in range(1, 5)}
        found = {f"conv{i + 1}_x": end for i, end in ends.items() if end}
    if (found or "inception5b" in names) and (pool := _global_pool(calls)):
        found["pool5"] = pool
    fires = [path for path, m in network.named_modules() if type(m).__name__ == "Fire"]
    ends = {i: _last_inside(calls, path) for i, path in enumerate(fires, 2)}
    return found | {f"fire{i}": end for i, end in ends.items() if end}


def _global_pool(calls: Sequence[Call]) -> str | None:
    """The last global average pooling before the classifier, as module or function."""
    weighted = [i for i, call in enumerate(calls) if _has_weights(call)]
    pools = [
        call.name
        for call in calls[: weighted[-1] if weighted else None]
        if call.kind in GLOBAL_POOLS
        or (
            isinstance(call.module, nn.AdaptiveAvgPool2d) and call.module.output_size in (1, (1, 1))
        )
        or call.name.rpartition(".")[2] == "avgpool"
    ]
    return pools[-1] if pools else None


def _after_relu(calls: Sequence[Call], i: int) -> str:
    """The name of call `i`, or of the ReLU that follows it, batch norm between them or not."""
    for call in calls[i + 1 : i + 3]:
        if isinstance(call.module, nn.ReLU):
            return call.name
        if not isinstance(call.module, NORMS):
            break
    return calls[i].name


def _last_inside(calls: Sequence[Call], path: str) -> str | None:
    inside = [c.name for c in calls if c.name == path or c.name.startswith(f"{path}.")]
    return inside[-1] if inside else None


def _has_weights(call: Call) -> bool:
    return call.module is not None and any(True for _ in call.module.parameters())
