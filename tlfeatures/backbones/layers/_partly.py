"""Hooked networks as graphs of operations, as far as they can be traced."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import fx, nn

from tlfeatures._torch_private import hooks_after, hooks_before, is_assertion
from tlfeatures.backbones.layers._hooked import EnoughError
from tlfeatures.backbones.layers._pooling import pool_codes


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
    tracer = _PartTracer(autowrap_functions=(pool_codes,))
    tracer.users = {hook for module in cut.modules() for hook in _hooks(module)}
    graph = tracer.trace(cut)
    for node in list(graph.nodes):
        if is_assertion(node.target):  # of shapes, mostly: what is compared would show it
            graph.erase_node(node)
    traced = fx.GraphModule(cut, graph).eval()
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


class _PartTracer(fx.Tracer):
    """Goes on where a module cannot be traced; the cut hears modules that are left whole too.

    Attributes
    ----------
    users : set
        Hooks that are not the cut's: what has some is left whole, and calls them.
    """

    users: set[Any]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether it is one of torch's, or has hooks of the user's."""
        has_users = not self.users.isdisjoint(_hooks(m))
        return has_users or super().is_leaf_module(m, module_qualified_name)

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
                if hooks_before(m):
                    raise  # they have been called
                self._erase_after(last)
                self.module_stack = stack
        inside = (hook for each in m.modules() if each is not m for hook in _hooks(each))
        if not self.users.issuperset(inside):
            raise fx.proxy.TraceError(f"a layer is inside of {path}, which cannot be traced")
        for hook in self._of_cut(hooks_before(m)):
            hook(m, args)
        made = self.create_proxy("call_module", path, args, kwargs)
        for hook in self._of_cut(hooks_after(m)):
            hook(m, args, made)
        return made

    def _of_cut(self, hooks: Mapping[int, Any]) -> list[Any]:
        return [hook for hook in hooks.values() if hook not in self.users]

    def _erase_after(self, last: fx.Node) -> None:
        for node in reversed(self.graph.nodes):
            if node is last:
                return
            self.graph.erase_node(node)


def _hooks(module: nn.Module) -> list[Any]:
    return [*hooks_before(module).values(), *hooks_after(module).values()]
