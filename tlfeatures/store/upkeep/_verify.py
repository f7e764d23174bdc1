"""Verifying and repairing: every byte is read, what is broken moved aside, nothing deleted."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlfeatures._targets import expand
from tlfeatures.errors import StoreError, StoreFormatError
from tlfeatures.store._cache import CodeCache
from tlfeatures.store._files import read_whole, sync_folder, write_error
from tlfeatures.store._meta import META_NAME, read_meta
from tlfeatures.store._probes import PROBES_NAME, read_probes
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store.memory._bad import BAD_GLOB, read_bad_file
from tlfeatures.store.shards._rows import is_whole, read_blocks
from tlfeatures.store.shards._shard import ShardTable, load_table, shard_name
from tlfeatures.store.upkeep._info import spec_folders

NAMELESS = "no file in it says which codes these are, or the folder has another name than they say"
LISTINGS = 40  # of a folder whose shards are merged meanwhile
BROKEN = "broken"  # the folder that broken files are moved to, inside a spec's folder


@dataclasses.dataclass(frozen=True)
class Problem:
    """A file of the cache that is not as it was written.

    Attributes
    ----------
    path : Path
    reason : str
        One line.
    """

    path: Path
    reason: str


@dataclasses.dataclass(frozen=True)
class Verification:
    """What `verify_cache` found.

    Attributes
    ----------
    folders, shards, rows : int
        Rows of shards that are whole; a key that stands in two shards counts twice.
    bytes : int
        Read and checked.
    problems : list of Problem
        Empty if every file is as it was written.
    """

    folders: int
    shards: int
    rows: int
    bytes: int
    problems: list[Problem]


@dataclasses.dataclass(frozen=True)
class Repair:
    """What `repair_cache` did.

    Attributes
    ----------
    moved : list of Problem
        The broken files, by the paths they had; they lie in the folder "broken" beside it now.
    rescued, lost : int
        Rows of broken shards that were whole and are in new shards; rows that must be computed
        again, as far as a shard still says how many it had.
    """

    moved: list[Problem]
    rescued: int
    lost: int


def verify_cache(root: str | os.PathLike[str]) -> Verification:
    """Read the whole cache: digests of files, checksums of rows, specs, probes, bad pictures.

    Parameters
    ----------
    root : path
        The cache folder; if it does not exist yet, nothing is wrong.

    Raises
    ------
    StoreError
        If a file cannot be read for now (permission, too many open files).
    """
    problems: list[Problem] = []
    n_folders = n_shards = n_rows = n_bytes = 0
    for folder, spec in spec_folders(root):
        n_folders += 1
        for path, size, reason, whole in _check_all(folder, spec):
            n_shards += path.suffix == ".h5"
            n_bytes += size
            n_rows += 0 if reason else whole
            if reason:
                problems.append(Problem(path, reason))
        if spec is None and _files(folder):  # a writer that was stopped early leaves it empty
            problems.append(
                Problem(folder, "neither meta.json nor a shard says which codes these are")
            )
    return Verification(n_folders, n_shards, n_rows, n_bytes, problems)


def repair_cache(root: str | os.PathLike[str]) -> Repair:
    """Move broken files aside, and keep the rows of broken shards that are whole.

    Raises
    ------
    StoreError
        If a file cannot be read, moved or written.
    """
    moved: list[Problem] = []
    rescued = lost = 0
    for folder, spec in spec_folders(root):
        if spec is None:  # whole files of a folder that was renamed, say: verify names it
            continue
        for path in _files(folder):
            with contextlib.suppress(FileNotFoundError):
                reason, _ = check_file(path, spec)
                if not reason or _is_of_another_version(path, spec):
                    continue
                if path.suffix == ".h5":
                    kept, gone = _rescue(path, CodeCache(expand(root), spec))
                    rescued, lost = rescued + kept, lost + gone
                _move_aside(path)
                moved.append(Problem(path, reason))
        if moved:
            CodeCache(expand(root), spec).make_folder()
    return Repair(moved, rescued, lost)


def _is_of_another_version(path: Path, spec: CodeSpec) -> bool:
    """Whether a file is whole, but of a version that this program does not know."""
    try:
        if path.suffix == ".h5":
            load_table(path, spec)
        elif path.suffix == ".json" and path.name not in (META_NAME, PROBES_NAME):
            read_bad_file(path)
    except StoreFormatError:
        return True
    except StoreError:
        return False
    return False


def check_file(path: Path, spec: CodeSpec | None) -> tuple[str, int]:
    """What is wrong with a file, "" if nothing is, and how many rows it has.

    Raises
    ------
    FileNotFoundError
        If it has gone.
    StoreError
        If it cannot be read for now.
    """
    try:
        if path.suffix == ".h5":
            return _check_shard(path, spec)
        if path.name == META_NAME:
            _check_meta(path, spec)
        elif path.name == PROBES_NAME:
            read_probes(path, spec.dim if spec else None)
        else:
            read_bad_file(path)
    except FileNotFoundError:
        raise
    except StoreError as error:
        if error.errno:  # of the system: it says nothing about the file
            raise
        return str(error), 0
    return "", 0


def _check_shard(path: Path, spec: CodeSpec | None) -> tuple[str, int]:
    data = read_whole(path)
    if shard_name(data) != path.name:
        return "its name is not the digest of its bytes", 0
    if spec is None:
        return NAMELESS, 0
    table = load_table(path, spec)
    whole = sum(int(_is_sound(table, *part).sum()) for part in read_blocks(table))
    n_rows = len(table.keys)
    reason = f"{n_rows - whole} of {n_rows} rows fail their checksum, or hold NaN or infinity"
    return "" if whole == n_rows else reason, whole


def _is_sound(table: ShardTable, rows: NDArray[np.intp], codes: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows, as stored, are what a writer takes and as it wrote them; of shape (m,)."""
    is_finite: NDArray[np.bool_] = np.isfinite(codes).all(axis=1)
    return is_finite & is_whole(table, rows, codes)


