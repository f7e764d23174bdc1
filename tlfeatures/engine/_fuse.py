"""Convolutions take batch norm, activation and addition along, in oneDNN's fused operations.

What PyTorch's compiler does to such networks on a CPU, in a tenth of a second and without a
compiler: batch norms are folded into the convolutions before them, and what follows is done while
the result is still in the processor's cache. The operations are those that `torch._inductor` calls.
"""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn
from torchvision.ops import StochasticDepth

from tlfeatures.backbones import Preprocessing, pool_codes
from tlfeatures.engine._folded import Float32Conv2d, first_convs, fold_batch_norms
from tlfeatures.engine._fused import (
    NONE,
    RELU,
    Activation,
    FusedAttention,
    FusedConv2d,
    FusedFunction,
    FusedLinear,
    PositiveMaxPool2d,
)
from tlfeatures.engine._graph import called_module, is_exactly, only_user, own_tensor
from tlfeatures.engine._pixels import PixelConv2d, is_exact_on_pixels
from tlfeatures.engine.kernels._winograd import ACTIVATIONS, Kernels, WinogradConv2d, suits

ADDITIONS = (operator.add, operator.iadd, torch.add)
SHAPE = "shape"  # among a node's notes
HANDING_ON = (nn.Dropout, nn.Identity, StochasticDepth)  # in eval mode
BY_MODULE: dict[type[nn.Module], Activation] = {
    nn.ReLU: RELU,
    nn.ReLU6: Activation("hardtanh", (0.0, 6.0)),
    nn.SiLU: Activation("swish"),
    nn.Hardswish: Activation("hardswish"),
    nn.Hardsigmoid: Activation("hardsigmoid"),
    nn.Sigmoid: Activation("sigmoid"),
    nn.Tanh: Activation("tanh"),
}
BY_FUNCTION: dict[Any, Activation] = {
    nn.functional.relu: RELU,
    nn.functional.relu_: RELU,
    torch.relu: RELU,
    nn.functional.silu: Activation("swish"),
    torch.sigmoid: Activation("sigmoid"),
}
IN_MEMORY_OF_ITS_OWN = (
    FusedConv2d, WinogradConv2d, PixelConv2d, PositiveMaxPool2d,
    nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d,
)  # fmt: skip


def fuse(
    network: fx.GraphModule,
    dtype: torch.dtype,
    batch: torch.Tensor,
    batch_size: int,
    preprocessing: Preprocessing | None = None,
    kernels: Kernels | None = None,
) -> fx.GraphModule:
    """A network that says the same with fewer, larger operations.

    Parameters
    ----------
    network : fx.GraphModule
        In eval mode, on the CPU, in float32; it is not changed.
    dtype : torch.dtype
        float32 or bfloat16, of convolutions and linear layers, but for the first convolutions, see
        `first_convs`; what else there is takes the type that it is given.
    batch : Tensor of shape (n, 3, H, W)
        An example.
    batch_size : int
        Of the batches that will be run most.
    preprocessing : Preprocessing, optional
        What normalises pictures for it.
    kernels : Kernels, optional
        Our own operations, for one thread; they take over convolutions of 3 x 3 in their type.

    Returns
    -------
    fx.GraphModule
        With a true attribute `takes_pixels` where, in bfloat16, it is faster with pictures that are
        not normalised, uint8, RGB, channels last; it takes normalised ones too.

    Raises
    ------
    Exception
        Whatever PyTorch raises where it has no such operations.
    """
    return _Fuser(network, dtype, batch, batch_size, preprocessing, kernels).run()


def has_linears(network: nn.Module) -> bool:
    """Whether `fuse_linears` has something to do."""
    return any(is_exactly(module, nn.Linear) for module in network.modules())


def fuse_linears(network: nn.Module, dtype: torch.dtype, batch_size: int) -> nn.Module:
    """A copy of a network of unknown graph, whose linear layers are fused operations.

    Parameters
    ----------
    network : nn.Module
        In eval mode, on the CPU, in float32; it is not changed, and shares its other weights.
    dtype : torch.dtype
    batch_size : int

    Raises
    ------
    Exception
        Whatever a network raises that cannot be copied.
    """
    linears = [module for module in network.modules() if is_exactly(module, nn.Linear)]
    fused = {id(each): _standing_for(each, dtype, batch_size) for each in linears}
    shared = {id(each): each for each in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, {**shared, **fused}).eval()


def _standing_for(linear: nn.Linear, dtype: torch.dtype, batch_size: int) -> FusedLinear:
    """The fused layer with what networks look at by themselves; BEiT takes the weights."""
    fused = FusedLinear(linear, NONE, dtype, batch_size)
    for name in ("weight", "bias", "in_features", "out_features"):
        setattr(fused, name, getattr(linear, name))
    return fused


