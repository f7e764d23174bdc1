"""Bytes -> right RGB, by stated rules; whatever cannot be decoded is a bad picture with a reason.

Transparency is laid over white. 16-bit grey is divided by 257. Float pixels: values within 0..1 are
multiplied by 255, within 0..255 taken as they are, otherwise their range is stretched to 0..255; not
a number is 0. Lab goes through its colour profile to sRGB. Of several pages or frames the first.
"""

from __future__ import annotations

import io
import threading
import warnings
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

from tlfeatures.errors import ImageReadError

SIXTEEN_TO_EIGHT = 257  # 65535 / 255


class _QuietPillow:
    """Silences Pillow's warnings while any thread decodes.

    Damaged EXIF blocks and large pictures warn, and neither is bad; where warnings are errors they
    must not become so. `warnings.catch_warnings` alone is not safe in threads, hence the count.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._saved.__exit__(None, None, None)


_QUIET = _QuietPillow()


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
        In mode RGB.

    Raises
    ------
    ImageReadError
        For every bad picture; its message is the reason, in one line.
    """
    options = options or DecodeOptions()
    if isinstance(item, str):
        from tlfeatures.pictures._digest import read_bytes

        item = read_bytes(item)
    if isinstance(item, bytes) and not item:
        raise ImageReadError("empty file")
    try:
        with _QUIET:
            return _decode(item, options)
    except MemoryError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageReadError("not a picture in a known format") from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(f"too large: {_first_line(error)}") from error
    except Exception as error:  # Pillow raises almost anything on hostile bytes
        raise ImageReadError(f"cannot be decoded: {_first_line(error)}") from error


def _decode(item: Any, options: DecodeOptions) -> Image.Image:
    if isinstance(item, np.ndarray):
        return Image.fromarray(item).convert("RGB")
    picture = item if isinstance(item, Image.Image) else Image.open(io.BytesIO(item))
    picture.load()
    if options.exif:
        picture = _turn(picture)
    return _to_rgb(picture)


def _turn(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # an invalid EXIF block says nothing about the pixels
        return picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    mode = picture.mode
    if mode == "RGB":
        return picture
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    if mode.startswith("I"):
        deep = np.asarray(picture).astype(np.int64).clip(0, 65535)
        eight = ((deep + SIXTEEN_TO_EIGHT // 2) // SIXTEEN_TO_EIGHT).astype(np.uint8)
        return Image.fromarray(eight).convert("RGB")
    if mode == "F":
        return Image.fromarray(_float_to_eight(np.asarray(picture))).convert("RGB")
    if mode == "LAB":
        converted = ImageCms.applyTransform(picture, _lab_to_srgb())
        if converted is None:
            raise ValueError("no colour transform")
        return converted
    return picture.convert("RGB")


def _float_to_eight(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    values = np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if low >= 0 and high <= 1:
        values = values * 255
    elif low < 0 or high > 255:
        values = (values - low) * (255 / (high - low))
    return np.rint(values).astype(np.uint8)


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
