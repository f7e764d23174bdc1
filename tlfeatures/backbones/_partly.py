"""Hooked networks as graphs of operations, as far as they can be traced."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from tlfeatures.backbones._hooked import EnoughError
from tlfeatures.backbones._pooling import pool_codes


def trace_cut(cut: nn.Module) -> fx.GraphModule:
    """The operations of a network that ends at some layers; what cannot be traced stays a module.

    Parameters
    ----------
    cut : nn.Module
        A cut of `HookedLayers`, in eval mode; it is not changed, and shares its parameters.

    Returns
    -------
    fx.GraphModule
        In eval mode. That it says the same is for the caller to see: code that asks what kind of
        values it is given may do something else while it is traced.

    Raises
    ------
    Exception
        Whatever `torch.fx` raises, where the outermost forward pass depends on values, or that of a
        module with one of the layers inside; whatever a network raises that cannot be copied.
    """
    shared = {id(each): each for each in (*cut.parameters(), *cut.buffers())}
    cut = copy.deepcopy(cut, shared)  # some keep what they compute, here no numbers
    graph = _PartTracer(autowrap_functions=(pool_codes,)).trace(cut)
    for node in list(graph.nodes):
        if node.target is torch._assert:  # of shapes, mostly: what is compared would show it
            graph.erase_node(node)
    traced = fx.GraphModule(cut, graph).eval()
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


class _PartTracer(fx.Tracer):
    """Goes on where a module cannot be traced; hooks are called for modules left whole too."""

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """What the module's operations give, or the module itself."""
        path = self.path_of_module(m)
        if not self.is_leaf_module(m, path):
            last, stack = next(reversed(self.graph.nodes)), self.module_stack.copy()
            try:
                return super().call_module(m, forward, args, kwargs)
            except EnoughError:
                raise
            except Exception:
                if m._forward_pre_hooks or any(_has_hooks(each) for each in _inside(m)):
                    raise  # they have been called, or would not be
                self._erase_after(last)
                self.module_stack = stack
        for hook in m._forward_pre_hooks.values():
            hook(m, args)
        made = self.create_proxy("call_module", path, args, kwargs)
        for hook in m._forward_hooks.values():
            hook(m, args, made)
        return made

    def _erase_after(self, last: fx.Node) -> None:
        for node in reversed(self.graph.nodes):
            if node is last:
                return
            self.graph.erase_node(node)


def _inside(module: nn.Module) -> list[nn.Module]:
    return [each for each in module.modules() if each is not module]


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
