"""Convolutions of 3 x 3 by Winograd's method, see `_winograd.cpp`; for the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tlfeatures.engine._fused import NONE, RELU, Activation
from tlfeatures.engine._settings import DTYPES
from tlfeatures.engine.kernels._kernels import WINOGRAD, load

INNER, OUTER = 4, 6  # pixels that a tile gives, and that it looks at
POINTS = {  # and infinity
    torch.float32: (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)),
    torch.bfloat16: (0.0, 1.0, -1.0, 0.5, -2.0),
}
# Below, spreading and gathering use up nearly all that is saved; bfloat16's products take half the
# time. 64 is also where `share_3x3_of` calls them wide.
LEAST_CHANNELS = {torch.float32: 32, torch.bfloat16: 64}
LEAST_SAVED = 2.0  # direct multiplications by those that are left; 4.0 where sides are fours
FEW, MANY = 48, 96  # tiles that stay in the second cache, of narrow layers and of wide ones
WIDE = 256
ACTIVATIONS = (NONE, RELU)  # that it takes along


@dataclass(frozen=True)
class Kernels:
    """The compiled operations.

    Attributes
    ----------
    functions : ctypes.CDLL
    lanes : int
        Numbers that a vector of the processor holds.
    dtype : torch.dtype
        Of pictures and weights.
    """

    functions: Any
    lanes: int
    dtype: torch.dtype


def load_kernels(path: Path, precision: str) -> Kernels:
    """The operations in a file that `build` has made, for a precision of `WINOGRAD`.

    Raises
    ------
    OSError
        If it cannot be loaded, or is for another precision.
    """
    functions, dtype = load(WINOGRAD[precision], path), DTYPES[precision]
    if functions.winograd_together() * dtype.itemsize != torch.float32.itemsize:
        raise OSError(f"{path} is not for {precision}")
    return Kernels(functions, int(functions.winograd_lanes()), dtype)


class WinogradConv2d(nn.Module):
    """A convolution with what follows it, in a quarter of the multiplications, for one thread.

    Parameters
    ----------
    conv : nn.Conv2d
        One that `suits`.
    activation : Activation
        One of `ACTIVATIONS`.
    kernels : Kernels

    Attributes
    ----------
    is_positive : bool
        Whether it gives no negative number.
    """

    def __init__(self, conv: nn.Conv2d, activation: Activation, kernels: Kernels) -> None:
        super().__init__()
        self._functions, self._padding = kernels.functions, int(conv.padding[0])
        self._dtype, self.is_positive = kernels.dtype, activation == RELU
        self._channels, self._filters = conv.in_channels, conv.out_channels
        width = kernels.lanes * self._functions.winograd_columns(self._filters)
        together = self._functions.winograd_together()
        self._weight = _spread(conv.weight.detach(), width, together, self._dtype)
        bias = torch.zeros(self._filters) if conv.bias is None else conv.bias.detach()
        self._bias = bias.float().contiguous()
        self._block = MANY if max(self._channels, self._filters) >= WIDE else FEW
        self._scratch = self._functions.winograd_scratch(self._channels, self._filters, self._block)

    def forward(self, batch: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        """The activation of convolution (+ other); `other` is overwritten."""
        batch = batch.to(self._dtype).contiguous(memory_format=torch.channels_last)
        n, _, height, width = batch.shape
        lost = 2 - 2 * self._padding
        shape = (n, self._filters, height - lost, width - lost)
        if other is None:
            made = torch.empty(shape, dtype=self._dtype, memory_format=torch.channels_last)
        elif other.shape == shape:
            made = other.to(self._dtype).contiguous(memory_format=torch.channels_last)
        else:  # it is written over, number by number
            raise RuntimeError(f"numbers of shape {tuple(other.shape)} added to {shape}")
        scratch = torch.empty(self._scratch, dtype=torch.uint8)
        self._functions.winograd_convolve(
            batch.data_ptr(), self._weight.data_ptr(), self._bias.data_ptr(),
            None if other is None else made.data_ptr(), made.data_ptr(),
            n, height, width, self._channels, self._filters, self._padding, self._block,
            self.is_positive, scratch.data_ptr(),
        )  # fmt: skip
        return made


def suits(conv: nn.Conv2d, shape: tuple[int, ...], kernels: Kernels) -> bool:
    """Whether a convolution of batches of this shape is one of these, and faster as one.

    Parameters
    ----------
    conv : nn.Conv2d
        With zeros, if any, around the picture.
    shape : tuple of int
        (n, C, H, W) of its input.
    kernels : Kernels
    """
    lost = 2 - 2 * int(conv.padding[0])  # pixels of a side
    return (
        conv.kernel_size == (3, 3)
        and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
        and conv.padding in {(0, 0), (1, 1)}
        and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS[kernels.dtype]
        and conv.in_channels % kernels.lanes == conv.out_channels % kernels.lanes == 0
        and saved(shape[2] - lost, shape[3] - lost) >= LEAST_SAVED
    )


def saved(height: int, width: int) -> float:
    """Multiplications of a direct convolution by those of this one, for a map of this size."""
    tiles = -(-height // INNER) * -(-width // INNER)
    return 9 * height * width / (OUTER**2 * tiles) if tiles else 0.0


def _spread(weight: torch.Tensor, width: int, together: int, dtype: torch.dtype) -> torch.Tensor:
    """G g G' of the weights, computed in float64.

    Parameters
    ----------
    weight : Tensor of shape (filters, channels, 3, 3)
    width : int
        Filters that are computed together.
    together : int
        Channels that lie side by side.
    dtype : torch.dtype

    Returns
    -------
    Tensor of shape (36, filters / width, channels / together, width, together)
    """
    filters, channels = weight.shape[:2]
    to_places = torch.kron(_interpolation(dtype), _interpolation(dtype))  # of (y, x) to (y, x)
    spread = to_places @ weight.double().reshape(filters * channels, 9).T
    spread = spread.view(OUTER**2, filters // width, width, channels // together, together)
    return spread.to(dtype).transpose(2, 3).contiguous()


def _interpolation(dtype: torch.dtype) -> torch.Tensor:
    """G, (6, 3), float64: a polynomial's values at the points, each by its Lagrange divisor."""
    points = torch.tensor(POINTS[dtype], dtype=torch.float64)
    powers = points[:, None] ** torch.arange(3)
    differences = points[:, None] - points + torch.eye(len(points), dtype=torch.float64)
    at_infinity = torch.tensor([[0, 0, 1]], dtype=torch.float64)
    return torch.cat([powers / differences.prod(1, keepdim=True), at_infinity])
