"""What libraries print while they fetch weights becomes words in the log."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

_log = logging.getLogger(__name__)
HUB = "huggingface_hub"


@contextlib.contextmanager
def words_only() -> Iterator[None]:
    """Log the lines that are printed inside, and show no progress bars of the Hugging Face hub."""
    lines = _Lines()
    with contextlib.redirect_stdout(lines), _without_bars():
        try:
            yield
        finally:
            lines.end()


class _Lines(io.TextIOBase):
    """A stream whose lines are logged."""

    def __init__(self) -> None:
        self._open = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._open = (self._open + text).split("\n")
        for line in lines:
            if line.strip():
                _log.info("%s", line.rstrip())
        return len(text)

    def end(self) -> None:
        if self._open:
            self.write("\n")


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    if HUB not in sys.modules:
        yield
        return
    bars: Any = import_module(f"{HUB}.utils")
    shown = not bars.are_progress_bars_disabled()
    with warnings.catch_warnings():  # where the environment says otherwise
        warnings.simplefilter("ignore", UserWarning)
        bars.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bars()
