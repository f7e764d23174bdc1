"""Pixels of more than 8 bits: their values, and how they become 8 bits.

Pillow reads colour of 16 bits a channel as its high bytes. The low bytes are had by reading once
more with the byte order swapped; both together are the values.
"""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures.decoding._pillow import arguments_of, set_arguments

SIXTEEN_TO_EIGHT = 257  # 65535 / 255
# Tags of TIFF.
BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, PLANES, FORMAT = 258, 259, 262, 284, 339
UNSIGNED, SIGNED = 1, 2
UNCOMPRESSED, WHITE_IS_ZERO, SEPARATE = 1, 0, 2
_GAP = rb"(?:\s|#[^\n]*\n)+"
PPM_HEADER = re.compile(rb"P6" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")
NATIVE_SWAPPED = ";16B" if sys.byteorder == "little" else ";16L"
SWAPPED = {";16L": ";16B", ";16B": ";16L", ";16N": NATIVE_SWAPPED}
WHOLE = ("RGB;16", "RGBA;16")  # the raw modes that Pillow knows in both byte orders


def deep_values(picture: Image.Image, item: Any) -> NDArray[Any] | None:
    """Its pixels, if they have more than 8 bits or a sign, and can be had whole.

    Parameters
    ----------
    picture : PIL.Image.Image
        Loaded.
    item : bytes or any
        The file that it is from, if it is from one.

    Returns
    -------
    ndarray of shape (H, W), (H, W, 3) or (H, W, 4), or None
        Grey, RGB or RGBA; colours in 0..65535, bright is large.

    Raises
    ------
    ImageReadError
        For 16 bits in separate planes, which Pillow reads wrongly.
    """
    tags = getattr(picture, "tag_v2", {})
    if picture.mode.startswith("I;16") and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return 65535 - np.asarray(picture)
    numbers, bits = set(tags.get(FORMAT, (UNSIGNED,))), set(tags.get(BITS_PER_SAMPLE, ()))
    if numbers == {SIGNED} and picture.mode == "L":
        return np.asarray(picture).view(np.int8)
    if numbers == {UNSIGNED} and bits == {32} and picture.mode == "I":
        return np.asarray(picture).view(np.uint32)  # Pillow has signed ones alone
    if picture.mode.startswith("I") or picture.mode == "F":
        return np.asarray(picture)
    if not has_sixteen_bits(picture, item):
        return None
    if item.startswith(b"P6"):
        return _ppm_values(item, picture.size)
    if tags.get(PLANES) == SEPARATE:
        if tags.get(COMPRESSION) == UNCOMPRESSED:
            raise ImageReadError("16 bits a channel in separate planes; save it interleaved")
        return None
    low = _low_bytes(item)
    return None if low is None else np.asarray(picture).astype(np.uint16) << 8 | low


def has_sixteen_bits(picture: Image.Image, item: Any) -> bool:
    """Whether the file of this colour picture has more than 8 bits a channel."""
    if not picture.mode.startswith(("RGB", "LA", "CMYK")) or not isinstance(item, bytes):
        return False
    if item.startswith(b"\x89PNG"):
        return item[24:25] == b"\x10"  # IHDR's bit depth
    if item.startswith(b"P6"):
        header = PPM_HEADER.match(item)
        return header is not None and int(header[3]) > 255
    if picture.format == "JPEG2000":
        size = item.find(b"\xff\x51")  # the marker SIZ; the depth of the first component follows
        return size >= 0 and (item[size + 40] & 0x7F) + 1 > 8
    bits = getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, ())
    return 16 in (bits if isinstance(bits, tuple) else (bits,))


def _ppm_values(data: bytes, size: tuple[int, int]) -> NDArray[Any] | None:
    """The values of a binary PPM of more than 8 bits, its own maximum stretched to 65535."""
    header = PPM_HEADER.match(data)
    if header is None:
        return None
    width, height = size
    values = np.frombuffer(data, ">u2", width * height * 3, header.end())
    values = values.reshape(height, width, 3)
    largest = int(header[3])
    if largest == 65535:
        return values.astype(np.uint16)
    return np.rint(values.clip(0, largest) * (65535 / largest)).astype(np.uint16)


def to_eight(
    values: NDArray[Any], range_: tuple[float, float] | None, transparent: Any = None
) -> NDArray[np.uint8]:
    """Values in 8 bits, what is transparent white.

    Parameters
    ----------
    values : ndarray of shape (H, W), (H, W, 3) or (H, W, 4)
        As `deep_values` gives them.
    range_ : tuple of two float or None
        The values that become 0 and 255; None: the rules of the module `_decode`.
    transparent : int, tuple of three int, or None
        The one value that stands for "nothing here".

    Returns
    -------
    ndarray of shape (H, W) or (H, W, 3), uint8
    """
    has_alpha = values.shape[2:] == (4,)
    colours = values[..., :3] if has_alpha else values
    eight = _in_range(colours, *range_) if range_ is not None else _in_full_range(colours)
    if has_alpha:
        alpha = values[..., 3:] / np.float32(65535)
        return np.rint(255 - alpha * (255 - eight)).astype(np.uint8)
    if isinstance(transparent, (int, tuple)) and values.dtype.kind != "f":
        same = colours == np.asarray(transparent)
        eight[same.all(-1) if colours.ndim == 3 else same] = 255
    return eight


def _in_full_range(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype.kind == "f":
        return _float_to_eight(values)
    if values.dtype == np.int8:
        return (values.astype(np.int16) + 128).astype(np.uint8)
    whole = values.clip(0, 65535).astype(np.uint32)
    whole += SIXTEEN_TO_EIGHT // 2
    whole //= SIXTEEN_TO_EIGHT
    return whole.astype(np.uint8)


def _low_bytes(data: bytes) -> NDArray[np.uint8] | None:
    """The picture read with swapped bytes; None where its layout cannot be."""
    picture = Image.open(io.BytesIO(data))
    tiles = arguments_of(picture)
    arguments = [None] if tiles is None else [_swap(given) for _, given in tiles]
    if None in arguments:
        return None
    set_arguments(picture, arguments)
    return np.asarray(picture)


def _swap(arguments: Any) -> Any:
    """A decoder's arguments, whose first is the raw mode, for the other byte order; or None."""
    mode, rest = (arguments, ()) if isinstance(arguments, str) else (arguments[0], arguments[1:])
    if not isinstance(mode, str) or mode[:-1] not in WHOLE:
        return None
    swapped = mode[:-4] + SWAPPED[mode[-4:]]
    return (swapped, *rest) if rest else swapped


def _in_range(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    inside = values.astype(np.float64)
    inside[np.isnan(inside)] = low
    np.clip(inside, low, high, out=inside)
    inside -= low
    inside /= high - low
    inside *= 255
    return np.rint(inside, out=inside).astype(np.uint8)


def _float_to_eight(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    values = pixels.astype(np.float64)
    values[~np.isfinite(values)] = 0
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        values *= 255
    elif low < 0 or high > 255:
        values -= low
        values *= 255 / (high - low) if high > low else 0
    return np.rint(values, out=values).clip(0, 255).astype(np.uint8)
