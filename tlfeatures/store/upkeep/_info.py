"""What lies in a cache folder: one entry a spec."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path

from tlfeatures._targets import expand
from tlfeatures.errors import StoreCorruptError, StoreFormatError
from tlfeatures.store._files import read_error
from tlfeatures.store._meta import read_meta, read_what
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store.shards._shard import FORMAT, count_rows, read_spec

OWN_CONTRACTS = 1000
UNSAID = "unknown: made before folders said whose codes they hold"
_OUR_NAME = re.compile(r"-[0-9a-f]{12}$")


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
    what : str
        Whose codes these are, in words: a weights file or entry, the random control, a fine-tuned
        model, ...
    """

    folder: Path
    spec: CodeSpec | None
    rows: int
    shards: int
    bytes: int
    what: str


def cache_info(root: str | os.PathLike[str]) -> list[CacheFolder]:
    """List the spec folders of a cache, sorted by name; empty if there is no cache yet.

    Raises
    ------
    StoreError
        If the cache folder cannot be read.
    """
    return [_folder_info(path, spec) for path, spec in spec_folders(root)]


def spec_folders(
    root: str | os.PathLike[str], beginning: str = ""
) -> list[tuple[Path, CodeSpec | None]]:
    """List the spec folders of a cache with their specs, sorted; none if there is no cache yet.

    Parameters
    ----------
    root : path
    beginning : str
        Only folders whose names begin so.

    Raises
    ------
    StoreError
        If the cache folder cannot be read.
    """
    try:
        folders = sorted(path for path in expand(root).iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise read_error(expand(root), error) from error
    chosen = [p for p in folders if p.name.startswith(beginning) and not p.name.startswith(".")]
    return [(path, _spec(path)) for path in chosen if _is_ours(path)]


def newest_contract(root: str | os.PathLike[str], spec: CodeSpec) -> int:
    """The highest contract that this cache has for a spec, 0 if it has none of it.

    A cache's own contracts are numbered from `OWN_CONTRACTS` times the program's, so that those of
    different programs are kept apart.

    Raises
    ------
    StoreError
        If the cache folder cannot be read.
    """
    alike = dataclasses.replace(spec, contract=1)
    beginning = spec.folder_name.rpartition("-")[0]
    contracts = [
        found.contract
        for folder, found in spec_folders(root, beginning)
        if found is not None
        and dataclasses.replace(found, contract=1) == alike
        and spec.contract in (found.contract, found.contract // OWN_CONTRACTS)
    ]
    return max(contracts, default=0)


def cache_totals(folders: Iterable[CacheFolder]) -> tuple[int, int]:
    """Return the rows and the bytes of all folders together."""
    chosen = list(folders)
    return sum(entry.rows for entry in chosen), sum(entry.bytes for entry in chosen)


def folder_size(root: str | os.PathLike[str]) -> int:
    """The bytes of all files of a cache folder, as far as they can be seen; none is opened."""
    size = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(folder, name)).st_size
    return size


def _folder_info(folder: Path, spec: CodeSpec | None) -> CacheFolder:
    shards = _shards(folder)
    size = 0
    with contextlib.suppress(OSError):
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                size += path.stat().st_size if path.is_file() else 0
    rows = sum(_rows(path) for path in shards)
    return CacheFolder(folder, spec, rows, len(shards), size, read_what(folder) or UNSAID)


def _shards(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(p for p in folder.glob("*.h5") if not p.name.startswith("."))
    return []


def _rows(path: Path) -> int:
    try:
        return count_rows(path)
    except OSError:  # damaged or gone: reading the cache says so, counting does not stop
        return 0


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds codes: by its name, or by what meta.json calls itself."""
    return bool(_OUR_NAME.search(folder.name)) or read_meta(folder).get("format") == FORMAT


def _spec(folder: Path) -> CodeSpec | None:
    """What meta.json or else a shard says, if it fits the folder's name; None if nothing does.

    Raises
    ------
    StoreError
        If a file cannot be read for now.
    """
    try:
        spec = CodeSpec.from_json(read_meta(folder)["spec"])
        if spec.folder_name == folder.name:
            return spec
    except (StoreFormatError, KeyError, TypeError):
        pass
    for path in _shards(folder):
        try:
            spec = read_spec(path)
        except (FileNotFoundError, StoreCorruptError, StoreFormatError):
            continue
        if spec.folder_name == folder.name:
            return spec
    return None
