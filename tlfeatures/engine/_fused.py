"""Layers in oneDNN's fused operations, those that `torch._inductor` calls; for the CPU.

Among them the first convolution in half precision, which takes pixels as they are.
"""

from __future__ import annotations

import copy
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
from tlfeatures.backbones import Preprocessing

MOST_PIXEL = 255


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


class PixelConv2d(nn.Module):
    """A network's first convolution in bfloat16, of pixels as they are.

    bfloat16 rounds normalised pictures, all in one direction where they are flat, which no sum
    averages out. Pixels less a whole number it holds exactly. So the whole part of the mean is
    taken from the pixels; its rest is in the bias, and around the picture, where the padding stands
    for the mean; the deviation is in the weights, see `round_keeping_sums`.

    Parameters
    ----------
    conv : nn.Conv2d
        Of normalised pictures, (n, 3, H, W).
    activation : Activation
    preprocessing : Preprocessing
        One that `is_exact_on_pixels`.
    shape : tuple of int
        Of the input it will see most.

    Attributes
    ----------
    is_positive : bool
        Whether it gives no negative number.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        activation: Activation,
        preprocessing: Preprocessing,
        shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self._of_normalised = FusedConv2d(conv, activation, torch.float32, shape)
        mean = torch.tensor(preprocessing.pixel_mean, dtype=torch.float64)
        self._whole = mean.round().to(torch.bfloat16)
        self._rest = (mean - mean.round()).to(torch.bfloat16)
        self._padding = tuple(int(each) for each in conv.padding)
        n, channels, height, width = shape
        down, right = self._padding
        padded = (n, channels, height + 2 * down, width + 2 * right)
        of_pixels = _without_normalising(conv, preprocessing, mean - mean.round())
        self._of_pixels = FusedConv2d(of_pixels, activation, torch.bfloat16, padded)
        self.is_positive = self._of_pixels.is_positive

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """The activation of the convolution.

        Parameters
        ----------
        batch : Tensor of shape (n, 3, H, W), channels last in memory
            Pixels, uint8, RGB; or a normalised batch, float32.

        Returns
        -------
        Tensor of shape (n, C, H, W), bfloat16 of pixels, float32 of a normalised batch
        """
        made: torch.Tensor
        if batch.dtype != torch.uint8:
            made = self._of_normalised(batch)
        else:
            made = self._of_pixels(self._centre(batch))
        return made

    def _centre(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels less the whole part of the mean, framed by its rest; bfloat16, channels last."""
        n, channels, height, width = pixels.shape
        down, right = self._padding
        tall, wide = height + 2 * down, width + 2 * right
        # Over whole lines of pixels, as in `normalise`.
        framed = torch.empty(n, tall, wide * channels, dtype=torch.bfloat16)
        left, inside = channels * right, slice(down, down + height)
        frame = self._rest.repeat(wide)
        framed[:, :down] = framed[:, down + height :] = frame
        framed[:, inside, :left] = framed[:, inside, left + width * channels :] = frame[:left]
        inner = framed[:, inside, left : left + width * channels]
        inner.copy_(pixels.permute(0, 2, 3, 1).reshape(n, height, width * channels))
        inner.sub_(self._whole.repeat(width))
        return framed.view(n, tall, wide, channels).permute(0, 3, 1, 2)


def is_exact_on_pixels(preprocessing: Preprocessing) -> bool:
    """Whether pixels less its mean are whole numbers that bfloat16 has, but for the mean's rest."""
    return all(0 <= round(each) <= MOST_PIXEL for each in preprocessing.pixel_mean)


def round_keeping_sums(weight: torch.Tensor) -> torch.Tensor:
    """Weights rounded to bfloat16, each with what rounding has left of those before it.

    What a filter makes of a flat area is the sum of its weights over the places; of weights rounded
    one by one, that is off by several roundings, here by one (error diffusion).

    Parameters
    ----------
    weight : Tensor of shape (out, in, height, width)

    Returns
    -------
    Tensor of the same shape, bfloat16
    """
    places = weight.flatten(2).unbind(2)
    rounded, rest = [], torch.zeros_like(places[0])
    for wanted in places:
        rounded.append((wanted + rest).to(torch.bfloat16))
        rest = wanted + rest - rounded[-1]
    return torch.stack(rounded, 2).view_as(weight)


def _without_normalising(
    conv: nn.Conv2d, preprocessing: Preprocessing, rest: torch.Tensor
) -> nn.Conv2d:
    """The convolution, without padding, of pixels less the mean, `rest` left in; RGB."""
    of_pixels = copy.deepcopy(conv)
    of_pixels.padding = (0, 0)
    std = torch.tensor(preprocessing.pixel_std, dtype=torch.float64)
    weight = conv.weight.detach().double()
    if preprocessing.order == "BGR":
        weight = weight.flip(1)
    weight = round_keeping_sums(weight / std[:, None, None])
    bias = -(weight.double() * rest[:, None, None]).sum((1, 2, 3))
    if conv.bias is not None:
        bias += conv.bias.detach()
    of_pixels.weight, of_pixels.bias = (
        nn.Parameter(each.float(), requires_grad=False) for each in (weight, bias)
    )
    return of_pixels


def _pair(numbers: int | tuple[int, int]) -> tuple[int, int]:
    return (numbers, numbers) if isinstance(numbers, int) else (numbers[0], numbers[1])
