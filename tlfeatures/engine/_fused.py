"""Layers in oneDNN's fused operations, those that `torch._inductor` calls; for the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from tlfeatures._torch_private import (
    convolve,
    convolve_and_add,
    is_of_one_width,
    lay_out_convolution,
    lay_out_linear,
    multiply,
)


@dataclass(frozen=True)
class Activation:
    """An activation as oneDNN's fused operations take it.

    Attributes
    ----------
    name : str
    scalars : tuple of float
    algorithm : str
    """

    name: str = "none"
    scalars: tuple[float, ...] = ()
    algorithm: str = ""


NONE = Activation()
RELU = Activation("relu")


class FusedConv2d(nn.Module):
    """A convolution with what follows it, its weights laid out for one size of input.

    Parameters
    ----------
    conv : nn.Conv2d
    activation : Activation
    dtype : torch.dtype
        Of weights, input and output; the bias stays in float32, except where something is added.
    shape : tuple of int
        Of the input it will see most, (n, C, H, W); others work too.

    Attributes
    ----------
    is_positive : bool
        Whether it gives no negative number.
    """

    def __init__(
        self, conv: nn.Conv2d, activation: Activation, dtype: torch.dtype, shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self._geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        weight = conv.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self._weight = lay_out_convolution(weight, self._geometry, shape)
        self._bias = None if conv.bias is None else conv.bias.detach().float()
        self._rounded_bias = None if self._bias is None else self._bias.to(dtype)
        self._dtype = dtype
        self._activation = (activation.name, list(activation.scalars), activation.algorithm)
        self.is_positive = activation == RELU

    def forward(self, batch: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        """The activation of convolution (+ other); `other` is overwritten."""
        batch = batch.to(self._dtype)
        if other is None:
            return convolve(batch, self._weight, self._bias, self._geometry, self._activation)
        return convolve_and_add(
            batch,
            other.to(self._dtype),
            self._weight,
            self._rounded_bias,  # this operation takes no other
            self._geometry,
            self._activation if self._activation[0] == "relu" else (None, [], None),
        )


class FusedLinear(nn.Module):
    """A linear layer with the activation that follows it.

    In float32 it is more than twice as fast as `nn.Linear` on AMD, where that is MKL's.

    Parameters
    ----------
    linear : nn.Linear
    activation : Activation
    dtype : torch.dtype
    batch_size : int
    """

    def __init__(
        self, linear: nn.Linear, activation: Activation, dtype: torch.dtype, batch_size: int
    ) -> None:
        super().__init__()
        weight = linear.weight.detach().to(dtype)
        self._weight = lay_out_linear(weight, batch_size)
        self._bias = None if linear.bias is None else linear.bias.detach().float()
        self._dtype = dtype
        self._activation = (activation.name, list(activation.scalars), activation.algorithm)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """The activation of the linear layer."""
        return multiply(batch.to(self._dtype), self._weight, self._bias, self._activation)


class FusedAttention(nn.Module):
    """Attention of a sequence to itself, its linear layers fused.

    Parameters
    ----------
    attention : nn.MultiheadAttention
        One of `can_fuse`.
    dtype : torch.dtype
    batch_size : int
    """

    def __init__(
        self, attention: nn.MultiheadAttention, dtype: torch.dtype, batch_size: int
    ) -> None:
        super().__init__()
        width = attention.embed_dim
        inward = nn.Linear(width, 3 * width, device="meta")
        inward.weight, inward.bias = attention.in_proj_weight, attention.in_proj_bias
        self._inward = FusedLinear(inward, NONE, dtype, batch_size)
        self._outward = FusedLinear(attention.out_proj, NONE, dtype, batch_size)
        self._n_heads = attention.num_heads

    @staticmethod
    def can_fuse(attention: nn.MultiheadAttention) -> bool:
        """Whether queries, keys and values are made alike, of nothing but the sequence."""
        is_alone = attention.bias_k is None and not attention.add_zero_attn
        return attention.batch_first and is_of_one_width(attention) and is_alone

    def forward(self, batch: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """What attention gives (n, length, width), and no weights.

        `nn.MultiheadAttention` is called with the same sequence three times.
        """
        n, length, width = batch.shape
        parts = self._inward(batch).view(n, length, 3, self._n_heads, width // self._n_heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        made = nn.functional.scaled_dot_product_attention(queries, keys, values)
        return self._outward(made.transpose(1, 2).reshape(n, length, width)), None


class FusedFunction(nn.Module):
    """A function that is given weights, as in torchvision's Swins, the linear layers in it fused.

    Parameters
    ----------
    function : callable
        In Python; what it gives `nn.functional.linear` is laid out the first time.
    dtype : torch.dtype
    batch_size : int
    """

    def __init__(self, function: Callable[..., Any], dtype: torch.dtype, batch_size: int) -> None:
        super().__init__()
        self._function, self._dtype, self._batch_size = function, dtype, batch_size
        self._linears: dict[tuple[torch.Tensor, torch.Tensor | None], FusedLinear] = {}

    def forward(self, *given: Any, **words: Any) -> Any:
        """What the function gives."""
        with _Linears(self._linear):
            return self._function(*given, **words)

    def _linear(
        self,
        input: torch.Tensor,  # noqa: A002  torch's name for it
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`nn.functional.linear`; what is no parameter was computed for this batch."""
        if not isinstance(weight, nn.Parameter):
            return nn.functional.linear(input, weight, bias)
        own = bias if isinstance(bias, nn.Parameter) else None
        if (weight, own) not in self._linears:
            linear = nn.Linear(weight.shape[1], len(weight), own is not None, device="meta")
            linear.weight, linear.bias = weight, own  # type: ignore[assignment]
            self._linears[weight, own] = FusedLinear(linear, NONE, self._dtype, self._batch_size)
        made: torch.Tensor = self._linears[weight, own](input)
        return made if bias is None or bias is own else made + bias.to(made.dtype)


