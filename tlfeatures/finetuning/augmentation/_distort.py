"""One training picture, varied: torchvision's operations in the order that loses least."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from tlfeatures.errors import UsageError
from tlfeatures.finetuning.augmentation._augment import Augmentation

STRETCH = (3 / 4, 4 / 3)  # torchvision's own, of every ImageNet recipe
FILTER_REACH = 1  # pixels that bilinear interpolation looks beyond


class Distort:
    """Cuts a region out of a picture, turns, shears, flips and colours it.

    The region is cut first, with as much around it as turning needs, so that its corners show the
    picture as far as there is one, whatever its shape. Beyond its edge the picture is mirrored:
    black or mean-coloured wedges would be a mark that no picture has at evaluation, and edge pixels
    drawn out give stripes; a mirror keeps colours and textures.

    Parameters
    ----------
    augmentation : Augmentation
    out_size : int
        Side of the square, in pixels.

    Raises
    ------
    UsageError
        If `out_size` is below 1.
    """

    def __init__(self, augmentation: Augmentation, out_size: int) -> None:
        if out_size < 1:
            raise UsageError(f"size {out_size} of the augmented pictures must be at least 1.")
        self.augmentation = augmentation
        self.out_size = out_size
        a = augmentation
        self._crop = None if a.zoom is None else v2.RandomResizedCrop(out_size, a.zoom, STRETCH)
        self._jitter = v2.ColorJitter(a.brightness, a.contrast, a.saturation, a.hue)

    def __call__(self, picture: Tensor) -> Tensor:
        """Vary one picture.

        Parameters
        ----------
        picture : Tensor of shape (3, H, W), uint8

        Returns
        -------
        Tensor of shape (3, out_size, out_size), uint8
        """
        picture = self._at_least_out_size(picture)
        region = self._region(picture)
        angle, shear = _draw(self.augmentation.rotation), _draw(self.augmentation.shear)
        cut = functional.resize(_turned(picture, region, angle, shear), [self.out_size] * 2)
        if self.augmentation.flip and torch.rand(1) < 0.5:
            cut = functional.horizontal_flip(cut)
        coloured: Tensor = self._jitter(cut)
        return coloured

    def _at_least_out_size(self, picture: Tensor) -> Tensor:
        """A picture smaller than the crop with the black border that evaluation gives it."""
        size = [max(side, self.out_size) for side in picture.shape[-2:]]
        padded: Tensor = functional.center_crop(picture, size)
        return padded

    def _region(self, picture: Tensor) -> tuple[int, int, int, int]:
        """Top, left, height, width of what is cut out."""
        if self._crop is None:
            top, left = (round((side - self.out_size) / 2.0) for side in picture.shape[-2:])
            return top, left, self.out_size, self.out_size
        found = self._crop.make_params([picture])
        return found["top"], found["left"], found["height"], found["width"]


def make_transform(augmentation: Augmentation, out_size: int) -> Distort:
    """The function that varies one picture; it can be sent to other processes.

    Parameters
    ----------
    augmentation : Augmentation
    out_size : int
        Side of the square that the network sees, in pixels.

    Returns
    -------
    callable
        Takes a uint8 tensor of shape (3, H, W), the picture as `Preprocessing.resized` gives it,
        and gives one of shape (3, out_size, out_size). It draws from torch's generator, so that
        `torch.manual_seed` settles what comes. Without variation it is evaluation's centre crop.

    Raises
    ------
    UsageError
        If `out_size` is below 1.
    """
    return Distort(augmentation, out_size)


def _turned(
    picture: Tensor, region: tuple[int, int, int, int], angle: float, shear: float
) -> Tensor:
    """The region of the picture, turned and sheared about its centre; angles in degrees."""
    top, left, height, width = region
    if angle == 0 and shear == 0:
        return picture[:, top : top + height, left : left + width]
    down, across = _margins(height, width, angle, shear)
    rows = _mirrored(top - down, top + height + down, picture.shape[1])
    columns = _mirrored(left - across, left + width + across, picture.shape[2])
    turned = functional.affine(
        picture[:, rows][:, :, columns],
        angle=angle,
        translate=[0, 0],
        scale=1.0,
        shear=[shear, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    cut: Tensor = functional.center_crop(turned, [height, width])
    return cut


def _margins(height: int, width: int, angle: float, shear: float) -> tuple[int, int]:
    """How far above (and below), left (and right) of a region its corners come from.

    A corner is first turned back, which takes it at most to (x, y), then sheared back.
    """
    turn = math.radians(angle)
    sine, cosine = abs(math.sin(turn)), abs(math.cos(turn))
    y = (width * sine + height * cosine) / 2
    x = (width * cosine + height * sine) / 2 + abs(math.tan(math.radians(shear))) * y
    beyond = (math.ceil(reach - side / 2) for reach, side in ((y, height), (x, width)))
    down, across = (max(0, margin) + FILTER_REACH for margin in beyond)
    return down, across


def _mirrored(start: int, stop: int, n: int) -> Tensor:
    """Rows start..stop of a picture that has n, mirrored at its edges as often as it takes."""
    rows = torch.arange(start, stop) % (2 * n)
    return torch.minimum(rows, 2 * n - 1 - rows)


def _draw(most: float) -> float:
    """Between -most and most; nothing is drawn where nothing varies."""
    return float(torch.empty(1).uniform_(-most, most)) if most else 0.0
