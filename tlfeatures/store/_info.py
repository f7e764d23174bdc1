"""What lies in a cache folder: one entry a spec."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from tlfeatures.errors import StoreError
from tlfeatures.store._cache import META_NAME, read_meta
from tlfeatures.store._files import read_error
from tlfeatures.store._shard import count_rows, read_spec
from tlfeatures.store._spec import CodeSpec


@dataclasses.dataclass(frozen=True)
class CacheFolder:
    """One spec's folder: what it holds, and how much.

    Attributes
    ----------
    folder : Path
        Where it is.
    spec : CodeSpec or None
        Which codes; None where neither meta.json nor a shard says it.
    rows : int
        Rows in all shards that can be read; a key that stands in two counts twice.
    shards : int
        The number of shard files.
    bytes : int
        The size of the folder's files, in bytes.
    """

    folder: Path
    spec: CodeSpec | None
    rows: int
    shards: int
    bytes: int


def cache_info(root: str | os.PathLike[str]) -> list[CacheFolder]:
    """List the spec folders of a cache, sorted by name; empty if there is no cache yet.

    Raises
    ------
    StoreError
        If the cache folder cannot be read.
    """
    try:
        folders = sorted(path for path in Path(root).iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise read_error(Path(root), error) from error
    entries = (_folder_info(path) for path in folders if not path.name.startswith("."))
    return [entry for entry in entries if entry is not None]


def cache_totals(folders: Iterable[CacheFolder]) -> tuple[int, int]:
    """Return the rows and the bytes of all folders together."""
    chosen = list(folders)
    return sum(entry.rows for entry in chosen), sum(entry.bytes for entry in chosen)


def _folder_info(folder: Path) -> CacheFolder | None:
    sizes: dict[Path, int] = {}
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(OSError):
                sizes[path] = path.stat().st_size
    shards = [path for path in sizes if path.suffix == ".h5" and not path.name.startswith(".")]
    if not shards and folder / META_NAME not in sizes:
        return None
    rows = sum(_rows(path) for path in shards)
    return CacheFolder(folder, _spec(folder, shards), rows, len(shards), sum(sizes.values()))


def _rows(path: Path) -> int:
    try:
        return count_rows(path)
    except OSError:  # damaged or gone: reading the cache says so, counting does not stop
        return 0


def _spec(folder: Path, shards: list[Path]) -> CodeSpec | None:
    with contextlib.suppress(StoreError, KeyError, TypeError):
        return CodeSpec.from_json(read_meta(folder)["spec"])
    for path in shards[:1]:
        with contextlib.suppress(OSError):
            return read_spec(path)
    return None
