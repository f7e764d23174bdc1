"""A network's graph: what its nodes call, and a copy of it that is of plain modules."""

from __future__ import annotations

import inspect
import operator
from typing import Any, TypeGuard, TypeVar

import torch
from torch import fx, nn
from torchvision.ops import MLP, Conv2dNormActivation, SqueezeExcitation

from tlfeatures._torch_private import hooks_after, hooks_before

M = TypeVar("M", bound=nn.Module)
BLOCKS = (Conv2dNormActivation, SqueezeExcitation, MLP)


def only_user(node: fx.Node | None) -> fx.Node | None:
    """The node that alone takes this one's output; None if there are several, or none."""
    return next(iter(node.users)) if node is not None and len(node.users) == 1 else None


def _make_modules(network: fx.GraphModule) -> None:
    """Let functions of the network's own weights be the modules that they stand for.

    timm's batch norms are functions, and so are the linear layers of BEiT and its kin.
    """
    modules = dict(network.named_modules())
    for node in network.graph.nodes:
        made = _linear_of(network, node) or _norm_of(network, modules, node)
        if made is not None:
            name = f"module_{node.name}"
            network.add_submodule(name, made.requires_grad_(False).eval())
            node.op, node.target = "call_module", name
            node.args, node.kwargs = (node.all_input_nodes[0],), {}
    network.graph.eliminate_dead_code()
    network.recompile()


def _linear_of(network: fx.GraphModule, node: fx.Node) -> nn.Linear | None:
    if node.target is not nn.functional.linear:
        return None
    given = {**dict(zip(("input", "weight", "bias"), node.args, strict=False)), **node.kwargs}
    weight, bias = (own_tensor(network, given.get(name)) for name in ("weight", "bias"))
    if weight is None or (bias is None and given.get("bias") is not None):
        return None  # computed from what is not known here
    linear = nn.Linear(weight.shape[1], len(weight), bias is not None, device="meta")
    linear.weight = nn.Parameter(weight)
    if bias is not None:
        linear.bias = nn.Parameter(bias)
    return linear


def _norm_of(
    network: fx.GraphModule, modules: dict[str, nn.Module], node: fx.Node
) -> nn.BatchNorm2d | None:
    """That of a convolution; of others the number of axes is not known."""
    if node.target is not nn.functional.batch_norm:
        return None
    given = inspect.signature(nn.functional.batch_norm).bind(*node.args, **node.kwargs)
    given.apply_defaults()
    names = ("running_mean", "running_var", "weight", "bias")
    tensors = [own_tensor(network, given.arguments[name]) for name in names]
    mean, var, weight, bias = tensors
    is_of_conv = isinstance(called_module(modules, given.arguments["input"]), nn.Conv2d)
    if mean is None or var is None or weight is None or bias is None:
        return None
    if given.arguments["training"] or not is_of_conv:
        return None
    norm = nn.BatchNorm2d(len(mean), given.arguments["eps"], device="meta")
    norm.running_mean, norm.running_var = mean, var
    norm.weight, norm.bias = nn.Parameter(weight), nn.Parameter(bias)
    return norm


def own_tensor(network: fx.GraphModule, node: Any) -> torch.Tensor | None:
    """What a node gives if that is a tensor of the network's own, or some of them side by side."""
    if not isinstance(node, fx.Node):
        return None
    if node.op == "get_attr":
        own = operator.attrgetter(str(node.target))(network)
        return own if isinstance(own, torch.Tensor) else None
    if node.target is torch.cat and len(node.args) == 1 and not node.kwargs:
        given: Any = node.args[0]
        parts = [own_tensor(network, each) for each in given]
        known = [each for each in parts if each is not None]
        return torch.cat(known) if len(known) == len(parts) else None
    return None


def copy_graph(network: fx.GraphModule) -> fx.GraphModule:
    """A network of its own with the same modules; torchvision's blocks are taken apart."""
    modules, graph, copies = dict(network.named_modules()), fx.Graph(), dict[fx.Node, fx.Node]()
    for node in network.graph.nodes:
        if isinstance(module := called_module(modules, node), BLOCKS):
            copies[node] = _inline(graph, module, str(node.target), copies[node.all_input_nodes[0]])
        else:
            copies[node] = graph.node_copy(node, lambda each: copies[each])
    copied = fx.GraphModule(network, graph).eval()
    _make_modules(copied)
    return copied


def _inline(graph: fx.Graph, module: nn.Module, path: str, given: fx.Node) -> Any:
    """Add what the module does to the graph; returns the node of its output."""
    copies = dict[fx.Node, fx.Node]()
    inner = fx.symbolic_trace(module).graph
    for node in inner.nodes:
        if node.op == "placeholder":
            copies[node] = given
        elif node.op != "output":
            copies[node] = graph.node_copy(node, lambda each: copies[each])
            if node.op in ("call_module", "get_attr"):
                copies[node].target = f"{path}.{node.target}"
    return copies[inner.output_node().args[0]]  # type: ignore[index]


def is_exactly(module: nn.Module | None, kind: type[M]) -> TypeGuard[M]:
    """Whether it is of just this class, without hooks: a derived one may do other things."""
    if type(module) is not kind:
        return False
    return not (hooks_after(module) or hooks_before(module))


def called_module(modules: dict[str, nn.Module], node: fx.Node | None) -> nn.Module | None:
    """The module that a node calls, if it calls one."""
    if node is None or node.op != "call_module":
        return None
    return modules.get(str(node.target))
