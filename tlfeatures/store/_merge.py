"""Merging: many small shards become one.

The merged shard lists what it replaces; only those are unlinked, and only after it has been read
back whole. Two that merge the same shards at once leave duplicates, never a gap.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tlfeatures.errors import StoreCorruptError, StoreError
from tlfeatures.store._files import sync_folder
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store.shards._rows import iter_rows
from tlfeatures.store.shards._shard import Float32Array, Keys, ShardTable, load_table, read_replaced

MOST_SMALL = 32  # more small shards than this are merged
_log = logging.getLogger(__name__)


class Mergeable(Protocol):
    """What merging needs of a cache: in the program a `CodeCache`."""

    spec: CodeSpec
    folder: Path
    store_dtype: str

    @property
    def rows_per_shard(self) -> int:
        """The rows of a full shard."""

    def list_shards(self) -> list[Path]:
        """The shard files that are there now, sorted by name."""

    def publish(
        self, keys: Keys, codes: Float32Array, *, dtype: str, replaces: Sequence[str]
    ) -> Path:
        """Write one shard; when this returns, its rows are on the disk."""


def merge_small(cache: Mergeable, most_small: int = MOST_SMALL) -> int:
    """Merge the small shards of a folder, if there are more than `most_small`.

    Parameters
    ----------
    cache : CodeCache
    most_small : int
        Small are files of less than half the size of a full shard.

    Returns
    -------
    int
        How many shards were replaced. What is damaged or has gone meanwhile is left alone.

    Raises
    ------
    StoreError
        If the merged shard cannot be written.
    """
    sizes = _sizes(cache.list_shards())
    full = cache.rows_per_shard * cache.spec.dim * np.dtype(cache.store_dtype).itemsize
    if sum(2 * size < full for size in sizes.values()) <= most_small:
        return 0
    n_replaced = _finish_earlier(cache, list(sizes))
    small = [path for path, size in _sizes(list(sizes)).items() if 2 * size < full]
    small = [path for path in small if _may_unlink(path)]
    for group in _groups(_tables(small, cache.spec), cache.rows_per_shard):
        try:
            n_replaced += merge_group(cache, group)
        except FileNotFoundError:  # somebody else merges, or the folder was taken away
            continue
        except OSError as error:  # merging only saves time
            _log.warning("small shards were not merged: %s", error)
    return n_replaced


def _may_unlink(path: Path) -> bool:
    """Whether this process may remove a file; in a sticky folder only its owner may."""
    if not hasattr(os, "geteuid"):
        return True
    try:
        folder, owner = path.parent.stat(), path.stat().st_uid
    except FileNotFoundError:
        return False
    if not os.access(path.parent, os.W_OK):
        return False
    owners = (0, folder.st_uid, owner)
    return not folder.st_mode & stat.S_ISVTX or os.geteuid() in owners


def _sizes(paths: Sequence[Path]) -> dict[Path, int]:
    """Sizes in bytes of the files that are still there."""
    found: dict[Path, int] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found[path] = path.stat().st_size
    return found


def _tables(paths: Sequence[Path], spec: CodeSpec) -> list[ShardTable]:
    found: list[ShardTable] = []
    for path in paths:
        try:
            found.append(load_table(path, spec))
        except FileNotFoundError:
            continue
        except StoreCorruptError as error:
            _log.warning("small shards were not merged: %s", error)
    return found


def merge_group(cache: Mergeable, group: Sequence[ShardTable]) -> int:
    """Publish one shard with the rows of several, read it back, unlink those.

    Raises
    ------
    FileNotFoundError
        If one of them has gone.
    StoreCorruptError
        If a row of them, or of the merged shard, is damaged; nothing is unlinked.
    """
    keys, codes = _read_all(group)
    dtypes = {table.dtype for table in group}
    dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
    names = [table.path.name for table in group]
    merged = cache.publish(keys, codes, dtype=dtype, replaces=names)
    return _unlink_replaced(cache, merged, names)


def _finish_earlier(cache: Mergeable, paths: Sequence[Path]) -> int:
    """Unlink what a merge that was killed had already replaced."""
    there = {path.name for path in paths}
    n_replaced = 0
    for path in paths:
        with contextlib.suppress(OSError):
            left = [name for name in read_replaced(path) if name in there]
            n_replaced += _unlink_replaced(cache, path, left) if left else 0
    return n_replaced


def _unlink_replaced(cache: Mergeable, merged: Path, names: Iterable[str]) -> int:
    held = _read_back(merged, cache.spec)
    chosen = [cache.folder / name for name in names if name != merged.name]
    for path in chosen:
        with contextlib.suppress(FileNotFoundError):
            if not held.issuperset(load_table(path, cache.spec).keys.tolist()):
                raise StoreError(f"{merged} lacks rows of {path}; both are kept.")
            path.unlink()
    sync_folder(cache.folder)
    return len(chosen)


def _read_back(path: Path, spec: CodeSpec) -> set[bytes]:
    """The keys of a shard, every row of which has been read and checked."""
    table = load_table(path, spec)
    for _ in iter_rows(table):
        pass
    return set(table.keys.tolist())


def _groups(small: Sequence[ShardTable], rows: int) -> list[list[ShardTable]]:
    """Shards together as long as a full one has room; groups of one are left out."""
    groups: list[list[ShardTable]] = [[]]
    for table in small:
        if sum(len(t.keys) for t in groups[-1]) + len(table.keys) > rows:
            groups.append([])
        groups[-1].append(table)
    return [group for group in groups if len(group) > 1]


def _read_all(group: Sequence[ShardTable]) -> tuple[Keys, Float32Array]:
    """Keys (n,) and rows (n, d) of several shards, each key once."""
    blocks: list[npt.NDArray[Any]] = [block for table in group for _, block in iter_rows(table)]
    keys = np.concatenate([table.keys for table in group])
    _, first = np.unique(keys, return_index=True)
    first.sort()
    codes = np.concatenate(blocks)
    return keys[first], codes[first].astype(np.float32)
