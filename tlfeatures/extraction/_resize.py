"""Resizing and cropping to the bytes that Pillow gives, but faster; see `_resize.cpp`."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tlfeatures.backbones import Preprocessing, is_thin
from tlfeatures.extraction._kernels import POINTER, RESIZING, find_kept, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
FILTERS = {"bilinear": 0, "bicubic": 1, "lanczos": 2}
SIDES = ((61, 43), (30, 90), (7, 11))  # of pictures that it is compared with Pillow on
TRIED = (
    Preprocessing(32, 28),
    Preprocessing(40, 40, crop="squash", interpolation="bicubic"),
    Preprocessing(20, 20, crop="none", interpolation="lanczos"),
)
CORE: Any = Image.core  # type: ignore[attr-defined]
PILLOW_HANDS_OUT = hasattr(CORE, "set_use_block_allocator")  # its memory, from 11.2 on
_lock = threading.Lock()
_before: list[int] = []  # Pillow's setting, then one entry for each further user


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
        filter_ = FILTERS[how.interpolation]
        words = (*picture.size, *size)
        made = np.empty((side, side, 3), np.uint8)
        scratch = np.empty(self._functions.resize_scratch(*words, side, side, filter_), np.uint8)
        self._functions.resize_rgb(
            pixels.address, *words, *how.crop_corner(size), side, side, filter_,
            made.ctypes.data, scratch.ctypes.data,
        )  # fmt: skip
        return made


def kept_resizer() -> Resizer | None:
    """The one that is compiled for this user and processor, if Pillow gives the same bytes."""
    path = find_kept(RESIZING)
    return None if path is None else open_resizer(path)


@lru_cache(maxsize=8)
def open_resizer(path: Path) -> Resizer | None:
    """The one in a file, if it can be used; else one line says why not, once."""
    try:
        found = Resizer(load(RESIZING, path))
    except OSError as error:
        _log.warning("%s cannot be used (%s); delete it", path, error)
        return None
    if _says_what_pillow_says(found):
        return found
    _log.warning("pictures are resized by Pillow: %s gives other pixels than Pillow here", path)
    return None


def _says_what_pillow_says(resizer: Resizer) -> bool:
    """Whether it does, on noise; Pillow's versions may differ."""
    random = np.random.default_rng(0)
    for width, height in SIDES:
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        picture = Image.fromarray(noise)
        for how in TRIED:
            made = resizer.prepare(picture, how)
            if made is not None and not np.array_equal(made, how.prepare(picture)):
                return False
    return True


def _is_across_first(old: tuple[int, int], new: tuple[int, int]) -> bool:
    """Whether Pillow, from 13 on, resizes across the lines first, which rounds otherwise."""
    return old[1] > new[1] and old[1] - new[1] > 2 * (old[0] - new[0])


class _ArrowArray(ctypes.Structure):
    """`struct ArrowArray` of the Arrow C data interface."""

    _fields_ = (
        ("length", ctypes.c_int64),
        ("null_count", ctypes.c_int64),
        ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
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
        """None where the picture lies in pieces, or Pillow, before 11.2, does not hand it out."""
        try:
            _, capsule = picture.__arrow_c_array__()  # type: ignore[attr-defined,unused-ignore]
        except (AttributeError, ValueError, MemoryError):
            return None
        whole = _ArrowArray.from_address(_address_in(capsule))
        if (whole.length, whole.n_children) != (picture.width * picture.height, 1):
            return None
        bytes_ = _ArrowArray.from_address(whole.children[0])
        return None if whole.offset or bytes_.offset else cls(capsule, bytes_.buffers[1])


def _address_in(capsule: Any) -> int:
    get = ctypes.PYFUNCTYPE(POINTER, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    return int(get(capsule, b"arrow_array"))


@contextlib.contextmanager
def pictures_in_one_piece() -> Iterator[None]:
    """Let Pillow keep pictures above 16 MB in one piece too; afterwards as the caller had it."""
    if not PILLOW_HANDS_OUT:
        yield
        return
    with _lock:
        if not _before:
            _before.append(CORE.get_use_block_allocator())
            CORE.set_use_block_allocator(1)
        else:
            _before.append(1)
    try:
        yield
    finally:
        with _lock:
            _before.pop() if len(_before) > 1 else CORE.set_use_block_allocator(_before.pop())
