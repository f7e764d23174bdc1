"""Pictures as the training loop takes them: augmented for training, as they are for judging."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from tlfeatures.backbones import Preprocessing
from tlfeatures.pictures import DecodeOptions, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from tlfeatures.backbones import OwnPreprocessing

MEMORY = 2 << 30  # bytes of decoded pictures that are kept; the rest is decoded each epoch
LONGEST_SIDES = 2  # of a kept picture, in short sides
Transform = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers from this seed on, on every device; the caller's come back."""
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with torch.random.fork_rng(devices=range(n_gpus)):
        torch.manual_seed(seed)
        yield


class LabelledPictures(Dataset[tuple[torch.Tensor, int]]):
    """Prepared pictures (H, W, 3), uint8, with class numbers; decoded once where memory allows.

    Parameters
    ----------
    items : sequence of path, PIL picture or array
    y : ndarray of shape (n,), int
    preprocessing : Preprocessing or OwnPreprocessing
    options : DecodeOptions
    transform : callable or None
        Augmentation, (3, H, W) to (3, input_size, input_size); None: as for codes.
    """

    def __init__(
        self,
        items: Sequence[Any],
        y: NDArray[np.intp],
        preprocessing: Preprocessing | OwnPreprocessing,
        options: DecodeOptions,
        transform: Transform | None = None,
    ) -> None:
        self.items, self.y = items, y
        self._preprocessing, self._options, self._transform = preprocessing, options, transform
        self._kept: dict[int, torch.Tensor] = {}
        self._free = MEMORY

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        pixels = self._pixels(i)
        if self._transform is not None:
            pixels = self._transform(pixels.permute(2, 0, 1)).permute(1, 2, 0)
        return pixels, int(self.y[i])

    def _pixels(self, i: int) -> torch.Tensor:
        if i in self._kept:
            return self._kept[i]
        picture = decode(self.items[i], self._options, check=False)
        if self._transform is not None and isinstance(self._preprocessing, Preprocessing):
            made = torch.from_numpy(np.array(_middle(self._preprocessing.resized(picture))))
        else:
            made = torch.from_numpy(self._preprocessing.prepare(picture))
        if made.nbytes <= self._free:
            self._free -= made.nbytes
            self._kept[i] = made
        return made


def _middle(picture: Image.Image) -> Image.Image:
    """What is left of a long picture when its long side is cut to twice the short one."""
    most = LONGEST_SIDES * min(picture.size)
    left, top = (max(0, (side - most) // 2) for side in picture.size)
    return picture.crop((left, top, picture.width - left, picture.height - top))