class _Shapes(fx.Interpreter):
    """Notes the shapes of all that is computed; torch's own `ShapeProp` imports a computer algebra.

    It takes as long as all the rest of opening a network.
    """

    def run_node(self, node: fx.Node) -> Any:
        made = super().run_node(node)
        if isinstance(made, torch.Tensor):
            node.meta[SHAPE] = tuple(made.shape)
        return made


class _PixelNetwork(fx.GraphModule):
    """Takes pictures as they are: uint8, RGB; normalised ones too."""

    takes_pixels = True


class _Fuser:
    def __init__(
        self,
        network: fx.GraphModule,
        dtype: torch.dtype,
        batch: torch.Tensor,
        batch_size: int,
        preprocessing: Preprocessing | None,
        kernels: Kernels | None,
    ) -> None:
        self._network, self._dtype, self._batch_size = fold_batch_norms(network), dtype, batch_size
        self._kernels = kernels if kernels is not None and kernels.dtype == dtype else None
        self._graph = self._network.graph
        self._modules = dict(self._network.named_modules())
        self._leave_out_what_hands_on()
        with torch.inference_mode():
            _Shapes(self._network).run(batch)
        self._order = {node: i for i, node in enumerate(self._graph.nodes)}
        self._first = first_convs(self._network)
        self._of_pictures = _all_after_input(self._graph)
        may_take_pixels = dtype == torch.bfloat16 and self._may_take_pixels(preprocessing)
        self._normalising = preprocessing if may_take_pixels else None

    def run(self) -> fx.GraphModule:
        for node in list(self._graph.nodes):
            module = called_module(self._modules, node)
            if is_exactly(module, nn.Conv2d) and _is_plain(module):
                self._fuse_conv(node, module)
            elif is_exactly(module, nn.Linear):
                after, activation = self._activation_after(node)
                fused = FusedLinear(module, activation, self._dtype, self._batch_size)
                self._put(node, fused, after)
            elif is_exactly(module, nn.MultiheadAttention) and self._may_attend_fused(node, module):
                self._put(node, FusedAttention(module, self._dtype, self._batch_size), [])
            elif is_exactly(module, nn.MaxPool2d) and self._may_pool_bits(node, module):
                self._put(node, PositiveMaxPool2d(module), [])
            elif isinstance(module, nn.Conv2d) and node in self._first:
                self._put(node, Float32Conv2d(module), [])
            elif module is not None and has_linears(module):  # it could not be traced
                made = fuse_linears(module, self._dtype, self._batch_size)
                self._put(node, made, [])
            elif self._is_given_weights(node):
                made = FusedFunction(node.target, self._dtype, self._batch_size)
                self._put(node, made, [])
        self._graph.eliminate_dead_code()
        self._network.delete_all_unused_submodules()
        self._network.recompile()
        if self._normalising is not None:
            self._network = _PixelNetwork(self._network, self._graph)
        return self._network.eval()

    def _fuse_conv(self, node: fx.Node, conv: nn.Conv2d) -> None:
        shape = (self._batch_size, *node.args[0].meta[SHAPE][1:])  # type: ignore[union-attr]
        addition = self._addition_after(node)
        after, activation = self._activation_after(node if addition is None else addition)
        if addition is not None and activation != RELU:  # oneDNN knows no other after a sum
            after, activation = [], NONE
        made: nn.Module
        if node in self._first and self._normalising is not None:
            made = PixelConv2d(conv, activation, self._normalising, shape)
        elif self._kernels is not None and suits(conv, shape, self._kernels):
            if activation not in ACTIVATIONS:
                after, activation = [], NONE
            made = WinogradConv2d(conv, activation, self._kernels)
        else:
            dtype = torch.float32 if node in self._first else self._dtype
            made = FusedConv2d(conv, activation, dtype, shape)
        if addition is not None:
            other = next(each for each in addition.args if each is not node)
            node.args = (node.args[0], other)
        self._put(node, made, [*([] if addition is None else [addition]), *after])

    def _is_given_weights(self, node: fx.Node) -> bool:
        """Whether it is a function of pictures and of a matrix of the network's own."""
        if not inspect.isfunction(node.target) or node not in self._of_pictures:
            return False
        own = [own_tensor(self._network, each) for each in node.all_input_nodes]
        return any(isinstance(each, nn.Parameter) and each.ndim == 2 for each in own)

    def _may_attend_fused(self, node: fx.Node, attention: nn.MultiheadAttention) -> bool:
        """Whether it sees one sequence, no mask, and is asked for no weights; in float32.

        In bfloat16 torch's own is as fast.
        """
        is_one = len(node.args) == 3 and len(set(node.args)) == 1
        asks_no_more = dict(node.kwargs) == {"need_weights": False}
        is_fusable = is_one and asks_no_more and FusedAttention.can_fuse(attention)
        return is_fusable and self._dtype == torch.float32

    def _may_pool_bits(self, node: fx.Node, pool: nn.MaxPool2d) -> bool:
        """Whether what is pooled is a fused ReLU's, in bfloat16."""
        given = called_module(self._modules, node.all_input_nodes[0])
        kinds = (FusedConv2d, PixelConv2d, WinogradConv2d)
        is_positive = isinstance(given, kinds) and given.is_positive
        return is_positive and self._dtype == torch.bfloat16 and PositiveMaxPool2d.can_pool(pool)

    def _may_take_pixels(self, preprocessing: Preprocessing | None) -> bool:
        """Whether nothing looks at the network's input but convolutions with an activation.

        What a convolution alone gives may be added to all that follows, as in Swin Transformers; in
        float32 that loses less.
        """
        if preprocessing is None or not is_exact_on_pixels(preprocessing):
            return False
        picture = next(node for node in self._graph.nodes if node.op == "placeholder")
        return all(
            is_exactly(conv := called_module(self._modules, user), nn.Conv2d)
            and _is_plain(conv)
            and conv.groups == 1
            and self._activation_after(user)[1] != NONE
            for user in picture.users
            if not _pools_another(user, picture)
        )

    def _put(self, node: fx.Node, made: nn.Module, replaced: Iterable[fx.Node]) -> None:
        """Let `node` call the new module, and stand for the nodes after it."""
        name = f"fused_{self._order[node]}"
        self._network.add_submodule(name, made)
        self._modules[name] = made
        node.op, node.target = "call_module", name
        for old in replaced:
            old.replace_all_uses_with(node)
            self._graph.erase_node(old)

    def _activation_after(self, node: fx.Node) -> tuple[list[fx.Node], Activation]:
        user = only_user(node)
        if user is None:
            return [], NONE
        if user.op == "call_function" and user.args[0] is node:
            found = _of_function(user)
        else:
            found = _of_module(called_module(self._modules, user))
        return ([], NONE) if found is None else ([user], found)

    def _addition_after(self, node: fx.Node) -> fx.Node | None:
        """The sum that only this node goes into, if the other term's memory is free by then."""
        user = only_user(node)
        if user is None or user.op != "call_function" or user.target not in ADDITIONS:
            return None
        others = [each for each in user.args if each is not node]
        if (
            user.kwargs
            or len(user.args) != 2
            or len(others) != 1
            or not isinstance(others[0], fx.Node)
        ):
            return None
        # One row for all pictures and one for each look alike of one picture.
        same_rows = {others[0], node} <= self._of_pictures
        same_shape = same_rows and _shape(others[0]) == _shape(node)
        return user if same_shape and self._is_free(others[0], node, user) else None

    def _is_free(self, other: fx.Node, node: fx.Node, addition: fx.Node) -> bool:
        """Whether nothing looks at the memory of `other` after `node`, but the addition."""
        chain = [other]
        while _works_in_place(self._modules, chain[-1]):
            chain.append(chain[-1].all_input_nodes[0])
        base = called_module(self._modules, chain[-1])
        if not isinstance(base, IN_MEMORY_OF_ITS_OWN):
            return False
        users = {user for each in chain for user in each.users} - {addition}
        if not all(self._looks_only(user) or user in chain for user in users):
            return False
        return all(self._order[each] < self._order[node] for each in (other, *users))

    def _looks_only(self, node: fx.Node) -> bool:
        """Whether a node hands nothing on that shares memory with what it is given."""
        if node.op == "call_function":
            return node.target is pool_codes
        return isinstance(called_module(self._modules, node), IN_MEMORY_OF_ITS_OWN)

    def _leave_out_what_hands_on(self) -> None:
        for node in list(self._graph.nodes):
            if isinstance(called_module(self._modules, node), HANDING_ON):
                node.replace_all_uses_with(node.all_input_nodes[0])
                self._graph.erase_node(node)
        self._network.recompile()


def _all_after_input(graph: fx.Graph) -> set[fx.Node]:
    """The nodes that depend on the pictures; others are the same for all, and for one."""
    found = set[fx.Node]()
    for node in graph.nodes:
        if node.op == "placeholder" or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def _of_module(module: nn.Module | None) -> Activation | None:
    if is_exactly(module, nn.GELU):
        return Activation("gelu", (), module.approximate)
    return next((found for kind, found in BY_MODULE.items() if is_exactly(module, kind)), None)


def _of_function(node: fx.Node) -> Activation | None:
    if node.target is nn.functional.gelu:
        return Activation("gelu", (), str(node.kwargs.get("approximate", "none")))
    return BY_FUNCTION.get(node.target)


def _is_plain(conv: nn.Conv2d) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _pools_another(node: fx.Node, picture: fx.Node) -> bool:
    """Whether codes are pooled there of something else, whose proportions are the picture's."""
    return node.target is pool_codes and node.args[0] is not picture


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    return node.meta.get(SHAPE)


def _works_in_place(modules: dict[str, nn.Module], node: fx.Node) -> bool:
    return bool(getattr(called_module(modules, node), "inplace", False))
