"""Taking the shards of another cache folder, each checked before it is taken."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tlfeatures._targets import expand
from tlfeatures.errors import StoreCorruptError, StoreError
from tlfeatures.store._cache import CodeCache
from tlfeatures.store._files import publish_bytes, write_error
from tlfeatures.store._meta import read_what
from tlfeatures.store._probes import PROBES_NAME, read_probes, relative_difference, tolerance
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store.memory._bad import BAD_GLOB
from tlfeatures.store.upkeep._info import spec_folders
from tlfeatures.store.upkeep._verify import NAMELESS, Problem, check_file, visit_all


@dataclasses.dataclass(frozen=True)
class Taken:
    """What `merge_caches` did.

    Attributes
    ----------
    shards, rows : int
        That were not here before.
    present : int
        Shards that were here already.
    refused : list of Problem
        Files or folders of the other cache that were left there.
    """

    shards: int
    rows: int
    present: int
    refused: list[Problem]


def merge_caches(root: str | os.PathLike[str], other: str | os.PathLike[str]) -> Taken:
    """Copy what another cache folder has and this one has not; the other one is not changed.

    Parameters
    ----------
    root, other : path
        Cache folders.

    Raises
    ------
    StoreError
        If one of them cannot be read or written, or the other is no folder.
    """
    other = expand(other)
    if not other.is_dir():
        raise StoreError(f"{other} is no folder; give another cache folder.")
    parts = []
    for folder, spec in spec_folders(other):
        if spec is None:
            parts.append(Taken(0, 0, 0, [Problem(folder, NAMELESS)]))
        elif reason := _contradiction(CodeCache(root, spec), CodeCache(other, spec)):
            parts.append(Taken(0, 0, 0, [Problem(folder, reason)]))
        else:
            parts.append(take_shards(root, spec, folder))
    return Taken(
        sum(part.shards for part in parts),
        sum(part.rows for part in parts),
        sum(part.present for part in parts),
        [problem for part in parts for problem in part.refused],
    )


def take_shards(root: str | os.PathLike[str], spec: CodeSpec, folder: Path) -> Taken:
    """Copy the shards, remembered bad pictures and probes of one folder of that spec.

    Raises
    ------
    StoreError
        If a file cannot be read or written.
    """
    cache = CodeCache(root, spec, what=read_what(folder))
    n_shards = n_rows = n_present = 0
    refused: list[Problem] = []

    def list_files() -> list[Path]:
        # Probes first: rows never stand without them, wherever this is interrupted.
        found = [p for glob in (PROBES_NAME, "*.h5", BAD_GLOB) for p in sorted(folder.glob(glob))]
        return [path for path in found if not path.name.startswith(".")]

    def take(path: Path) -> None:
        nonlocal n_shards, n_rows, n_present
        target, is_shard = cache.folder / path.name, path.suffix == ".h5"
        if cache.read_probes() if path.name == PROBES_NAME else target.exists():
            n_present += is_shard
            return
        reason, rows = check_file(path, spec)
        if reason:
            refused.append(Problem(path, reason))
            return
        _copy(path, target, cache)
        n_shards, n_rows = n_shards + is_shard, n_rows + rows

    if not visit_all(list_files, take):
        refused.append(Problem(folder, "its shards were merged all the time; take it once more"))
    return Taken(n_shards, n_rows, n_present, refused)


def _copy(path: Path, target: Path, cache: CodeCache) -> None:
    if path.name == PROBES_NAME:
        cache.write_probes(read_probes(path))
        return
    data = path.read_bytes()
    try:
        cache.make_folder()
        publish_bytes(data, target)
    except OSError as error:
        raise write_error(target, error) from error


def _contradiction(mine: CodeCache, theirs: CodeCache) -> str:
    """Why the rows of two caches must not be mixed, or ""."""
    one = mine.read_probes()
    try:
        other = theirs.read_probes()
    except StoreCorruptError as error:
        return str(error)
    if one is None and not mine.list_shards():
        return ""
    if one is None or other is None:
        return "" if one is other else "only one side has codes of the probe pictures to compare"
    difference = relative_difference(other.codes, one.codes)
    if difference <= tolerance(mine.spec.precision):
        return ""
    return f"its codes of the probe pictures differ from those here (relative {difference:.2g})"
