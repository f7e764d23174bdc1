"""Making room: folders of codes that were not used for long are taken away whole."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
import time
from pathlib import Path

from tlfeatures.errors import StoreError
from tlfeatures.store._cache import META_NAME
from tlfeatures.store._files import sweep_temporary, sync_folder, write_error
from tlfeatures.store._info import CacheFolder, cache_info

TRASH_PREFIX, CHECKED_PREFIX = ".trash-", ".gone-"
IN_USE_S = 3600.0  # a folder used so recently may be written to: it is never taken away
DAY_S = 86400.0


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
    """

    removed: list[CacheFolder]
    kept: list[CacheFolder]
    in_use: list[CacheFolder]


def gc_cache(
    root: str | os.PathLike[str],
    *,
    keep_days: float | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
) -> Collection:
    """Take away the folders that were not used for long, or until the rest is small enough.

    A folder is renamed first, so that nobody sees it half gone; a writer whose folder has gone
    makes it again. What a killed run left is swept.

    Parameters
    ----------
    root : path
        The cache folder.
    keep_days : float, optional
        Folders used within so many days stay.
    max_bytes : int, optional
        The least recently used ones go until the folders together have no more than this.
    dry_run : bool, default=False
        Say what would go, and leave it.

    Raises
    ------
    StoreError
        If a folder cannot be taken away.
    """
    now = time.time()
    folders = sorted(cache_info(root), key=lambda entry: _last_used(entry.folder))
    ages = {entry.folder: now - _last_used(entry.folder) for entry in folders}
    size = sum(entry.bytes for entry in folders)
    removed: list[CacheFolder] = []
    in_use: list[CacheFolder] = []
    for entry in folders:
        is_old = keep_days is not None and ages[entry.folder] > keep_days * DAY_S
        is_too_much = max_bytes is not None and size > max_bytes
        if entry.spec is None or not (is_old or is_too_much):
            continue
        if ages[entry.folder] < IN_USE_S:
            in_use.append(entry)
            continue
        if not dry_run and not _take_away(entry, Path(root)):
            in_use.append(entry)
            continue
        removed.append(entry)
        size -= entry.bytes
    if not dry_run:
        _sweep(Path(root))
    kept = [entry for entry in folders if entry not in removed]
    return Collection(removed, kept, in_use)


def _last_used(folder: Path) -> float:
    """Seconds since 1970: runs touch meta.json; without it the folder's own time counts."""
    for path in (folder / META_NAME, folder):
        with contextlib.suppress(OSError):
            return path.stat().st_mtime
    return 0.0


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
            sweep_temporary(folder)
