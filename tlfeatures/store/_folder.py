"""Where the cache lies, and the folder of one spec in it: made whole, its shards listed."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from tlfeatures._targets import expand
from tlfeatures.store._files import is_gone, read_error, sync_folder
from tlfeatures.store._meta import META_NAME, write_meta
from tlfeatures.store._spec import CodeSpec


def default_cache_dir() -> Path:
    """Return $TLFEATURES_CACHE, or else the user's cache folder of this system."""
    chosen = os.environ.get("TLFEATURES_CACHE")
    return expand(chosen) if chosen else user_cache_dir()


def user_cache_dir() -> Path:
    """The user's cache folder of this system, where nobody else writes."""
    return platformdirs.user_cache_path("tlfeatures")


def list_shards(folder: Path) -> list[Path]:
    """Return the shard files that are there now, sorted by name; none if the folder is not there.

    Raises
    ------
    StoreError
        If the folder cannot be read.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        if is_gone(error):
            return []
        raise read_error(folder, error) from error
    shards = sorted(n for n in names if n.endswith(".h5") and not n.startswith("."))
    return [folder / name for name in shards]


def make_folder(folder: Path, spec: CodeSpec, what: str | None) -> None:
    """Make the folder of a spec and its meta.json, where they are not there.

    Raises
    ------
    OSError
        If that is not possible.
    """
    if not folder.is_dir():
        new = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for each in new:
            sync_folder(each.parent)
    if not (folder / META_NAME).exists():
        write_meta(folder, spec, what)
