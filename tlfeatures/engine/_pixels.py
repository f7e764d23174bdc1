"""The first convolution in half precision, of pixels as they are; for the CPU."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tlfeatures.backbones import Preprocessing
from tlfeatures.engine._fused import Activation, FusedConv2d

MOST_PIXEL = 255


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
