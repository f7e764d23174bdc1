"""What is done to a graph for any device: batch norms folded away, first convolutions exact."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tlfeatures.engine._graph import called_module, copy_graph, is_exactly, only_user


class Float32Conv2d(nn.Module):
    """A convolution in float32, whatever autocast says around it.

    Parameters
    ----------
    conv : nn.Conv2d
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """The convolution, in float32."""
        with torch.autocast(batch.device.type, enabled=False):
            made: torch.Tensor = self.conv(batch.float())
        return made


def first_convs(network: fx.GraphModule) -> set[fx.Node]:
    """The convolutions that look at pixels.

    Half precision rounds normalised pixels of flat areas all in one direction, which no sum
    averages out; so these take pixels as they are, see `PixelConv2d`, or stay in float32.
    """
    modules, found = dict(network.named_modules()), set[fx.Node]()
    of_pixels = {node for node in network.graph.nodes if node.op == "placeholder"}
    for node in network.graph.nodes:
        if not of_pixels.isdisjoint(node.all_input_nodes):
            is_conv = isinstance(called_module(modules, node), nn.Conv2d)
            (found if is_conv else of_pixels).add(node)
    return found


def keep_first_exact(network: fx.GraphModule) -> fx.GraphModule:
    """The same network with `first_convs` in float32, to be run under autocast; for any device."""
    kept = copy_graph(network)
    modules: dict[str, Any] = dict(kept.named_modules())
    for node in first_convs(kept):
        name = f"exact_{node.name}"
        kept.add_submodule(name, Float32Conv2d(modules[str(node.target)]))
        node.target = name
    kept.delete_all_unused_submodules()
    kept.recompile()
    return kept.eval()


def fold_batch_norms(network: fx.GraphModule) -> fx.GraphModule:
    """A network whose batch norms are part of the convolutions before them; for any device."""
    folded = copy_graph(network)
    modules = dict(folded.named_modules())
    for node in list(folded.graph.nodes):
        conv, norm = called_module(modules, node), called_module(modules, only_user(node))
        if is_exactly(conv, nn.Conv2d) and is_exactly(norm, nn.BatchNorm2d):
            _fold(folded, node, only_user(node), fuse_conv_bn_eval(conv, norm))
    folded.delete_all_unused_submodules()
    folded.recompile()
    return folded


def _fold(network: fx.GraphModule, node: fx.Node, norm: fx.Node | None, conv: nn.Module) -> None:
    if norm is None:
        return
    name = f"folded_{node.name}"  # not of the module, which may be called twice
    network.add_submodule(name, conv)
    node.target = name
    norm.replace_all_uses_with(node)
    network.graph.erase_node(norm)
