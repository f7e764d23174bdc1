"""What worker processes log and warn of, said by the process that the user watches."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

PACKAGE = "tlfeatures"
_lock = threading.Lock()
_ears: list[_Ear] = []
_before: list[Any] = []


@dataclass(frozen=True)
class Said:
    """A line that was logged elsewhere.

    Attributes
    ----------
    logger : str
    level : int
    words : str
    """

    logger: str
    level: int
    words: str


class _Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: dict[Said, None] = {}  # each once, in their order

    def emit(self, record: logging.LogRecord) -> None:
        self.said[Said(record.name, record.levelno, record.getMessage())] = None


@contextlib.contextmanager
def listening() -> Iterator[dict[Said, None]]:
    """Keep what the package logs, and what anybody warns of, instead of showing it.

    Of threads that listen at the same time each hears everything; what is heard twice is said once.
    """
    ear = _Ear()
    logger = logging.getLogger(PACKAGE)
    with _lock:
        if not _ears:
            _before[:] = [logger.level, logger.propagate, warnings.showwarning]
            logger.setLevel(logging.INFO)
            logger.propagate, warnings.showwarning = False, _hear_warning
        _ears.append(ear)
        logger.addHandler(ear)
    try:
        yield ear.said
    finally:
        with _lock:
            logger.removeHandler(ear)
            _ears.remove(ear)
            if not _ears:
                level, logger.propagate, warnings.showwarning = _before
                logger.setLevel(level)


def _hear_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    said = Said(PACKAGE, logging.WARNING, f"{category.__name__}: {message}")
    for ear in _ears:
        ear.said[said] = None


def say(said: Iterable[Said], before: set[Said]) -> None:
    """Log here what was said elsewhere, unless it is among what was said before."""
    for each in said:
        if each not in before:
            before.add(each)
            logging.getLogger(each.logger).log(each.level, "%s", each.words)
