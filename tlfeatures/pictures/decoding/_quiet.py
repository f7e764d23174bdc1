"""Keeps Pillow's warnings from the user while a picture is decoded, in any thread.

``warnings.catch_warnings`` replaces the process-wide filter list and puts the old one back; two
threads that overlap can leave the wrong list behind. Here one entry is added by the first thread
in and taken out by the last one out, and nothing else is touched. Pillow's limit of pixels is the
process's too; it is raised and put back in the same way.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from PIL import Image

_ENTRY: tuple[Any, ...] = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_lock = threading.Lock()
_lists: list[list[Any]] = []
_inside = 0
_own_limit: list[int | None] = []


@contextmanager
def quiet_pillow(max_pixels: int | None = None) -> Iterator[None]:
    """Ignore the warnings of modules named ``PIL.*`` inside the block.

    Parameters
    ----------
    max_pixels : int, optional
        Pictures of up to so many pixels are no bombs.
    """
    _enter(max_pixels)
    try:
        yield
    finally:
        _leave()


def _enter(max_pixels: int | None) -> None:
    global _inside
    with _lock:
        _inside += 1
        limit = Image.MAX_IMAGE_PIXELS  # Pillow refuses what is more than twice as large
        if max_pixels is not None and limit is not None and max_pixels > 2 * limit:
            _own_limit.append(limit)
            Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
        filters = cast("list[Any]", warnings.filters)
        if not filters or filters[0] is not _ENTRY:
            filters.insert(0, _ENTRY)
            _lists.append(filters)


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside:
            return
        # The current list may be a copy that another thread's catch_warnings made meanwhile.
        for filters in (*_lists, cast("list[Any]", warnings.filters)):
            filters[:] = [entry for entry in filters if entry is not _ENTRY]
        _lists.clear()
        if _own_limit:
            Image.MAX_IMAGE_PIXELS = _own_limit[0]
            _own_limit.clear()
