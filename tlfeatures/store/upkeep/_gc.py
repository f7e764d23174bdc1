"""Making room: folders of codes, and compiled files, that were not used for long go."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
import time
from pathlib import Path

from tlfeatures._targets import expand
from tlfeatures.errors import StoreError
from tlfeatures.store._files import sweep_temporary, sync_folder, write_error
from tlfeatures.store._meta import META_NAME
from tlfeatures.store.upkeep._info import CacheFolder, cache_info
from tlfeatures.store.upkeep._kernels import CompiledFile, list_compiled, sweep_compiled

TRASH_PREFIX, CHECKED_PREFIX = ".trash-", ".gone-"
IN_USE_S = 3600.0  # a folder used so recently may be written to: it is never taken away
DAY_S = 86400.0
Entry = CacheFolder | CompiledFile


@dataclasses.dataclass(frozen=True)
class Collection:
    """What `gc_cache` did.

    Attributes
    ----------
    removed : list of CacheFolder
        Least recently used first.
    kept : list of CacheFolder
    in_use : list of CacheFolder
        Kept only because they were used within the last hour.
    compiled_removed, compiled_kept : list of CompiledFile
    """

    removed: list[CacheFolder]
    kept: list[CacheFolder]
    in_use: list[CacheFolder]
    compiled_removed: list[CompiledFile]
    compiled_kept: list[CompiledFile]


def gc_cache(
    root: str | os.PathLike[str],
    *,
    keep_days: float | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
) -> Collection:
    """Take away what was not used for long, or until the rest is small enough.

    A folder is renamed first, so that nobody sees it half gone; a writer whose folder has gone
    makes it again. What was used within the last hour stays. What a killed run left is swept, and
    compiled networks of earlier versions go, however young: no run reads them.

    Parameters
    ----------
    root : path
        The cache folder.
    keep_days : float, optional
        What was used within so many days stays.
    max_bytes : int, optional
        The least recently used go until the rest together has no more than this.
    dry_run : bool, default=False
        Say what would go, and leave it.

    Raises
    ------
    StoreError
        If something cannot be taken away.
    """
    now = time.time()
    found: list[Entry] = [*cache_info(root), *list_compiled(root)]
    entries = sorted(found, key=_used)
    size = sum(entry.bytes for entry in entries)
    removed: list[Entry] = []
    in_use: list[Entry] = []
    for entry in entries:
        age = now - _used(entry)
        is_old = keep_days is not None and age > keep_days * DAY_S
        is_too_much = max_bytes is not None and size > max_bytes
        if not _may_go(entry) or not (is_old or is_too_much or _is_useless(entry)):
            continue
        is_in_use = age < IN_USE_S and not _is_useless(entry)
        if is_in_use or not (dry_run or _take(entry, expand(root))):
            in_use.append(entry)
            continue
        removed.append(entry)
        size -= entry.bytes
    if not dry_run:
        _sweep(expand(root))
        sweep_compiled(root)
    kept = [entry for entry in entries if entry not in removed]
    return Collection(
        removed=_folders(removed),
        kept=_folders(kept),
        in_use=_folders(in_use),
        compiled_removed=_files(removed),
        compiled_kept=_files(kept),
    )


def _used(entry: Entry) -> float:
    return entry.used if isinstance(entry, CompiledFile) else _last_used(entry.folder)


def _may_go(entry: Entry) -> bool:
    return isinstance(entry, CompiledFile) or entry.spec is not None


def _is_useless(entry: Entry) -> bool:
    return isinstance(entry, CompiledFile) and entry.is_left_over


def _take(entry: Entry, root: Path) -> bool:
    """Take it away; False if it stays."""
    if isinstance(entry, CacheFolder):
        return _take_away(entry, root)
    try:
        entry.path.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(entry.path, error) from error
    return True


def _folders(entries: list[Entry]) -> list[CacheFolder]:
    return [entry for entry in entries if isinstance(entry, CacheFolder)]


def _files(entries: list[Entry]) -> list[CompiledFile]:
    return [entry for entry in entries if isinstance(entry, CompiledFile)]


def _last_used(folder: Path) -> float:
    """Seconds since 1970: runs touch meta.json where they may, and shards change the folder's."""
    times = [0.0]
    for path in (folder / META_NAME, folder):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def _take_away(entry: CacheFolder, root: Path) -> bool:
    """Rename a folder, look whether it was used meanwhile, delete it; False if it stays."""
    before, used = _names(entry.folder), _last_used(entry.folder)
    if time.time() - used < IN_USE_S:
        return False
    trash = root / f"{TRASH_PREFIX}{entry.folder.name}-{secrets.token_hex(4)}"
    try:
        os.replace(entry.folder, trash)
        sync_folder(root)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise write_error(entry.folder, error) from error
    if _names(trash) != before or _last_used(trash) != used:
        _give_back(trash, entry.folder)
        return False
    checked = trash.with_name(trash.name.replace(TRASH_PREFIX, CHECKED_PREFIX, 1))
    os.replace(trash, checked)
    shutil.rmtree(checked, ignore_errors=True)
    return True


def _names(folder: Path) -> set[str]:
    with contextlib.suppress(OSError):
        return set(os.listdir(folder))
    return set()


def _give_back(trash: Path, folder: Path) -> None:
    """Put a folder back where it was, or its files into the one that is there now."""
    try:
        if not folder.exists():
            os.replace(trash, folder)
            sync_folder(folder.parent)
            return
        for path in sorted(trash.iterdir()):
            if path.is_file() and not (folder / path.name).exists():
                os.replace(path, folder / path.name)
        sync_folder(folder)
        shutil.rmtree(trash, ignore_errors=True)
    except OSError as error:
        raise write_error(folder, error) from error


def _sweep(root: Path) -> None:
    """Delete what a killed run had decided to delete; give back what it had not decided on."""
    with contextlib.suppress(OSError, StoreError):
        for path in root.glob(f"{CHECKED_PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in root.glob(f"{TRASH_PREFIX}*"):
            if time.time() - path.stat().st_ctime > IN_USE_S:
                name = path.name.removeprefix(TRASH_PREFIX).rpartition("-")[0]
                _give_back(path, root / name)
        for folder in (root, *(path for path in root.iterdir() if path.is_dir())):
            if folder == root or not folder.is_symlink():  # what it leads to is not the cache's
                sweep_temporary(folder)
