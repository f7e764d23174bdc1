"""A network's large maps on parts of a batch, what follows them on all of it; for the CPU."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import fx, nn

from tlfeatures.backbones import pool_codes
from tlfeatures.engine._fuse import SHAPE
from tlfeatures.engine._fused import FusedLinear

COPIES = 6  # numbers of half precision that pooling a map takes, by the map's: three of float32


class InParts(nn.Module):
    """A network whose first half takes small batches and whose second half takes large ones.

    Weights of many channels, most of all those of linear layers, are read from the memory once for
    each batch, so they are for large ones. Large maps come first, of small weights.

    Parameters
    ----------
    network : fx.GraphModule
        One whose nodes give a row for each picture, as VGG's and AlexNet's do.
    n_first : int
        Nodes of its graph that are the first half.
    part : int
        Pictures that the first half takes.
    at_once : int
        Pictures that the second half takes: a multiple of `part`.

    Attributes
    ----------
    at_once : int
    takes_pixels : bool
        As the network has it.
    first, second : fx.GraphModule
        `second` takes the pictures, for their shape, and what `first` gives.
    """

    def __init__(self, network: fx.GraphModule, n_first: int, part: int, at_once: int) -> None:
        super().__init__()
        self._part, self.at_once = part, at_once
        self.takes_pixels = bool(getattr(network, "takes_pixels", False))
        nodes = list(network.graph.nodes)
        first, second = nodes[:n_first], nodes[n_first:]
        handed = _handed(nodes, n_first)
        self.first = _network_of(network, [], first, handed)
        pictures = [node for node in nodes if node.op == "placeholder"]
        self.second = _network_of(network, [*pictures, *handed], second, None)
        for name, module in list(self.second.named_modules()):
            if isinstance(module, FusedLinear):
                self.second.add_submodule(name, FilledLinear(module, part, at_once))

    def forward(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """What the network gives."""
        made: list[torch.Tensor] = self.second(batch, *self._first_of_all(batch))
        return made

    def _first_of_all(self, batch: torch.Tensor) -> list[torch.Tensor]:
        parts = [self.first(each) for each in batch.split(self._part)]
        return [torch.cat(each) for each in zip(*parts, strict=True)]


class FilledLinear(nn.Module):
    """A linear layer that gives a row the same bits whatever the number of pictures in a worker.

    oneDNN orders its sums by that number. Its convolutions' bits were the same for all numbers in
    VGG and AlexNet; a test compares them.

    Parameters
    ----------
    linear : nn.Module
    part, at_once : int
        As many rows, and up to so many, are filled up to `at_once`; fewer, as queries are, and more
        run at their own number.
    """

    def __init__(self, linear: nn.Module, part: int, at_once: int) -> None:
        super().__init__()
        self._linear, self._part, self._at_once = linear, part, at_once

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """What the linear layer gives."""
        n = len(rows)
        if self._part <= n < self._at_once:
            rows = nn.functional.pad(rows, [0, 0, 0, self._at_once - n])
        made: torch.Tensor = self._linear(rows)
        return made[:n]


def in_parts(network: fx.GraphModule, part: int, at_once: int) -> nn.Module:
    """The network in two halves; no map of the second is larger than the first's largest.

    It stays whole where the second would have nothing to compute.

    Parameters
    ----------
    network : fx.GraphModule
        From `fuse`.
    part, at_once : int
        See `InParts`.
    """
    nodes = list(network.graph.nodes)
    most = max(map(_size, nodes)) * part // at_once
    for i in range(1, len(nodes)):
        if all(_size(node) <= most for node in (*_handed(nodes, i), *nodes[i:])):
            has_work = any(node.op == "call_module" for node in nodes[i:])
            return InParts(network, i, part, at_once) if has_work else network
    return network


def _size(node: fx.Node) -> int:
    """Numbers that it gives for a picture; pictures themselves, and what is no tensor, are none."""
    if node.target is pool_codes:  # of copies in float32
        return COPIES * _size(node.all_input_nodes[0])
    is_made = node.op != "placeholder" and SHAPE in node.meta
    return math.prod(node.meta[SHAPE]) if is_made else 0


def _handed(nodes: Sequence[fx.Node], n_first: int) -> list[fx.Node]:
    """Those of the first nodes that later ones look at, but for the pictures."""
    later, first = set(nodes[n_first:]), nodes[:n_first]
    made = [node for node in first if node.op != "placeholder"]
    return [node for node in made if not later.isdisjoint(node.users)]


def _network_of(
    network: fx.GraphModule,
    given: Iterable[fx.Node],
    nodes: Iterable[fx.Node],
    made: list[fx.Node] | None,
) -> fx.GraphModule:
    """Some of a network's nodes as a network of their own; made: what it gives, None: as before."""
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in given:
        copies[node] = graph.placeholder(node.name)
    for node in nodes:
        copies[node] = graph.node_copy(node, lambda each: copies[each])
    if made is not None:
        graph.output([copies[node] for node in made])
    return fx.GraphModule(network, graph).eval()
