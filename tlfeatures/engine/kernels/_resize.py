"""Resizing and cropping to the bytes that Pillow gives, but faster; see `_resize.cpp`."""

from __future__ import annotations

import ctypes
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tlfeatures.backbones import Preprocessing, is_thin
from tlfeatures.engine.kernels._kernels import (
    NUMBER,
    POINTER,
    RESIZING,
    find_kept,
    load,
    say_unusable,
)
from tlfeatures.engine.kernels._pillow import PILLOW_HANDS_OUT, is_plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
FILTERS = {"bilinear": 0, "bicubic": 1, "lanczos": 2}
# Pictures that it is compared with Pillow on; two beside the border of `_is_across_first`.
SIDES = ((61, 43), (30, 40), (30, 41), (120, 31), (50, 90), (7, 11))
TRIED = (
    Preprocessing(32, 28),
    Preprocessing(40, 40, crop="squash", interpolation="bicubic"),
    Preprocessing(20, 20, crop="none", interpolation="bilinear"),
    Preprocessing(20, 20, crop="none", interpolation="lanczos"),
)
_opened: dict[Path, Resizer | None] = {}


class Resizer:
    """Prepares pictures as `Preprocessing.prepare` does.

    Parameters
    ----------
    functions : ctypes.CDLL
        The compiled operations.
    """

    def __init__(self, functions: Any) -> None:
        self._functions = functions

    def prepare(self, picture: Image.Image, how: Preprocessing) -> NDArray[np.uint8] | None:
        """Resize and crop one RGB picture; called in several threads.

        Parameters
        ----------
        picture : PIL.Image.Image
            One that `decode` gave: Pillow below 13 may crash where the memory is not its own.
        how : Preprocessing

        Returns
        -------
        ndarray of shape (input_size, input_size, 3), uint8, RGB, or None
            None: it is a case for Pillow.
        """
        size, side = how.resized_size(picture.size), how.input_size
        is_usual = how.interpolation in FILTERS and min(size) >= side and not is_thin(picture.size)
        if not is_usual or _is_across_first(picture.size, size):
            return None
        pixels = _Pixels.of(picture)
        if pixels is None:
            return None
        filter_, sizes = FILTERS[how.interpolation], (*picture.size, *size)
        made = np.empty((side, side, 3), np.uint8)
        scratch = np.empty(self._functions.resize_scratch(*sizes, side, side, filter_), np.uint8)
        self._functions.resize_rgb(
            pixels.address, *sizes, *how.crop_corner(size), side, side, filter_,
            made.ctypes.data, scratch.ctypes.data,
        )  # fmt: skip
        return made


def suits(preprocessing: Mapping[str, Any]) -> bool:
    """Whether pictures of usual shapes, prepared so, are for it.

    Parameters
    ----------
    preprocessing : dict
        As a `CodeSpec` has it.
    """
    try:
        how = Preprocessing.from_json(dict(preprocessing))
    except (KeyError, TypeError):  # a function of the user's own
        return False
    return how.interpolation in FILTERS and (how.crop == "none" or how.resize >= how.input_size)


def kept_resizer() -> Resizer | None:
    """The one that is compiled for this user and processor, if Pillow gives the same bytes."""
    path = find_kept(RESIZING) if PILLOW_HANDS_OUT else None
    return None if path is None else open_resizer(path)


def open_resizer(path: Path) -> Resizer | None:
    """The one in a file, if it can be used; else one line says why not, once."""
    if path not in _opened:
        try:
            found = Resizer(load(RESIZING, path))
        except OSError as error:  # a file in its place may be another one the next time
            say_unusable(path, str(error))
            return None
        _opened[path] = found if _says_what_pillow_says(found) else None
        if _opened[path] is None:
            _log.warning("pictures are resized by Pillow: %s gives other pixels", path)
    return _opened[path]


def _says_what_pillow_says(resizer: Resizer) -> bool:
    """Whether it does, on noise, by each filter; later versions of Pillow may do otherwise."""
    random, n_compared = np.random.default_rng(0), Counter[str]()
    for width, height in SIDES:
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        picture = Image.fromarray(noise)
        for how in TRIED:
            made = resizer.prepare(picture, how)
            if made is None:
                continue
            if not np.array_equal(made, how.prepare(picture)):
                return False
            n_compared[how.interpolation] += 1
    return n_compared.keys() == FILTERS.keys()


def _is_across_first(old: tuple[int, int], new: tuple[int, int]) -> bool:
    """Whether Pillow, from 13 on, resizes across the lines first, which rounds otherwise."""
    return old[1] > new[1] and old[1] - new[1] > 2 * (old[0] - new[0])


class _ArrowArray(ctypes.Structure):
    """`struct ArrowArray` of the Arrow C data interface."""

    _fields_ = (
        ("length", NUMBER),
        ("null_count", NUMBER),
        ("offset", NUMBER),
        ("n_buffers", NUMBER),
        ("n_children", NUMBER),
        ("buffers", ctypes.POINTER(POINTER)),
        ("children", ctypes.POINTER(POINTER)),
        ("dictionary", POINTER),
        ("release", POINTER),
        ("private_data", POINTER),
    )


class _Pixels:
    """A picture's own memory, four bytes a pixel, line after line.

    Attributes
    ----------
    address : int
        Valid as long as this lives.
    """

    def __init__(self, capsule: Any, address: int) -> None:
        self._capsule, self.address = capsule, address

    @classmethod
    def of(cls, picture: Image.Image) -> _Pixels | None:
        """None where they lie in pieces, or otherwise than described."""
        if not PILLOW_HANDS_OUT or not is_plain(picture):
            return None
        try:
            _, capsule = picture.__arrow_c_array__()  # type: ignore[attr-defined,unused-ignore]
        except (ValueError, MemoryError):
            return None
        n_pixels = picture.width * picture.height
        whole = _ArrowArray.from_address(_ADDRESS_IN(capsule, b"arrow_array"))
        if (whole.length, whole.offset, whole.n_children) != (n_pixels, 0, 1):
            return None
        bytes_ = _ArrowArray.from_address(whole.children[0])
        if (bytes_.length, bytes_.offset, bytes_.n_buffers) != (4 * n_pixels, 0, 2):
            return None
        return cls(capsule, bytes_.buffers[1]) if bytes_.buffers[1] else None


_ADDRESS_IN = ctypes.PYFUNCTYPE(POINTER, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
