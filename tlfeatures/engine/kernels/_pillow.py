"""What Pillow does not document, of the memory that pictures lie in: all of it stands here.

Where a name of it has gone, Pillow resizes all pictures. A test says which one it is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import PIL
from PIL import Image

LEAST_PILLOW = (11, 3)  # 11.2 hands out its memory, but never frees it
MOST_IN_ONE_PIECE = (2**31 - 1) // 4  # pixels
NEEDED = ("get_alignment", "get_use_block_allocator", "set_use_block_allocator")
_core: Any = getattr(Image, "core", None)
_lock = threading.Lock()
_inside = 0
_own_setting = 0


def hands_out(core: Any, version: str) -> bool:
    """Whether this Pillow hands out its pictures' memory, rightly, and says how it lies.

    Parameters
    ----------
    core : module
    version : str
    """
    is_new = tuple(int(part) for part in version.split(".")[:2]) >= LEAST_PILLOW
    return is_new and all(hasattr(core, name) for name in NEEDED)


PILLOW_HANDS_OUT = hands_out(_core, PIL.__version__)


def is_plain(picture: Image.Image) -> bool:
    """Whether it is RGB in memory of Pillow's own, with nothing between its lines."""
    is_own = not getattr(picture, "readonly", True)
    return picture.mode == "RGB" and is_own and bool(_core.get_alignment() == 1)


@contextlib.contextmanager
def pictures_in_one_piece() -> Iterator[None]:
    """Let Pillow keep pictures above 16 MB in one piece too; afterwards as the caller had it.

    It holds for the whole process, and pictures of more than `MOST_IN_ONE_PIECE` cannot be decoded
    meanwhile.
    """
    global _inside, _own_setting
    with _lock:
        _inside += 1
        if _inside == 1:
            _own_setting = _core.get_use_block_allocator()
            _core.set_use_block_allocator(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _core.set_use_block_allocator(_own_setting)