class _Linears(TorchFunctionMode):
    """In this thread another function stands for `nn.functional.linear`."""

    def __init__(self, linear: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self._linear = linear

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        given: tuple[Any, ...] = (),
        words: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is nn.functional.linear:
            function = self._linear
        return function(*given, **(words or {}))


class PositiveMaxPool2d(nn.Module):
    """Max pooling of what a ReLU gives, in bfloat16, more than twice as fast as torch's.

    Numbers that are not negative are in the order of their bits, and whole numbers are compared
    without being widened first.

    Parameters
    ----------
    pool : nn.MaxPool2d
        One of `can_pool`.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self._pool, self._overlaps = pool, _pair(pool.kernel_size) == (3, 3)

    @staticmethod
    def can_pool(pool: nn.MaxPool2d) -> bool:
        """Whether its windows are 2 wide side by side, or 3 wide and overlapping, 2 apart."""
        kernel, padding = _pair(pool.kernel_size), _pair(pool.padding)
        is_known = (kernel, padding) in {((2, 2), (0, 0)), ((3, 3), (1, 1))}
        is_plain = not pool.ceil_mode and _pair(pool.dilation) == (1, 1)
        return is_known and is_plain and _pair(pool.stride) == (2, 2) and not pool.return_indices

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """The largest in each window; odd sides and other types are left to torch."""
        _, _, height, width = batch.shape
        is_last = batch.is_contiguous(memory_format=torch.channels_last)
        made: torch.Tensor
        if batch.dtype != torch.bfloat16 or height % 2 or width % 2 or not is_last:
            made = self._pool(batch)
        else:
            made = self._pool_in_passes(batch)
        return made

    def _pool_in_passes(self, batch: torch.Tensor) -> torch.Tensor:
        n, channels, height, width = batch.shape
        pixels = batch.permute(0, 2, 3, 1)
        pooled = torch.empty(n, height // 2, width // 2, channels, dtype=torch.int16)
        # Picture by picture, as what lies between fits into the processor's cache.
        rows = torch.empty(height // 2, width * channels, dtype=torch.int16)
        columns = rows.view(height // 2, width, channels)
        for bits, found in zip(pixels.view(torch.int16), pooled, strict=True):
            self._halve(bits.view(height, -1), rows, 0)
            self._halve(columns, found, 1)
        return pooled.view(torch.bfloat16).permute(0, 3, 1, 2)

    def _halve(self, lines: torch.Tensor, out: torch.Tensor, dim: int) -> None:
        """Of 2 m numbers the larger of each two neighbours, and of the one before them."""
        first, second = lines.unflatten(dim, (-1, 2)).unbind(dim + 1)
        torch.maximum(first, second, out=out)
        if self._overlaps:
            n_others = out.shape[dim] - 1
            others = out.narrow(dim, 1, n_others)
            torch.maximum(others, second.narrow(dim, 0, n_others), out=others)


def _pair(numbers: int | tuple[int, int]) -> tuple[int, int]:
    return (numbers, numbers) if isinstance(numbers, int) else (numbers[0], numbers[1])
