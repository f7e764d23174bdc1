"""The names of a file's tensors, made those of the network: prefixes, wrappers, older names."""

from __future__ import annotations

import re
import warnings
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from tlfeatures._torch_private import load_its_own_way, loads_its_own_way
from tlfeatures.backbones.sources._torchvision import stem_version
from tlfeatures.errors import few

StateDict = dict[str, torch.Tensor]
Shapes = Mapping[str, tuple[int, ...]]
WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module)\.")
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
OLD_VIT = re.compile(r"(\.mlp)\.linear_([12])\.")
PREFERRED = ("encoder_q.", "base_encoder.", "online", "teacher.", "ema_model.")  # of equal ones


@dataclass(frozen=True)
class State:
    """Tensors by name, as a file has them or as a network takes them.

    Attributes
    ----------
    tensors : dict of str to Tensor
    versions : dict of str to dict
        What `state_dict` notes of each module by its path: the version of its code.
    said : tuple of str
        What was done to them, in words.
    """

    tensors: StateDict
    versions: Mapping[str, Any] = field(default_factory=dict)
    said: tuple[str, ...] = ()

    def and_said(self, words: str, tensors: StateDict) -> State:
        """The state with other tensors, and what was done."""
        return replace(self, tensors=tensors, said=(*self.said, words))


def fit_names(state: State, network: nn.Module) -> State:
    """The state under the network's own names.

    What wrappers put before names ("module." of DataParallel, "_orig_mod." of torch.compile, a
    training module's attribute, several of them) or between them is taken off; names of children
    by number, as in `nn.Sequential(*network.children())`, and names of older versions become those
    of today, as torchvision's builders and the modules' own loading make them.

    Parameters
    ----------
    state : State
    network : nn.Module
        Its parameters may be written into; one of its parts may be made anew, as the stem of
        MNASNets whose weights are of the first version.
    """
    own = shapes_of(network.state_dict())
    # The first of the best: names as they are, if they fit as well.
    state = max(_ways(state, network, own), key=lambda each: _n_fitting(each.tensors, own))
    return _as_loaded(state, network)


def n_fitting(state: State, network: nn.Module) -> int:
    """How many tensors of the network the state has, under names that can be made its own."""
    own = shapes_of(network.state_dict())
    return max(_n_fitting(each.tensors, own) for each in _ways(state, network, own))


def _ways(state: State, network: nn.Module, own: Shapes) -> list[State]:
    """The state under names that may be the network's."""
    state = _modernised(state, own)
    ways = (state, _without_wrappers(state), _by_name(state, network))
    return [_without_prefix(each, own) for each in ways]


def shapes_of(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes by name; what is no tensor is left out."""
    return {n: tuple(t.shape) for n, t in state.items() if isinstance(t, torch.Tensor)}


def n_shared(shapes: Shapes, own: Shapes) -> int:
    """How many tensors of a network agree by name and shape, under the best prefix."""
    return _best_prefixes({modern(name): shape for name, shape in shapes.items()}, own)[1]


def modern(name: str) -> str:
    """Today's name of what DenseNets and vision transformers have once called otherwise."""
    name = OLD_DENSENET.sub(r"\1\2", name)
    return OLD_VIT.sub(lambda m: f"{m[1]}.{3 * (int(m[2]) - 1)}.", name)


def _best_prefixes(shapes: Shapes, own: Shapes) -> tuple[list[str], int]:
    """What stands before the network's own names in most of those that fit, and how many fit.

    Several, if they fit equally well, the one to take first.
    """
    counts: Counter[str] = Counter({"": 0})
    for name, shape in shapes.items():
        for prefix, rest in _splits(name):
            if own.get(rest) == shape:
                counts[prefix] += 1
    most = max(counts.values())
    equal = [prefix for prefix, count in counts.items() if count == most]
    if "" in equal:
        return [""], most
    liked = (prefix for word in PREFERRED for prefix in equal if word in prefix)
    first = next(liked, equal[0])
    return [first, *(prefix for prefix in equal if prefix != first)], most


def _splits(name: str) -> Iterator[tuple[str, str]]:
    yield "", name
    for dot in re.finditer(r"\.", name):
        yield name[: dot.end()], name[dot.end() :]


def _n_fitting(state: StateDict, own: Shapes) -> int:
    return sum(own.get(name) == shape for name, shape in shapes_of(state).items())


def _modernised(state: State, own: Shapes) -> State:
    """The state with today's names, where they are not the network's as they are."""
    names = {
        name: name if any(rest in own for _, rest in _splits(name)) else modern(name)
        for name in state.tensors
    }
    return replace(state, tensors=_under(state.tensors, names))


def _under(tensors: StateDict, names: Mapping[str, str]) -> StateDict:
    """Tensors under other names; the same if two became one."""
    if len(set(names.values())) < len(names):
        return tensors
    return {names[name]: tensor for name, tensor in tensors.items()}


def _without_wrappers(state: State) -> State:
    """The state without the attributes of wrappers between the names."""
    tensors = _under(state.tensors, {name: WRAPPERS.sub("", name) for name in state.tensors})
    return state.and_said("'module.' and the like removed from the names", tensors)


def _by_name(state: State, network: nn.Module) -> State:
    """The state with the names of children that go by number in it.

    Of each name it is the first number that counts, as in "encoder.4.0.conv1.weight".
    """
    children = [name for name, _ in network.named_children()]
    if any(name.isdecimal() for name in children):
        return state

    def rename(name: str) -> str:
        number = re.search(r"(?:^|\.)(\d+)\.", name)
        if number is None or int(number[1]) >= len(children):
            return name
        return f"{name[: number.start(1)]}{children[int(number[1])]}{name[number.end(1) :]}"

    names = {name: rename(name) for name in state.tensors}
    return state.and_said("parts that went by number named", _under(state.tensors, names))


def _without_prefix(state: State, own: Shapes) -> State:
    (prefix, *others), _ = _best_prefixes(shapes_of(state.tensors), own)
    if not prefix:
        return state
    kept = {n.removeprefix(prefix): t for n, t in state.tensors.items() if n.startswith(prefix)}
    left = [name for name in state.tensors if not name.startswith(prefix)]
    words = f"prefix {prefix!r} removed from the names"
    words += f", {len(left)} tensors without it left out ({few(left, shown=3)})" if left else ""
    words += f" (as well there: {others[0]!r})" if others else ""
    start = prefix.removesuffix(".")
    versions = {
        path.removeprefix(start).removeprefix("."): facts
        for path, facts in state.versions.items()
        if f"{path}.".startswith(prefix)
    }
    return replace(state.and_said(words, kept), versions=versions)


def _as_loaded(state: State, network: nn.Module) -> State:
    """The state as the modules' own way of loading leaves it."""
    made: Any = OrderedDict(state.tensors)
    said = list(state.said)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MNASNet's of older weights; it is said here
        for path, module in list(network.named_modules()):
            if not loads_its_own_way(module):
                continue
            prefix, local = f"{path}." if path else "", dict(state.versions.get(path, {}))
            version = stem_version(module, made, prefix)
            if version is not None:
                local["version"] = version
            if version == 1:
                said.append("its first layers are those of MNASNet's first version")
            load_its_own_way(module, made, prefix, local)
    return State(dict(made), state.versions, tuple(said))
