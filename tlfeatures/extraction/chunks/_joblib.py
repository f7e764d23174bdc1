"""What joblib, and loky inside of it, do not document: all that is used of it stands here.

Where one of these names has gone, `parallel_config("loky")` does the work as it comes. A test says
which one it is.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from multiprocessing import resource_tracker
from typing import Any

from joblib import parallel_config

LOKY = "joblib.externals.loky"
SAFE_PATH = {"PYTHONSAFEPATH": "1"}


def find_private(module: str, name: str) -> Any:
    """A name that a module may have no longer, or None."""
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


LokyBackend: Any = find_private("joblib._parallel_backends", "LokyBackend")


class OwnWorkers(LokyBackend or object):  # type: ignore[misc]
    """joblib's worker processes, each of which calls a function first.

    Python starts them, and what tidies up after them, with the working folder before the libraries:
    a file there named like a module would run. They get this process's path afterwards.

    Attributes
    ----------
    first : callable
    given : tuple
        What it is called with.
    """

    first: Callable[..., None]
    given: tuple[Any, ...]

    def configure(self, *args: Any, **options: Any) -> int:
        """Start them, or take those that are there; returns how many."""
        beginning = {"initializer": self.first, "initargs": self.given}
        with _environment(SAFE_PATH):
            resource_tracker.ensure_running()
            return int(super().configure(*args, **beginning, **options))

    def _prepare_worker_env(self, n_jobs: int) -> dict[str, str]:
        return {**super()._prepare_worker_env(n_jobs), **SAFE_PATH}


def own_workers(
    n_workers: int, first: Callable[..., None], *given: Any
) -> contextlib.AbstractContextManager[Any]:
    """For what runs inside: so many processes of one thread each, which call a function first."""
    config: Any = parallel_config
    if LokyBackend is None:  # without that call
        return config("loky", n_jobs=n_workers, inner_max_num_threads=1)  # type: ignore[no-any-return]
    backend = OwnWorkers(inner_max_num_threads=1)
    backend.first, backend.given = first, given
    return config(backend, n_jobs=n_workers)  # type: ignore[no-any-return]


def is_own_pool(backend: Any) -> bool:
    """Whether a backend is joblib's pool on this machine."""
    return any(each.__name__ == "LokyBackend" for each in type(backend).__mro__)


def active_backend() -> tuple[Any, int | None]:
    """The backend and number of jobs that `joblib.parallel_config` names; None if none is told."""
    get_active_backend = find_private("joblib.parallel", "get_active_backend")
    return (None, None) if get_active_backend is None else get_active_backend()


def end_pool() -> None:
    """End this machine's worker processes at once; else they tidy up first."""
    get_reusable_executor = find_private(LOKY, "get_reusable_executor")
    if get_reusable_executor is not None:
        get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def is_pool_process() -> bool:
    """Whether this process is one of joblib's pool."""
    return type(multiprocessing.current_process()).__name__ == "LokyProcess"


def allow_growth() -> None:
    """Let this process of the pool keep what it takes.

    A network takes more than the 300 MB of growth that loky calls a leak, and ends workers for.
    """
    with contextlib.suppress(ImportError):
        pool: Any = import_module(f"{LOKY}.process_executor")
        pool._MAX_MEMORY_LEAK_SIZE = math.inf


@contextlib.contextmanager
def _environment(words: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in words}
    os.environ.update(words)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
