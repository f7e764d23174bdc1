"""What a worker process does with a chunk or a question."""

from __future__ import annotations

import math
import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from joblib.externals.loky import process_executor

from tlfeatures.extraction._chunk import Done, Row, Run, extract_chunk
from tlfeatures.extraction._said import Said, listening

A = TypeVar("A")


def do_chunk(i: int, run: Run, rows: Sequence[Row]) -> tuple[int, Done]:
    """One chunk, single-threaded, and what was said meanwhile."""
    with listening() as said:
        done = _alone(lambda: extract_chunk(run, rows))
    done.said = tuple(said)
    return i, done


def answer(question: Callable[[], A]) -> tuple[A, tuple[Said, ...]]:
    """The answer, found single-threaded, and what was said meanwhile."""
    with listening() as said:
        found = _alone(question)
    return found, tuple(said)


def _alone(work: Callable[[], A]) -> A:
    from tlfeatures.extraction._settings import single_threaded

    _settle_in()
    with single_threaded():
        return work()


def _settle_in() -> None:
    """Make this process a worker, if it was started for it; once."""
    from tlfeatures.extraction._settings import keep_memory

    is_loky = type(multiprocessing.current_process()).__name__ == "LokyProcess"
    if not is_loky or threading.current_thread() is not threading.main_thread():
        return
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    # A network takes more than the 300 MB of growth that loky calls a leak, and ends workers for.
    process_executor._MAX_MEMORY_LEAK_SIZE = math.inf