def _check_meta(path: Path, spec: CodeSpec | None) -> None:
    meta = read_meta(path.parent)
    if spec is None or meta.get("spec") != spec.to_json() or meta.get("key") != spec.key:
        raise StoreError(
            f"{path} does not say which codes these are; run 'tlfeatures cache verify --repair'."
        )


def _rescue(path: Path, cache: CodeCache) -> tuple[int, int]:
    """Publish the whole rows of a broken shard in a new one; returns (rescued, lost)."""
    try:
        table = load_table(path, cache.spec)
        keys, codes = [], []
        for rows, block in read_blocks(table):
            chosen = _is_sound(table, rows, block)
            keys.append(table.keys[rows[chosen]])
            codes.append(block[chosen].astype(np.float32))
    except FileNotFoundError:
        raise
    except StoreError as error:
        if error.errno:
            raise
        return 0, 0
    kept = sum(len(part) for part in keys)
    if kept:
        cache.publish(np.concatenate(keys), np.concatenate(codes), dtype=table.dtype)
    return kept, len(table.keys) - kept


def _move_aside(path: Path) -> None:
    target = path.parent / BROKEN / path.name
    for number in range(1, 1000):
        if not target.exists():
            break
        target = target.with_name(f"{path.stem}-{number}{path.suffix}")
    try:
        target.parent.mkdir(exist_ok=True)
        os.replace(path, target)
        sync_folder(target.parent)
        sync_folder(path.parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise write_error(target, error) from error


def visit_all(list_files: Callable[[], Iterable[Path]], visit: Callable[[Path], None]) -> bool:
    """Visit each file once; while some vanish, as shards do that are merged, list them again.

    Returns
    -------
    bool
        False if they went on vanishing.
    """
    seen: set[Path] = set()
    for _ in range(LISTINGS):
        has_vanished = False
        for path in list_files():
            if path not in seen:
                try:
                    visit(path)
                    seen.add(path)
                except FileNotFoundError:
                    has_vanished = True
        if not has_vanished:
            return True
    return False


def _check_all(folder: Path, spec: CodeSpec | None) -> list[tuple[Path, int, str, int]]:
    """Each file of a folder with its bytes, what is wrong with it, and its rows."""
    found: list[tuple[Path, int, str, int]] = []

    def check(path: Path) -> None:
        size = path.stat().st_size
        found.append((path, size, *check_file(path, spec)))

    visit_all(lambda: _files(folder), check)
    return found


def _files(folder: Path) -> list[Path]:
    """The files that are published in a spec's folder, sorted."""
    patterns = ("*.h5", META_NAME, PROBES_NAME, BAD_GLOB)
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    return sorted(path for path in found if not path.name.startswith("."))
