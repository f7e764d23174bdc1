"""What a file's header says of a picture, without decoding it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from PIL import Image

from tlfeatures.pictures.decoding._open import open_file, reasons, unloaded
from tlfeatures.pictures.decoding._quiet import quiet_pillow

START = 1 << 16  # bytes that hold the header of nearly every file
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Header:
    """A picture's header.

    Attributes
    ----------
    kind : str
        The format, such as "JPEG"; "in memory" for one that is no file.
    width, height : int
        In pixels, as stored: EXIF orientation is not applied.
    is_deep : bool
        Whether it has more than 8 bits per channel.
    bytes : int
        Of the file.
    """

    kind: str
    width: int
    height: int
    is_deep: bool
    bytes: int


def read_header(item: Any) -> Header:
    """The header of a file or of a picture in memory.

    Raises
    ------
    ImageReadError
        If the file cannot be read, or is no picture by its header.
    """
    if not isinstance(item, (str, os.PathLike)):
        picture = unloaded(item)
        return Header("in memory", *picture.size, picture.mode in DEEP, 0)
    with open_file(item) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(START)
        try:
            picture = _open(start)
        except Exception:
            if len(start) >= size:
                raise
            picture = _open(start + file.read())
    return Header(str(picture.format), *picture.size, picture.mode in DEEP, size)


def _open(data: bytes) -> Image.Image:
    with quiet_pillow(), reasons():
        return unloaded(data)
