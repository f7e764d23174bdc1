"""What torch does not document: all that is used of it stands here, with a way without it.

An error raised in here, where a name has gone, leaves a network as it is written: it runs unfused,
which the log says. A test says which name it is.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import nn

COMPILER = "torch._dynamo.utils"
Words = tuple[
    str | None, Sequence[Any], str | None
]  # an activation, as oneDNN's operations take it


def lay_out_convolution(
    weight: torch.Tensor, geometry: Sequence[Any], shape: tuple[int, ...]
) -> torch.Tensor:
    """Weights of a convolution as oneDNN reads them fastest, for inputs of that shape.

    Parameters
    ----------
    weight : Tensor of shape (out, in, height, width)
    geometry : (padding, stride, dilation, groups)
    shape : tuple of int
        (n, C, H, W)
    """
    made: torch.Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, shape)
    return made


def convolve(
    batch: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    geometry: Sequence[Any],
    activation: Words,
) -> torch.Tensor:
    """Activation of a convolution; batch of shape (n, C, H, W)."""
    made: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
        batch, weight, bias, *geometry, *activation
    )
    return made


def convolve_and_add(
    batch: torch.Tensor,
    other: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    geometry: Sequence[Any],
    activation: Words,
) -> torch.Tensor:
    """Activation of a convolution and `other`, of the result's shape, which is overwritten."""
    made: torch.Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
        other, batch, weight, bias, *geometry, "add", 1.0, *activation
    )
    return made


def lay_out_linear(weight: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Weights (out, in) of a linear layer as oneDNN reads them fastest."""
    made: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, batch_size)
    return made


def multiply(
    batch: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, activation: Words
) -> torch.Tensor:
    """Activation of a linear layer; batch of shape (..., in)."""
    made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(batch, weight, bias, *activation)
    return made


def is_of_one_width(attention: nn.MultiheadAttention) -> bool:
    """Whether queries, keys and values are made by one matrix; not, as far as that is not known."""
    return bool(getattr(attention, "_qkv_same_embed_dim", False))


def hooks_before(module: nn.Module) -> Mapping[int, Any]:
    """What is called before a module's forward pass."""
    return module._forward_pre_hooks


def hooks_after(module: nn.Module) -> Mapping[int, Any]:
    """What is called after a module's forward pass."""
    return module._forward_hooks


def is_assertion(target: Any) -> bool:
    """Whether a node of a graph calls torch's own `assert`."""
    return target is not None and target is getattr(torch, "_assert", None)


def versions_of(state: Any) -> dict[str, Any]:
    """By a module's path, which version of it a state dict was written by; empty if not known."""
    versions: dict[str, Any] = getattr(state, "_metadata", {})
    return versions


def with_versions(state: Any, versions: Mapping[str, Any]) -> None:
    """Say that of a state dict, an OrderedDict."""
    state._metadata = versions


def loads_its_own_way(module: nn.Module) -> bool:
    """Whether it changes names or values, or itself; batch norms only add a counter."""
    own, *usual = (
        getattr(kind, "_load_from_state_dict", None)
        for kind in (type(module), nn.Module, nn.BatchNorm2d)
    )
    hooks = getattr(module, "_load_state_dict_pre_hooks", None)
    return own is not None and (own not in usual or bool(hooks))


def load_its_own_way(
    module: nn.Module, state: Mapping[str, Any], prefix: str, facts: dict[str, Any]
) -> None:
    """Let one of `loads_its_own_way` change names and values of a state dict, by its version."""
    module._load_from_state_dict(state, prefix, facts, False, [], [], [])


def change_tensors(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Replace all parameters and buffers by what is made of them; False if that cannot be done."""
    apply = getattr(module, "_apply", None)
    if apply is None:
        return False
    apply(change)
    return True


def multiplies_in_bf16() -> bool:
    """Whether torch says that this CPU multiplies matrices in bfloat16; not, if it does not."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name)() for name in names if hasattr(torch.cpu, name))


class _StandIn(ModuleType):
    """Stands for a module until something of it is needed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system looks for
            raise AttributeError(name)
        return getattr(_real(), name)


def is_compile_supported(device_type: Any) -> Any:
    """What the real one says."""
    return _real().is_compile_supported(device_type)


is_compile_supported._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as the real one


def _real() -> Any:
    _remove_stand_in()
    return importlib.import_module(COMPILER)


def _remove_stand_in() -> None:
    if isinstance(sys.modules.get(COMPILER), _StandIn):
        sys.modules.pop(COMPILER, None)  # another thread may have been faster


@contextmanager
def without_compiler() -> Iterator[None]:
    """What is imported inside gets a stand-in for the compiler's utilities, if they are not loaded.

    Whatever is asked of it, the real ones answer.
    """
    if COMPILER not in sys.modules:
        stand_in = _StandIn(COMPILER)
        stand_in.is_compile_supported = is_compile_supported  # type: ignore[attr-defined]
        sys.modules[COMPILER] = stand_in
    try:
        yield
    finally:
        _remove_stand_in()
