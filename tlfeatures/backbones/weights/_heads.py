"""The classifier of a network, and what of a file fits but for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

IGNORED = "num_batches_tracked"
HEAD_WORDS = re.compile(r"head|fc|classif|proj|predict|decoder|logit|aux|linear|proto|queue|output")


@dataclass(frozen=True)
class Faults:
    """How a state differs from what a network takes.

    Attributes
    ----------
    missing, unexpected, misshapen, integers : tuple of str
        Names; integers: where the network has fractions.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    integers: tuple[str, ...] = ()

    @property
    def unfilled(self) -> tuple[str, ...]:
        """The network's parameters that the state does not give."""
        return (*self.missing, *self.misshapen, *self.integers)

    def __bool__(self) -> bool:
        return bool(self.unfilled or self.unexpected)

    def __str__(self) -> str:
        """In words, each kind with the first names."""
        kinds = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.misshapen),
            ("of whole numbers", self.integers),
        )
        return "; ".join(
            f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for what, names in kinds
            if names
        )


def compare(own: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> Faults:
    """How a state differs from a network's own."""
    own = {name: tensor for name, tensor in own.items() if isinstance(tensor, torch.Tensor)}
    both = [name for name in own if name in state]
    return Faults(
        missing=tuple(n for n in own if n not in state and not n.endswith(IGNORED)),
        unexpected=tuple(n for n in state if n not in own),
        misshapen=tuple(n for n in both if own[n].shape != state[n].shape),
        integers=tuple(
            n for n in both if own[n].is_floating_point() and not state[n].is_floating_point()
        ),
    )


def find_heads(network: nn.Module) -> tuple[str, ...]:
    """The modules that classify: timm says which, else the one with the last weight matrix."""
    said = (getattr(network, "pretrained_cfg", None) or {}).get("classifier")
    named = (said,) if isinstance(said, str) else tuple(said or ())
    own = network.state_dict()
    found = tuple(path for path in named if any(name.startswith(f"{path}.") for name in own))
    if found:
        return found
    matrices = [n for n, t in own.items() if isinstance(t, torch.Tensor) and t.ndim > 1]
    return (matrices[-1].rpartition(".")[0],) if matrices and "." in matrices[-1] else ()


def find_head_parts(network: nn.Module) -> tuple[str, ...]:
    """The parts of a network that hold its heads, as VGG's three linear layers.

    The same as the heads where such a part would be most of the network.
    """
    own, heads = list(network.state_dict()), find_heads(network)
    start = _common_start(own)
    parts = tuple(start + head.removeprefix(start).partition(".")[0] for head in heads)
    n_inside = sum(is_inside(name, parts) for name in own)
    return parts if 2 * n_inside < len(own) else heads


def _common_start(names: Sequence[str]) -> str:
    """The path, with its dot, that all names begin with: of a network inside another."""
    first, *others = (name.split(".")[:-1] for name in names)
    shared = [p for p, *rest in zip(first, *others, strict=False) if all(r == p for r in rest)]
    start = ".".join(shared) + "." if shared else ""
    return start if all(name.startswith(start) for name in names) else ""


def is_inside(name: str, paths: Sequence[str]) -> bool:
    """Whether a parameter's name lies in one of the modules, or is theirs."""
    return any(name == path or name.startswith(f"{path}.") for path in paths)


def is_other_count(faults: Faults, network: nn.Module, state: Mapping[str, torch.Tensor]) -> bool:
    """Whether the heads differ in the number of classes, or have no bias, and in nothing else.

    For the same inputs; what is beside them has no part in it.
    """
    own, heads = network.state_dict(), find_heads(network)
    weights, biases = ({f"{head}.{end}" for head in heads} for end in ("weight", "bias"))
    parts = find_head_parts(network)
    return (
        set(faults.missing) <= biases
        and set(faults.misshapen) <= weights | biases
        and all(own[name].shape[1:] == state[name].shape[1:] for name in faults.misshapen)
        and not faults.integers
        and bool(faults.unfilled)
        and not any(is_inside(name, parts) for name in faults.unexpected)
    )


def set_class_count(network: nn.Module, state: Mapping[str, torch.Tensor]) -> int:
    """Make the heads anew for as many classes as the state has, and say how many these are."""
    n_classes = 0
    for path in find_heads(network):
        old = network.get_submodule(path)
        n_classes, has_bias = len(state[f"{path}.weight"]), f"{path}.bias" in state
        if isinstance(old, nn.Linear):
            new: nn.Module = nn.Linear(old.in_features, n_classes, bias=has_bias)
        else:
            new = nn.Conv2d(old.in_channels, n_classes, old.kernel_size, bias=has_bias)  # type: ignore[arg-type]
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, new)
    return n_classes


def left_aside(
    faults: Faults, network: nn.Module, state: Mapping[str, torch.Tensor]
) -> tuple[str, ...] | None:
    """The head's parameters that the state cannot fill, if the rest of the network fits it.

    The last layer alone, where no more than that differs; else the whole part that it is in: what
    of this fits by name may stand elsewhere in the network that the state is of.

    Returns
    -------
    tuple of str or None
        None if the rest differs too: parameters of it, or more of them in its parts.
    """
    own = [name for name in network.state_dict() if not name.endswith(IGNORED)]
    for paths in (find_heads(network), find_head_parts(network)):
        rest = [name for name in own if not is_inside(name, paths)]
        foreign = [name for name in faults.unexpected if not is_inside(name, paths)]
        fits = all(is_inside(name, paths) for name in faults.unfilled)
        if rest and fits and _are_heads(foreign, rest, state):
            is_other = any(is_inside(name, paths) for name in faults.unexpected)
            inside = tuple(name for name in own if is_inside(name, paths))
            return inside if faults.unfilled or is_other else ()
    return None


def _are_heads(names: Sequence[str], rest: Sequence[str], state: Mapping[str, Any]) -> bool:
    """Whether tensors that a network has not are of heads: beside its parts, not in them.

    A convolution beside them may stand between them, unless its name says otherwise.
    """
    parts = {name.partition(".")[0] for name in rest}
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition(".")[0], []).append(name)
    return all(
        part not in parts
        and (HEAD_WORDS.search(part.lower()) or all(state[name].ndim <= 2 for name in inside))
        for part, inside in groups.items()
    )
