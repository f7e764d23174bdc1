"""The map over chunks: joblib's, on this machine's cores or on a cluster that it is told of."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from joblib import Parallel, delayed

from tlfeatures.errors import ExtractionError
from tlfeatures.extraction.chunks._joblib import (
    active_backend,
    end_pool,
    is_own_pool,
    own_workers,
)
from tlfeatures.extraction.chunks._said import Said, say
from tlfeatures.extraction.chunks._values import Done, Row, Run
from tlfeatures.extraction.chunks._worker import Errand, answer, do_chunk, end_with, errand_of

A = TypeVar("A")
_log = logging.getLogger(__name__)
TIMES = 3  # that workers may be killed with nothing done in between
KILLED = (
    "worker processes were killed again and again, likely for lack of memory; what was computed is "
    "kept: run again with fewer, such as `n_jobs=1`."
)
KILLED_ON_CLUSTER = (
    "workers of the cluster were killed again and again, likely for lack of memory; what was "
    "computed is kept: run again with more memory for each, or with fewer on a machine."
)
KILLED_AT_ONCE = (
    "a worker process was killed as it read the network, likely for lack of memory; run again with "
    "fewer, such as `n_jobs=1`."
)
SHARE = 3  # a chunk is at most this part of what a process has left to do
LEAST = 8  # nor less than this part of the longest: each costs a file
IN_THIS_PROCESS = ("SequentialBackend", "ThreadingBackend")
_have_started = False  # worker processes of this machine


def chunk_sizes(n: int, n_workers: int, batch_size: int, most: int) -> list[int]:
    """Sizes of chunks that become smaller towards the end, so that all workers end together.

    Parameters
    ----------
    n : int
        Pictures.
    n_workers : int
    batch_size : int
        Chunks are multiples of it, but for the last one.
    most : int

    Returns
    -------
    list of int
        Their sum is n.
    """
    sizes, least = [], max(batch_size, most // LEAST)
    while n:
        share = max(least, -(-n // (SHARE * n_workers)))
        batches = max(1, min(most, share) // batch_size)
        sizes.append(min(n, batches * batch_size))
        n -= sizes[-1]
    return sizes


def cluster_size() -> int:
    """Workers of the backend that `joblib.parallel_config` names; 0 if it is this machine's own."""
    backend, n_jobs = active_backend()
    is_here = is_own_pool(backend) or type(backend).__name__ in IN_THIS_PROCESS
    if is_here or not streams_answers(backend):
        return 0
    return int(backend.effective_n_jobs(-1 if n_jobs in (None, 1) else n_jobs))


def streams_answers(backend: Any) -> bool:
    """Whether answers come as they are done; multiprocessing's do not, loky stands in for it."""
    return bool(getattr(backend, "supports_return_generator", False))


def local_jobs() -> int | None:
    """The number of jobs that `joblib.parallel_config` asks for here; None if it does not."""
    backend, n_jobs = active_backend()
    if type(backend).__name__ in IN_THIS_PROCESS:
        return 1
    return None if n_jobs in (None, 1) else int(backend.effective_n_jobs(n_jobs))


def map_chunks(run: Run, rows: Sequence[Row], n_workers: int, sizes: list[int]) -> Iterator[Done]:
    """Extract the chunks in worker processes; answers come as they are done.

    A worker that is killed loses what it had in hand; its chunks are done again. What workers log
    or warn of is logged here, each line once.

    Parameters
    ----------
    run : Run
    rows : sequence of Row
    n_workers : int
    sizes : list of int
        Of the chunks, in order.

    Raises
    ------
    ExtractionError
        If workers are killed again and again.
    StoreError
        If the cache folder cannot be written.
    """
    waiting: dict[int, Sequence[Row]] = {}
    start = 0
    for i, size in enumerate(sizes):
        waiting[i] = rows[start : start + size]
        start += size
    heard: set[Said] = set()
    with errand_of(run) as errand:
        for done in _map_again(errand, waiting, n_workers):
            errand.keep()
            say(done.said, heard)
            yield done


def _map_again(errand: Errand, waiting: dict[int, Sequence[Row]], n_workers: int) -> Iterator[Done]:
    """Take from what waits until nothing does, though workers are killed."""
    n_killed = 0
    while waiting:
        try:
            with _workers(n_workers) as parallel:
                jobs = (delayed(do_chunk)(i, errand, rows) for i, rows in list(waiting.items()))
                for i, done in parallel(jobs):
                    del waiting[i]
                    n_killed = 0
                    yield done
        except Exception as error:
            n_killed += 1
            if not _is_killed(error):
                raise
            if not isinstance(error, BrokenProcessPool):
                raise ExtractionError(KILLED_ON_CLUSTER) from error
            if n_killed == TIMES:
                raise ExtractionError(KILLED) from error
            _log.warning(
                "a worker process was killed, perhaps for memory; its pictures are done again"
            )


def _is_killed(error: Exception) -> bool:
    """Whether that is what joblib, or Dask after tries of its own, says of killed workers."""
    return isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker"


def ask_workers(n_workers: int, question: Callable[[], A]) -> list[A]:
    """The answers of all worker processes, which are up and running from then on.

    Raises
    ------
    Exception
        What one of them raises.
    """
    try:
        with _workers(n_workers) as parallel:
            answers = list(parallel(delayed(answer)(question) for _ in range(n_workers)))
    except BrokenProcessPool as error:
        raise ExtractionError(KILLED_AT_ONCE) from error
    heard: set[Said] = set()
    for _, said in answers:
        say(said, heard)
    return [found for found, _ in answers]


def end_workers() -> None:
    """End this machine's worker processes at once, for a process that is about to end itself.

    Left to themselves they tidy up first, which takes a second with a ResNet-50 loaded.
    """
    if _have_started:
        end_pool()


@contextlib.contextmanager
def _workers(n_workers: int) -> Iterator[Parallel]:
    global _have_started
    answers = "generator_unordered"
    if cluster_size():
        yield Parallel(return_as=answers)
        return
    _have_started = True
    with own_workers(n_workers, end_with, os.getpid()):
        yield Parallel(return_as=answers, batch_size=1)
