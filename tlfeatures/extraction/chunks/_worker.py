"""What a worker process does with a chunk or a question, and when there is nothing to do."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from joblib import wrap_non_picklable_objects

from tlfeatures.errors import StoreError
from tlfeatures.extraction.chunks._chunk import extract_chunk, forget_engines
from tlfeatures.extraction.chunks._joblib import allow_growth, is_pool_process
from tlfeatures.extraction.chunks._said import Said, listening
from tlfeatures.extraction.chunks._values import Done, Row, Run
from tlfeatures.machine import is_worker
from tlfeatures.store import scratch_file

A = TypeVar("A")
REST_S = 3.0  # without work, after which a process lets go of its network
PARENT_S = 1.0  # between two looks whether the parent is still there
RARELY = (50_000, 20, 20)  # for the garbage collector: imports make a million objects that stay
ENGINES = "tlfeatures.engine._opened"
_lock = threading.Lock()
_at_work = 0  # threads; a cluster's worker may have several
_rest: threading.Timer | None = None
_runs: dict[str, Run] = {}  # the one that this process works for


@dataclass(frozen=True)
class Errand:
    """Where a worker finds the run that its chunks belong to.

    Attributes
    ----------
    token : str
        The run's.
    path : Path
        A file that all workers see.
    digest : bytes
        What it must hold: it is code, in a folder that others may write to.
    """

    token: str
    path: Path
    digest: bytes

    def keep(self) -> None:
        """Say that the run goes on, so that nobody sweeps its file."""
        with contextlib.suppress(OSError):
            os.utime(self.path)


@contextlib.contextmanager
def errand_of(run: Run) -> Iterator[Errand]:
    """Lay a run down in its cache folder, for each worker to read once.

    It may hold a whole network, and chunks are many.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    data = pickle.dumps(wrap_non_picklable_objects(run, keep_wrapper=False))
    with scratch_file(run.cache, data) as path:
        yield Errand(run.token, path, _digest(data))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def _run_of(errand: Errand) -> Run:
    with _lock:
        if errand.token not in _runs:
            _runs.clear()
            _runs[errand.token] = _read(errand)
        return _runs[errand.token]


def _read(errand: Errand) -> Run:
    try:
        data = errand.path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"a worker cannot read {errand.path} ({error.strerror or error}); the cache folder "
            "must be seen under this path by all machines that take part."
        ) from error
    if _digest(data) != errand.digest:
        raise StoreError(f"{errand.path} is not what this run has written; run again.")
    run: Run = pickle.loads(data)  # noqa: S301  the caller's own, as its digest says
    return run


def end_with(parent: int) -> None:
    """End this process soon after its parent has ended, however that was.

    The queue that it takes chunks from stays open, as it holds both ends itself. No signal of the
    system's: that comes when the thread ends which started this process.

    Parameters
    ----------
    parent : int
        Its process id.
    """
    if os.name == "posix":  # elsewhere the id stays that of a parent that has gone
        threading.Thread(target=_watch, args=(parent,), name="end_with", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    os._exit(1)  # as killed: what is stored is whole, and nobody waits for the rest


def do_chunk(i: int, errand: Errand, rows: Sequence[Row]) -> tuple[int, Done]:
    """One chunk, single-threaded, and what was said meanwhile."""
    with listening() as said:
        done = _alone(lambda: extract_chunk(_run_of(errand), rows))
    done.said = tuple(said)
    return i, done


def answer(question: Callable[[], A]) -> tuple[A, tuple[Said, ...]]:
    """The answer, found single-threaded, and what was said meanwhile."""
    with listening() as said:
        found = _alone(question)
    return found, tuple(said)


def _alone(work: Callable[[], A]) -> A:
    with _working():
        _settle_in()
        from tlfeatures.engine import single_threaded

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
    from tlfeatures.engine import give_memory_back

    with _lock:
        if _at_work:
            return
        _runs.clear()
        forget_engines()
        if ENGINES in sys.modules:
            sys.modules[ENGINES].close_networks()
        gc.collect()
        give_memory_back()


def _settle_in() -> None:
    """Make this process a worker, if it was started for it; once."""
    if is_pool_process():
        gc.set_threshold(*RARELY)
    if is_worker():
        from tlfeatures.engine import keep_memory

        keep_memory()
    if not is_pool_process() or threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    allow_growth()
