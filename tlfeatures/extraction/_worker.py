"""What a worker process does with a chunk or a question, and when there is nothing to do."""

from __future__ import annotations

import contextlib
import gc
import math
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib.externals.loky import process_executor

from tlfeatures.extraction._chunk import Done, Row, Run, extract_chunk, forget_engines
from tlfeatures.extraction._said import Said, listening

A = TypeVar("A")
REST_S = 3.0  # without work, after which a process lets go of its network
ENGINES = "tlfeatures.extraction._engine"
_lock = threading.Lock()
_at_work = 0  # threads; a cluster's worker may have several
_rest: threading.Timer | None = None


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
    with _working():
        from tlfeatures.extraction._settings import single_threaded

        _settle_in()
        with single_threaded():
            return work()


@contextlib.contextmanager
def _working() -> Iterator[None]:
    """Keep the network; once nothing has been done for a while, it goes."""
    global _at_work, _rest
    with _lock:
        _at_work += 1
        if _rest is not None:
            _rest.cancel()
    try:
        yield
    finally:
        with _lock:
            _at_work -= 1
            _rest = threading.Timer(REST_S, let_go)
            _rest.daemon = True
            _rest.start()


def let_go() -> None:
    """Give the network's memory back, unless there is work; the process itself stays.

    It is every worker's own affair: what is asked of all of them may reach one twice and another
    not at all, and a cluster's workers never hear that a run has ended.
    """
    from tlfeatures.extraction._settings import give_memory_back

    with _lock:
        if _at_work:
            return
        forget_engines()
        if ENGINES in sys.modules:
            sys.modules[ENGINES].close_networks()
        gc.collect()
        give_memory_back()


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
