"""Where a network is cut: its graph, the default layer, names and aliases, pooling.

The graph is torchvision's (`NodePathTracer`): nodes carry the path of their module, repeats get a
suffix. The cut network computes nothing after the layer asked for.
"""

from __future__ import annotations

import difflib
import inspect

import torch
import torchvision
from torch import fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from tlfeatures.errors import UnknownLayerError, UsageError

GEM_POWER = 3.0  # Radenovic, Tolias, Chum: Fine-tuning CNN image retrieval (2018), their default


class LayerGraph:
    """The traced network and the names of its nodes, in order of computation.

    Parameters
    ----------
    network : nn.Module
        In eval mode; it is not changed.
    """

    def __init__(self, network: nn.Module) -> None:
        leaves = [
            m
            for m in vars(torchvision.ops).values()
            if inspect.isclass(m) and issubclass(m, nn.Module)
        ]
        self._tracer = NodePathTracer(leaf_modules=leaves)
        self._graph = self._tracer.trace(network)
        self._network = network
        self._path_of: dict[fx.Node, str] = dict(self._tracer.node_to_qualname)
        self._nodes = {path: node for node, path in self._path_of.items()}

    @property
    def names(self) -> list[str]:
        """Node names in order of computation."""
        return list(self._nodes)

    def default_layer(self) -> str:
        """The input of the last layer with weights, the activations before the classifier."""
        for node in reversed(list(self._graph.nodes)):
            if node.op == "call_module" and self._has_weights(node):
                return self._path_of[node.all_input_nodes[0]]
        raise UnknownLayerError(
            "the network has no layer with weights, so it has no default layer."
        )

    def resolve(self, layer: str | None) -> str:
        """The node name for a node name, a module name (its last node), an alias, or None.

        Raises
        ------
        UnknownLayerError
            With the near names.
        """
        if layer is None:
            return self.default_layer()
        if layer in self._nodes:
            return layer
        inside = [name for name in self._nodes if name.startswith(f"{layer}.")]
        if inside:
            return inside[-1]
        aliases = self._fully_connected_aliases()
        if layer in aliases:
            return aliases[layer]
        raise UnknownLayerError(self._unknown(layer, aliases))

    def cut(self, layer: str) -> fx.GraphModule:
        """A network that ends at `layer`; shares its parameters with the whole one."""
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self._graph.nodes:
            copies[node] = graph.node_copy(node, lambda n: copies[n])
            if node is self._nodes[layer]:
                graph.output(copies[node])
                break
        network = fx.GraphModule(self._tracer.root, graph)
        network.graph.eliminate_dead_code()
        network.recompile()
        return network.eval()

    def _has_weights(self, node: fx.Node) -> bool:
        module = self._tracer.root.get_submodule(str(node.target))
        return any(True for _ in module.parameters(recurse=False))

    def _fully_connected_aliases(self) -> dict[str, str]:
        """fc6, fc7, fc8, after ReLU, of networks with three such layers (AlexNet, VGG)."""
        nodes = list(self._graph.nodes)
        linear = [n for n in nodes if n.op == "call_module" and self._is(n, nn.Linear)]
        if len(linear) != 3:
            return {}
        names = {}
        for alias, node in zip(("fc6", "fc7", "fc8"), linear, strict=True):
            follower = nodes[nodes.index(node) + 1]
            after_relu = follower.op == "call_module" and self._is(follower, nn.ReLU)
            names[alias] = self._path_of[follower if after_relu else node]
        return names

    def _is(self, node: fx.Node, kind: type[nn.Module]) -> bool:
        return isinstance(self._tracer.root.get_submodule(str(node.target)), kind)

    def _unknown(self, layer: str, aliases: dict[str, str]) -> str:
        tops = dict.fromkeys(name.split(".")[0] for name in self._nodes)
        pool = [*self._nodes, *aliases, *tops]
        near = list(dict.fromkeys(difflib.get_close_matches(layer, pool, n=5, cutoff=0.4)))
        shown = near or list(dict.fromkeys([*aliases, *tops]))[:12]
        words = "near ones are" if near else "there are"
        return f"layer {layer!r} does not exist here; {words} {', '.join(shown)}."


def pool_codes(output: torch.Tensor, pooling: str) -> torch.Tensor:
    """Turn a layer's output into codes of shape (n, d).

    Maps (n, C, H, W) are pooled over H and W; vectors pass; other shapes are only flattened.

    Raises
    ------
    UsageError
        If the output is neither a vector nor a map and `pooling` is not "flatten".
    """
    if output.ndim == 2:
        return output
    if pooling == "flatten":
        return output.flatten(1)
    if output.ndim != 4:
        shape = tuple(output.shape[1:])
        raise UsageError(f"this layer gives {shape} a picture, no map; use pooling 'flatten'.")
    if pooling == "max":
        return output.amax(dim=(2, 3))
    if pooling == "gem":
        powered = output.clamp(min=1e-6) ** GEM_POWER
        return powered.mean(dim=(2, 3)) ** (1.0 / GEM_POWER)
    return output.mean(dim=(2, 3))
