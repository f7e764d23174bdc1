"""Keeps Pillow's warnings from reaching the user while a picture is decoded, in any thread.

``warnings.catch_warnings`` replaces the process-wide filter list and puts the old one back; two
threads that overlap can leave the wrong list behind. Here one entry is added by the first thread
in and taken out by the last one out, and nothing else is touched.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

_ENTRY: tuple[Any, ...] = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_lock = threading.Lock()
_lists: list[list[Any]] = []
_inside = 0


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore the warnings of modules named ``PIL.*`` inside the block."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside
    with _lock:
        _inside += 1
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
