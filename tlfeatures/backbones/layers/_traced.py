"""Networks whose forward pass can be traced: each operation is a layer with a name.

The graph is torchvision's (`NodePathTracer`): nodes carry the path of their module, repeats get a
suffix. The cut network computes nothing after the last layer asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from tlfeatures.backbones.layers._aliases import Call
from tlfeatures.backbones.layers._layers import Layers, Step
from tlfeatures.backbones.layers._pooling import count_prefix_tokens, has_places, pool_codes
from tlfeatures.backbones.sources._lean import torchvision
from tlfeatures.errors import UnknownLayerError

NodePathTracer = torchvision.models.feature_extraction.NodePathTracer
BY_VALUE = frozenset({"add", "iadd", "mul", "imul", "sub"})
VIEWS = frozenset({
    "flatten", "permute", "reshape", "view", "transpose", "squeeze", "unsqueeze", "chunk", "split",
    "getitem", "expand", "contiguous", "getattr", "size", "dim", "Flatten", "Permute", "Identity",
})  # fmt: skip


class TracedLayers(Layers):
    """The traced network and the names of its nodes, in order of computation.

    Parameters
    ----------
    network : nn.Module
        In eval mode; it is not changed.

    Raises
    ------
    Exception
        Whatever `torch.fx` raises where a forward pass depends on values.
    """

    def __init__(self, network: nn.Module) -> None:
        leaves = [
            m
            for m in vars(torchvision.ops).values()
            if inspect.isclass(m) and issubclass(m, nn.Module)
        ]
        self.network = network
        self._tracer = NodePathTracer(leaf_modules=leaves)
        self._graph = self._tracer.trace(network)
        self._path_of: dict[fx.Node, str] = dict(self._tracer.node_to_qualname)
        self._nodes = {path: node for node, path in self._path_of.items()}

    @property
    def calls(self) -> list[Call]:
        """The nodes."""
        return [Call(path, self._module(node), self._kind(node)) for path, node in self._pairs()]

    def default_layer(self) -> str:
        """The input of the last layer with weights, the activations before the classifier."""
        for node in reversed(list(self._graph.nodes)):
            if self._has_weights(node) and (given := self._given(node)) is not None:
                return self._path_of[self._before_dropout(given)]
        raise UnknownLayerError(
            "the network has no layer with weights, so it has no default layer."
        )

    def cut(self, layers: Sequence[str], pooling: str) -> nn.Module:
        """A network that ends at the last of `layers`; shares its parameters with the whole one.

        Codes are pooled where they arise: a ReLU that works in place comes later.
        """
        wanted = {self._nodes[layer]: layer for layer in layers}
        picture = next(node for node in self._graph.nodes if node.op == "placeholder")
        n_prefix = count_prefix_tokens(self.network)
        graph, copies, codes = fx.Graph(), dict[fx.Node, fx.Node](), dict[str, fx.Node]()
        for node in self._graph.nodes:
            copies[node] = graph.node_copy(node, lambda n: copies[n])
            if node in wanted:
                arguments = (copies[node], pooling, n_prefix, copies[picture])
                codes[wanted[node]] = graph.call_function(pool_codes, arguments)
            if len(codes) == len(wanted):
                break
        graph.output([codes[layer] for layer in layers])
        network = fx.GraphModule(self._tracer.root, graph)
        network.graph.eliminate_dead_code()
        network.recompile()
        return network.eval()

    def steps(self, batch: torch.Tensor) -> list[Step]:
        """The nodes that compute something; functions count for the parameters they use."""
        recorder = _Recorder(fx.GraphModule(self._tracer.root, self._graph), self._path_of)
        with torch.inference_mode():
            recorder.run(batch)
        return recorder.steps

    def last_places(self, layer: str, batch: torch.Tensor) -> str | None:
        """The last node before this one that gives a map or tokens."""
        watcher = _Watcher(fx.GraphModule(self._tracer.root, self._graph), batch)
        with torch.inference_mode():
            watcher.run(batch)
        before: str | None = None
        for name, node in self._pairs():
            if name == layer:
                break
            if node.op != "get_attr" and node.name in watcher.with_places:
                before = name
        return None if before is None else self.shortest(before)

    def _has_weights(self, node: fx.Node) -> bool:
        module = self._module(node)
        if module is not None:
            return any(True for _ in module.parameters())
        return any(source.op == "get_attr" for source in node.all_input_nodes)

    def _given(self, node: fx.Node) -> fx.Node | None:
        """What a layer works on, parameters left out; None if nothing was computed yet."""
        sources = [source for source in node.all_input_nodes if source.op != "get_attr"]
        return sources[0] if sources and sources[0].op != "placeholder" else None

    def _before_dropout(self, node: fx.Node) -> fx.Node:
        """The node whose values these are: in eval mode a dropout only hands them on."""
        while isinstance(self._module(node), (nn.Dropout, nn.Identity)):
            node = node.all_input_nodes[0]
        return node

    def _pairs(self) -> list[tuple[str, fx.Node]]:
        return [(p, n) for p, n in self._nodes.items() if n.op not in ("placeholder", "output")]

    def _module(self, node: fx.Node) -> nn.Module | None:
        if node.op != "call_module":
            return None
        module: nn.Module = self._tracer.root.get_submodule(str(node.target))
        return module

    def _kind(self, node: fx.Node) -> str:
        module = self._module(node)
        return type(module).__name__ if module is not None else function_name(node.target)


def function_name(target: Any) -> str:
    """The name of a function, method or operator."""
    return str(getattr(target, "__name__", target)).strip("_")


class _Watcher(fx.Interpreter):
    """Runs a graph and notes the nodes that give a map or tokens."""

    def __init__(self, network: fx.GraphModule, batch: torch.Tensor) -> None:
        super().__init__(network)
        self._batch = batch
        self.with_places: set[str] = set()

    def run_node(self, n: fx.Node) -> Any:
        answer = super().run_node(n)
        if has_places(answer, self._batch):
            self.with_places.add(n.name)
        return answer


class _Recorder(fx.Interpreter):
    """Runs a graph and notes what each node does."""

    def __init__(self, network: fx.GraphModule, paths: dict[fx.Node, str]) -> None:
        super().__init__(network)
        self.steps: list[Step] = []
        self._paths = {node.name: path for node, path in paths.items()}
        self._counted: set[int] = set()

    def run_node(self, n: fx.Node) -> Any:
        if n.op not in ("call_module", "call_function", "call_method"):
            return super().run_node(n)
        from torch.utils.flop_counter import FlopCounterMode  # brings triton with it

        with FlopCounterMode(display=False) as counter:
            answer = super().run_node(n)
        first = answer[0] if isinstance(answer, tuple) and answer else answer
        if isinstance(first, torch.Tensor):
            self._note(n, first, counter.get_total_flops() // 2)
        return answer

    def _note(self, node: fx.Node, answer: torch.Tensor, multiply_adds: int) -> None:
        used = self._parameters(node)
        new = sum(p.numel() for p in used if id(p) not in self._counted)
        self._counted |= {id(p) for p in used}
        is_module = node.op == "call_module"
        kind = type(self.fetch_attr(str(node.target))).__name__ if is_module else ""
        given = [
            value.numel()
            for source in node.all_input_nodes
            if isinstance(value := self.env[source], torch.Tensor) and source.op != "get_attr"
        ]
        self.steps.append(
            make_step(
                self._paths.get(node.name, node.name),
                kind or function_name(node.target),
                answer,
                max(given, default=0),
                multiply_adds,
                parameters=new,
                has_matrix=any(p.ndim > 1 for p in used),
            )
        )

    def _parameters(self, node: fx.Node) -> list[nn.Parameter]:
        if node.op == "call_module":
            return list(self.fetch_attr(str(node.target)).parameters())
        values = [self.env[source] for source in node.all_input_nodes if source.op == "get_attr"]
        return [value for value in values if isinstance(value, nn.Parameter)]


def make_step(
    name: str,
    kind: str,
    answer: torch.Tensor,
    given: int,
    multiply_adds: int,
    *,
    parameters: int,
    has_matrix: bool,
) -> Step:
    """A step's row, with the rule for values.

    Layers with weight matrices and operations that change the number of values hand on new ones;
    views do not, and what is done value by value (activation, norm, addition) works in place.
    """
    changes_size = answer.numel() != given and kind not in VIEWS
    is_new = changes_size or (has_matrix and kind not in BY_VALUE)
    values = answer.numel() if is_new else 0
    return Step(name, kind, tuple(answer.shape[1:]), values, parameters, multiply_adds)
