"""Compiled files in the cache folder: operations of our own, and what earlier versions left."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from tlfeatures.store._files import SWEEP_AFTER_S, TEMPORARY_PREFIX

KERNELS = "kernels"  # folder of the user's cache
OLD = "compiled"  # folder of any cache, where earlier versions kept networks too
SUFFIX, OLD_SUFFIXES = ".so", (".so", ".pt2")


@dataclasses.dataclass(frozen=True)
class CompiledFile:
    """Operations of our own, or something that only earlier versions used.

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
    def is_left_over(self) -> bool:
        """Whether no run uses it any more."""
        return self.path.parent.name == OLD


def list_compiled(root: str | os.PathLike[str]) -> list[CompiledFile]:
    """What is compiled in a cache folder, by name; nothing if there is no such folder.

    A folder that is a link is not looked into: what it leads to is not the cache's.
    """
    found = []
    for name, suffixes in ((KERNELS, (SUFFIX,)), (OLD, OLD_SUFFIXES)):
        folder = Path(root) / name
        paths = [] if folder.is_symlink() else sorted(folder.glob("*"))
        for path in (path for path in paths if path.suffix in suffixes):
            with contextlib.suppress(OSError):  # taken away meanwhile
                facts = path.lstat()
                if not stat.S_ISDIR(facts.st_mode):
                    found.append(CompiledFile(path, facts.st_size, facts.st_mtime))
    return found


def compiled_totals(files: Iterable[CompiledFile]) -> tuple[int, int]:
    """Return how many files there are, and their bytes together."""
    sizes = [file.bytes for file in files]
    return len(sizes), sum(sizes)


def sweep_compiled(root: str | os.PathLike[str]) -> None:
    """Remove what killed compilers left more than 24 hours ago, and the old folder once empty."""
    for folder in (Path(root) / KERNELS, Path(root) / OLD):
        if folder.is_symlink():
            continue
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime > SWEEP_AFTER_S:
                    shutil.rmtree(path)  # which refuses links
    with contextlib.suppress(OSError):  # not there, not empty, a link
        (Path(root) / OLD).rmdir()
