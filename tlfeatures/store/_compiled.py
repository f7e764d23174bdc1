"""Compiled networks and operations in the cache folder: how they are named, how many there are."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tlfeatures.store._files import SWEEP_AFTER_S, TEMPORARY_PREFIX

COMPILED = "compiled"  # folder of the cache
SUFFIX, OF_ANY_TORCH = ".pt2", ".so"
_BEFORE_VERSION = "-torch-"


@dataclasses.dataclass(frozen=True)
class CompiledFile:
    """A compiled network, or operations of our own.

    Attributes
    ----------
    path : Path
    bytes : int
    used : float
        When it was made or used last, in seconds since 1970.
    """

    path: Path
    bytes: int
    used: float

    @property
    def is_current(self) -> bool:
        """Whether a run may use it: a network if the torch that is installed made it."""
        return self.path.name.endswith((_ending(), OF_ANY_TORCH))


def compiled_path(root: str | os.PathLike[str], digest: str) -> Path:
    """Where the compiled network that this digest stands for is kept, for the installed torch."""
    return Path(root) / COMPILED / f"{digest}{_ending()}"


def kernels_path(root: str | os.PathLike[str], digest: str) -> Path:
    """Where the compiled operations that this digest stands for are kept; they need no torch."""
    return Path(root) / COMPILED / f"{digest}{OF_ANY_TORCH}"


def list_compiled(root: str | os.PathLike[str]) -> list[CompiledFile]:
    """What is compiled in a cache folder, by name; nothing if there is no such folder."""
    found = []
    for path in sorted((Path(root) / COMPILED).glob("*")):
        if path.suffix not in (SUFFIX, OF_ANY_TORCH):
            continue
        with contextlib.suppress(OSError):  # taken away meanwhile
            facts = path.stat()
            found.append(CompiledFile(path, facts.st_size, facts.st_mtime))
    return found


def compiled_totals(files: Iterable[CompiledFile]) -> tuple[int, int]:
    """Return how many files there are, and their bytes together."""
    sizes = [file.bytes for file in files]
    return len(sizes), sum(sizes)


def mark_compiled(path: Path) -> None:
    """Note the time for `gc_cache`; a read-only cache stays as it is."""
    with contextlib.suppress(OSError):
        os.utime(path)


def sweep_compiled(root: str | os.PathLike[str]) -> None:
    """Remove what compiling left behind when it was killed more than 24 hours ago."""
    for path in (Path(root) / COMPILED).glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > SWEEP_AFTER_S:
                shutil.rmtree(path)


def _ending() -> str:
    try:
        return f"{_BEFORE_VERSION}{version('torch')}{SUFFIX}"
    except PackageNotFoundError:
        return f"{_BEFORE_VERSION}none{SUFFIX}"
