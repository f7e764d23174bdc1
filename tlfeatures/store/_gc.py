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
from tlfeatures.store._take import take_shards

TRASH_PREFIX = ".trash-"
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
        if not (is_old or is_too_much):
            continue
        if ages[entry.folder] < IN_USE_S:
            in_use.append(entry)
            continue
        if not dry_run:
            _take_away(entry, Path(root), now)
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


def _take_away(entry: CacheFolder, root: Path, since: float) -> None:
    trash = root / f"{TRASH_PREFIX}{entry.folder.name}-{secrets.token_hex(4)}"
    try:
        os.replace(entry.folder, trash)
        sync_folder(root)
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_error(entry.folder, error) from error
    # A writer that began meanwhile wrote into it: what it announced goes back.
    if entry.spec is not None and _newest(trash) > since:
        take_shards(root, entry.spec, trash)
    shutil.rmtree(trash, ignore_errors=True)


def _newest(folder: Path) -> float:
    times = [0.0]
    for path in folder.glob("*.h5"):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def _sweep(root: Path) -> None:
    """Remove what killed runs left: trash, and temporary files older than a day."""
    with contextlib.suppress(OSError, StoreError):
        for path in root.glob(f"{TRASH_PREFIX}*"):
            if time.time() - path.stat().st_ctime > IN_USE_S:
                shutil.rmtree(path, ignore_errors=True)
        for folder in (root, *(path for path in root.iterdir() if path.is_dir())):
            sweep_temporary(folder)
