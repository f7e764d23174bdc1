"""What augmentation makes of a folder's pictures, as a sheet to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from tlfeatures._parameters import seed_of
from tlfeatures.backbones import OwnPreprocessing, Preprocessing
from tlfeatures.errors import ImageReadError, PicturesError, UsageError
from tlfeatures.finetuning._data import seeded
from tlfeatures.finetuning.augmentation._augment import PRESETS, Augmentation
from tlfeatures.finetuning.augmentation._distort import Distort, make_transform
from tlfeatures.pictures import DecodeOptions, Pictures, as_pictures, contact_sheet, decode

LEAST_THUMB, MOST_THUMB = 96, 160


@dataclass(frozen=True)
class AugmentationSheet:
    """Rows of samples.

    Attributes
    ----------
    picture : PIL.Image.Image
        One row a picture: first as evaluation sees it, then as training may.
    augmentation : str
        In words.
    input_size, n_columns : int
        Side of a sample in pixels before it was shrunk for the sheet; samples of each picture.
    shown : list of (path, label or None)
        From top to bottom.
    bad : list of (path, reason)
        Those that would have been shown if they could be read.
    """

    picture: Image.Image = field(repr=False)
    augmentation: str
    input_size: int
    n_columns: int
    shown: list[tuple[str, str | None]]
    bad: list[tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the sheet itself."""
        return {
            "augmentation": self.augmentation,
            "input_size": self.input_size,
            "columns": self.n_columns,
            "pictures": [{"path": path, "label": label} for path, label in self.shown],
            "bad": [{"path": path, "reason": reason} for path, reason in self.bad],
        }


def draw_augmentation(
    X: Any,
    augmentation: Augmentation,
    preprocessing: Preprocessing | OwnPreprocessing,
    *,
    n_rows: int = 6,
    n_columns: int = 7,
    random_state: int | np.random.RandomState | None = 0,
    decode_options: DecodeOptions | None = None,
) -> AugmentationSheet:
    """Draw pictures, spread over the classes, and what augmentation makes of them.

    Parameters
    ----------
    X : Pictures, folder or list of pictures
        Of pictures with a split only those for training, which alone are augmented.
    augmentation : Augmentation
    preprocessing : Preprocessing
        Of the network that is going to be trained: it settles the size, and evaluation's crop.
    n_rows, n_columns : int
        Pictures, and samples of each.
    random_state : int, RandomState or None
        The same number gives the same sheet.
    decode_options : DecodeOptions, optional

    Raises
    ------
    UsageError
        If pictures are prepared by a function of one's own, which leaves nothing to augment.
    PicturesError
        If none of the pictures can be read.
    """
    if not isinstance(preprocessing, Preprocessing):
        raise UsageError(
            "pictures are prepared by a function of your own, which gives the network's input at "
            "once; augmentation needs a Preprocessing: give `preprocess` by name."
        )
    pictures, random_state = _for_training(as_pictures(X)), seed_of(random_state)
    read, bad = _read_some(pictures, n_rows, random_state, decode_options)
    if not read:
        first = "; the first: {}: {}".format(*bad[0]) if bad else "."
        raise PicturesError(f"none of the {len(pictures)} pictures can be read{first}")
    side = preprocessing.input_size
    vary = make_transform(augmentation, side)
    with seeded(random_state):
        rows = [_row(picture, preprocessing, vary, n_columns) for picture in read.values()]
    labels = pictures.labels
    shown = [(pictures.paths[i], None if labels is None else str(labels[i])) for i in read]
    sheet = contact_sheet(
        rows,
        captions=[[_caption(*pair)] for pair in shown],
        title=f"{_name(augmentation)}   (framed: as evaluation sees it)",
        thumb=min(max(side, LEAST_THUMB), MOST_THUMB),
    )
    return AugmentationSheet(sheet, augmentation.words, side, n_columns, shown, bad)


def _row(picture: Image.Image, preprocessing: Preprocessing, vary: Distort, n: int) -> list[Any]:
    """Evaluation's square and `n` augmented ones, as uint8 arrays of shape (side, side, 3)."""
    pixels = torch.from_numpy(np.array(preprocessing.resized(picture))).permute(2, 0, 1)
    varied = [vary(pixels).permute(1, 2, 0).numpy() for _ in range(n)]
    return [preprocessing.prepare(picture), *varied]


def _for_training(pictures: Pictures) -> Pictures:
    if pictures.split is None or not (pictures.split == "train").any():
        return pictures
    some: Pictures = pictures[pictures.split == "train"]
    return some


def _read_some(
    pictures: Pictures, n: int, seed: int, options: DecodeOptions | None
) -> tuple[dict[int, Image.Image], list[tuple[str, str]]]:
    """Up to `n` pictures by row, ascending, and the bad ones met on the way."""
    read: dict[int, Image.Image] = {}
    bad: list[tuple[str, str]] = []
    for i in _spread(pictures, seed):
        if len(read) == n:
            break
        try:
            read[i] = decode(pictures.items[i], options)
        except ImageReadError as error:
            bad.append((pictures.paths[i], str(error)))
    return dict(sorted(read.items())), bad


def _spread(pictures: Pictures, seed: int) -> Iterator[int]:
    """All rows in random order, one of each class before the second of any."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pictures), generator=generator).tolist()
    seen: Counter[str] = Counter()
    turns: dict[int, int] = {}
    for i in order:
        label = "" if pictures.labels is None else str(pictures.labels[i])
        turns[i] = seen[label]
        seen[label] += 1
    return iter(sorted(order, key=turns.__getitem__))


def _name(augmentation: Augmentation) -> str:
    names = {preset: f"{name}: " for name, preset in PRESETS.items() if name != preset.words}
    return names.get(augmentation, "") + augmentation.words


def _caption(path: str, label: str | None) -> str:
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    return name if label is None else f"{label}\n{name}"
