"""Files and pictures opened, or the reason why they cannot be, in one line."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures.decoding._damage import JPEGS
from tlfeatures.pictures.decoding._quiet import quiet_pillow
from tlfeatures.pictures.decoding._tiff import STARTS, check_kind, mend_byte_order, why_unread

# Only these: others (EPS, for one) start programs or read further files.
FORMATS = (
    "JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF", "ICO", "HEIF",
)  # fmt: skip
HEIF_BRAND = re.compile(rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", re.DOTALL)
AVIF_BRAND = re.compile(rb"....ftypavi[fs]", re.DOTALL)
BOMB = re.compile(r"\((\d+) pixels\) exceeds limit of (\d+)")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes.

    Raises
    ------
    ImageReadError
        With the system's reason, such as a missing file or a refused permission.
    """
    with open_file(path) as file:
        return file.read()


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[FileIO]:
    """The file, opened unbuffered; nothing but a regular file is.

    Raises
    ------
    ImageReadError
        With the system's reason.
    """
    file = Path(path)
    try:
        if file.exists() and not file.is_file():  # reading a pipe would never end
            raise ImageReadError("cannot be read: not a regular file", is_lasting=False)
        with file.open("rb", buffering=0) as opened:
            yield opened
    except ImageReadError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageReadError(f"cannot be read: {reason}", is_lasting=False) from error


@contextmanager
def open_picture(
    item: Any,
    max_pixels: int | None = None,
    least_side: int | None = None,
    *,
    check: bool = True,
) -> Iterator[Image.Image]:
    """The picture, loaded, in its own mode; `check`: kinds that are read wrongly are refused.

    Raises
    ------
    ImageReadError
        Also for what Pillow raises inside the block.
    """
    with reasons(max_pixels):
        item = as_bytes(item)
        picture = unloaded(item)
        if max_pixels is not None and picture.width * picture.height > max_pixels:
            raise ImageReadError(_too_large(picture.width * picture.height, max_pixels))
        can_shrink = picture.format in JPEGS and picture.mode in ("RGB", "L")
        if least_side is not None and can_shrink:
            picture.draft(None, (least_side, least_side))
        if isinstance(item, bytes):
            if check and picture.format == "TIFF":
                check_kind(picture)
            _mend(picture, item)
        picture.load()
        if 0 in picture.size:
            raise ImageReadError(f"no pixels: {picture.width} x {picture.height}")
        yield picture


@contextmanager
def reasons(max_pixels: int | None = None) -> Iterator[None]:
    """Turn whatever Pillow raises inside the block into an ImageReadError with a reason.

    Parameters
    ----------
    max_pixels : int, optional
        Raises Pillow's own limit for the time being, if it is lower.

    Raises
    ------
    ImageReadError
        For every exception but a lack of memory.
    """
    try:
        with quiet_pillow(max_pixels):
            yield
    except (MemoryError, ImageReadError):
        raise
    except UnidentifiedImageError as error:
        raise ImageReadError("not a picture in a known format") from error
    except Image.DecompressionBombError as error:
        found = BOMB.search(str(error))
        words = f"too large: {_first_line(error)}"
        if found:
            words = _too_large(int(found[1]), max_pixels or int(found[2]))
        raise ImageReadError(words) from error
    except Exception as error:  # Pillow raises almost anything on hostile bytes
        line = _first_line(error)
        known = (word for word in ("truncated", "too large") if word in line.lower())
        # Pillow's own OSErrors have no number; one with a number is of the system.
        is_system = isinstance(error, OSError) and bool(error.errno)
        is_lasting = not is_system and "memory" not in line.lower()
        raise ImageReadError(
            f"{next(known, 'cannot be decoded')}: {line}", is_lasting=is_lasting
        ) from error


def as_bytes(item: Any) -> Any:
    """A file's bytes for a path; anything else as it is."""
    if not isinstance(item, (str, os.PathLike)):
        return item
    return read_bytes(item)


def unloaded(item: Any) -> Image.Image:
    """The picture in bytes of a file or an array, its pixels not yet decoded."""
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, np.ndarray):
        return _from_array(item)
    if not item:
        raise ImageReadError("empty file")
    Image.init()
    _need_decoder(item[:12])
    known = [name for name in FORMATS if name in Image.OPEN]
    try:
        return Image.open(io.BytesIO(item), formats=known)
    except (UnidentifiedImageError, KeyError) as error:
        if item.startswith(STARTS):
            raise ImageReadError(why_unread(item)) from error
        raise


def _mend(picture: Any, data: bytes) -> None:
    """Help Pillow, before it loads a file's pixels, where it would take them for others."""
    transparent = picture.info.get("transparency")
    if picture.format == "TIFF":
        mend_byte_order(picture)
    elif picture.format == "PNG" and picture.mode in ("1", "L") and isinstance(transparent, int):
        # Pillow stretches grey of 1, 2 and 4 bits to 8, but not the one value that is transparent.
        largest = (1 << data[24]) - 1
        picture.info["transparency"] = (transparent & largest) * 255 // largest


def _too_large(n_pixels: int, limit: int) -> str:
    given, expected = (
        f"{n / 1e6:.1f} megapixels" if n >= 1e6 else f"{n} pixels" for n in (n_pixels, limit)
    )
    return f"too large: {given}, the limit is {expected}; raise it with --max-pixels (max_pixels=)"


def _need_decoder(start: bytes) -> None:
    """Say what to install for formats that the bare library may not know."""
    if HEIF_BRAND.match(start) and not has_heif():
        raise ImageReadError("HEIC needs a decoder: pip install 'tlfeatures[heif]'")
    if AVIF_BRAND.match(start) and "AVIF" not in Image.OPEN:
        raise ImageReadError("AVIF needs Pillow 11.3 or later: pip install --upgrade pillow")


@lru_cache(maxsize=1)
def has_heif() -> bool:
    """Whether HEIC can be read; makes it known to Pillow."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _from_array(pixels: NDArray[Any]) -> Image.Image:
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not is_picture:
        raise ImageReadError(
            f"an array of shape {pixels.shape} and type {pixels.dtype}; expected uint8 (H, W, 3)"
        )
    return Image.fromarray(pixels) if pixels.size else Image.new("L", pixels.shape[1::-1])


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
