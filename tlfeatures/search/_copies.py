"""Which pictures of an index are a query's own file, or copies of it."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures import DecodeOptions, Pictures, content_digest, decode, row_key

FILE, PIXELS = "file", "pixels"
# Cosine distance up to which pixels are compared. Equal ones give codes that differ by rounding:
# in half precision by a cosine of 0.9995 at most (docs/numerics.md).
NEAR = {"float32": 1e-5}
NEAR_HALF = 2e-3


class Contents:
    """What the pictures of an index are known by; each is decoded once at most, if at all.

    Parameters
    ----------
    pictures : Pictures of length n
    keys : sequence of n bytes
        Row keys.
    options : DecodeOptions
    """

    def __init__(self, pictures: Pictures, keys: Sequence[bytes], options: DecodeOptions) -> None:
        self.pictures, self.options = pictures, options
        self._rows_of: dict[bytes, list[int]] = defaultdict(list)
        for row, key in enumerate(keys):
            self._rows_of[key].append(row)
        self._pixels: dict[int, bytes | None] = {}

    def rows_of(self, key: bytes) -> list[int]:
        """Rows of exactly this content."""
        return self._rows_of.get(key, [])

    def place_of(self, row: int) -> str | None:
        """See `place_of`."""
        return place_of(self.pictures.items[row])

    def pixels_of(self, row: int) -> bytes | None:
        """See `pixels_of`."""
        if row not in self._pixels:
            self._pixels[row] = pixels_of(self.pictures.items[row], self.options)
        return self._pixels[row]


class Query:
    """One query beside the contents of an index.

    Parameters
    ----------
    item : str, PIL picture or array
    contents : Contents

    Raises
    ------
    ImageReadError
        If its bytes cannot be had.
    """

    def __init__(self, item: Any, contents: Contents) -> None:
        self._item, self._contents = item, contents
        self._place = place_of(item)
        self.same = contents.rows_of(row_key(content_digest(item), contents.options))
        self._pixels: bytes | None = None

    def is_own(self, row: int) -> bool:
        """Whether it is the query's own file, by whatever links; a picture in memory has none."""
        return self._place is not None and self._place == self._contents.place_of(row)

    def kind_of(self, row: int, *, is_near: bool) -> str | None:
        """In what a row is a copy of the query: "file", "pixels", or None if it is none."""
        if row in self.same:
            return PIXELS if self._place is None else FILE
        if not is_near:
            return None
        if self._pixels is None:
            self._pixels = pixels_of(self._item, self._contents.options)
        found = self._contents.pixels_of(row)
        return PIXELS if found is not None and found == self._pixels else None


def near(precision: str, metric: str, length: float) -> float:
    """The distance up to which codes may be of equal pixels; `length` is the query's code's."""
    cosine = NEAR.get(precision, NEAR_HALF)
    return cosine if metric == "cosine" else float((2 * cosine) ** 0.5 * length)


def place_of(item: Any) -> str | None:
    """Where a file lies once links are followed; None for a picture in memory."""
    if not isinstance(item, str):
        return None
    return os.path.normcase(os.path.realpath(item))


def pixels_of(item: Any, options: DecodeOptions) -> bytes | None:
    """A digest of the decoded picture, whatever file it is in; None if it cannot be decoded."""
    try:
        picture = decode(item, options)
    except ImageReadError:
        return None
    return hashlib.blake2b(f"{picture.size}".encode() + picture.tobytes()).digest()


def reason_of(item: Any) -> str:
    """Why a picture is bad."""
    try:
        decode(item)
    except ImageReadError as error:
        return str(error)
    return "cannot be read"
