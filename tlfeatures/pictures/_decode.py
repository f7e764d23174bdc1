"""Bytes -> right RGB, by stated rules; whatever cannot be decoded is a bad picture with a reason.

Transparency is laid over white. 16-bit grey is divided by 257, 32-bit integers are cut to 16 first.
Float pixels: values within 0..1 are multiplied by 255, within 0..255 taken as they are, otherwise
their range is stretched to 0..255; what is not finite is 0. Lab goes through its colour profile to
sRGB; embedded profiles are not applied. Of several pages or frames the first. The orientation of a
TIFF belongs to its format: Pillow applies it whatever the options say.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures._quiet import quiet_pillow

SIXTEEN_TO_EIGHT = 257  # 65535 / 255
ORIENTATION = 0x0112  # EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# Only these: others (EPS, for one) start programs or read further files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF", "ICO")


@dataclass(frozen=True)
class DecodeOptions:
    """What changes the pixels of a decoded picture; part of its key.

    Attributes
    ----------
    exif : bool
        Turn the picture as its EXIF orientation says.
    """

    exif: bool = True

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def decode(item: Any, options: DecodeOptions | None = None) -> Image.Image:
    """Decode one picture.

    Parameters
    ----------
    item : str, bytes, PIL.Image.Image, or uint8 ndarray of shape (H, W, 3) or (H, W)
        A path, a file's bytes, or a picture in memory, which is not changed.
    options : DecodeOptions, optional

    Returns
    -------
    PIL.Image.Image
        In mode RGB, new and without metadata.

    Raises
    ------
    ImageReadError
        For every bad picture; its message is the reason, in one line.
    """
    options = options or DecodeOptions()
    if isinstance(item, (str, os.PathLike)):
        from tlfeatures.pictures._digest import read_bytes

        item = read_bytes(item)
    with reasons():
        picture = _open(item)
        picture.load()
        if 0 in picture.size:
            raise ImageReadError(f"no pixels: {picture.width} x {picture.height}")
        orientation = orientation_of(picture) if options.exif else 1
        rgb = _to_rgb(picture)
        if orientation in TURNS:
            rgb = rgb.transpose(TURNS[orientation])
        rgb.info = {}  # an EXIF block left here would turn the picture once more
        return rgb


@contextmanager
def reasons() -> Iterator[None]:
    """Turn whatever Pillow raises inside the block into an ImageReadError with a reason.

    Raises
    ------
    ImageReadError
        For every exception but a lack of memory.
    """
    try:
        with quiet_pillow():
            yield
    except (MemoryError, ImageReadError):
        raise
    except UnidentifiedImageError as error:
        raise ImageReadError("not a picture in a known format") from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(f"too large: {_first_line(error)}") from error
    except Exception as error:  # Pillow raises almost anything on hostile bytes
        line = _first_line(error)
        kind = "truncated" if "truncated" in line.lower() else "cannot be decoded"
        raise ImageReadError(f"{kind}: {line}") from error


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 without one or where the block is invalid."""
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # it says nothing about the pixels
        return 1
    return orientation if isinstance(orientation, int) and orientation in TURNS else 1


def _open(item: Any) -> Image.Image:
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, np.ndarray):
        return _from_array(item)
    if not item:
        raise ImageReadError("empty file")
    Image.init()
    return Image.open(io.BytesIO(item), formats=[name for name in FORMATS if name in Image.OPEN])


def _from_array(pixels: NDArray[Any]) -> Image.Image:
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not is_picture:
        raise ImageReadError(
            f"an array of shape {pixels.shape} and type {pixels.dtype}; expected uint8 (H, W, 3)"
        )
    return Image.fromarray(pixels) if pixels.size else Image.new("L", pixels.shape[1::-1])


def _to_rgb(picture: Image.Image) -> Image.Image:
    """A new picture in mode RGB."""
    mode = picture.mode
    if mode.startswith("I"):
        return Image.fromarray(_deep_to_eight(picture)).convert("RGB")
    if mode == "F":
        return Image.fromarray(_float_to_eight(np.asarray(picture))).convert("RGB")
    if mode == "LAB":
        converted = ImageCms.applyTransform(picture, _lab_to_srgb())
        if converted is None:
            raise ValueError("no colour transform")
        return converted
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return picture.convert("RGB")


def _deep_to_eight(picture: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(picture).astype(np.int64)
    eight = (values.clip(0, 65535) + SIXTEEN_TO_EIGHT // 2) // SIXTEEN_TO_EIGHT
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):  # one grey value of a PNG stands for "nothing here"
        eight[values == transparent] = 255
    return eight.astype(np.uint8)


def _float_to_eight(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    values = np.where(np.isfinite(pixels), pixels, 0).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        values = values * 255
    elif low < 0 or high > 255:
        values = (values - low) * (255 / (high - low) if high > low else 0)
    return np.rint(values).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
