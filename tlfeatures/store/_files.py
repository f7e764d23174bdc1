"""Files that are either absent or whole: written beside, fsynced, renamed, the folder fsynced."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tlfeatures.errors import StoreError

OTHER_CACHE = (
    "or choose another folder in `cache` or $TLFEATURES_CACHE, and run again: what was stored "
    "before is kept."
)
TEMPORARY_PREFIX = ".tmp-"
SWEEP_AFTER_S = 24 * 3600
GONE = (errno.ENOENT, errno.ESTALE)


def temporary_name(suffix: str) -> str:
    """Return a name nobody else uses, on this machine or another one on the same disk."""
    host = re.sub(r"[^A-Za-z0-9]+", "_", platform.node())[:40]
    return f"{TEMPORARY_PREFIX}{host}-{os.getpid()}-{secrets.token_hex(8)}{suffix}"


def read_whole(path: Path) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    FileNotFoundError
        If it has gone.
    StoreError
        If it cannot be read for now.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise read_error(path, error) from error


def check_folder(folder: Path) -> None:
    """Refuse a folder that can never be made, as a file is in its way.

    One that cannot be written to may still be read.

    Raises
    ------
    StoreError
    """
    for place in (folder, *folder.parents):
        if place.is_dir():
            return
        if os.path.lexists(place):
            raise write_error(folder, NotADirectoryError(errno.ENOTDIR, f"{place} is no folder"))


def publish_bytes(data: bytes, path: Path) -> None:
    """Write a whole file under its final name, or nothing.

    Parameters
    ----------
    data : bytes
        The contents.
    path : Path
        Where it stands afterwards; a file already there is replaced.

    Raises
    ------
    OSError
        If any step fails; the temporary file is then removed.
    """
    with replacing(path) as temporary, temporary.open("xb") as file:
        file.write(data)
        file.flush()


@contextlib.contextmanager
def scratch_file(folder: Path, data: bytes) -> Iterator[Path]:
    """A file for all processes that work on a cache folder, gone after the block.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    data : bytes

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    sweep_temporary(folder)
    path = folder / temporary_name(".run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:  # not through a link that others have laid there
            file.write(data)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise write_error(path, error) from error
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def publish_new(data: bytes, path: Path) -> None:
    """Write a whole file under its final name, or nothing; a file already there stays.

    Raises
    ------
    OSError
        If any step fails.
    """
    temporary = path.with_name(temporary_name(path.suffix))
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            try:
                os.link(temporary, path)  # unlike a rename, it replaces nothing
            except (FileExistsError, FileNotFoundError):
                raise
            except OSError:  # a file system without links
                if not path.exists():
                    os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside `path`; what was written there replaces it at the end.

    Raises
    ------
    OSError
        If the file cannot be synced or renamed; the temporary file is then removed.
    """
    temporary = path.with_name(temporary_name(path.suffix))
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk, where the system can do that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders; the rename itself has happened
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def sweep_temporary(folder: Path) -> None:
    """Remove temporary files older than 24 hours; what cannot be removed stays."""
    oldest = time.time() - SWEEP_AFTER_S
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def is_gone(error: BaseException) -> bool:
    """Say whether an error means that the file was taken away (also on a network disk)."""
    return isinstance(error, OSError) and error.errno in GONE


def write_error(path: Path, error: OSError, otherwise: str = OTHER_CACHE) -> StoreError:
    """Return the error of a failed write, with the free space and what to do."""
    made = StoreError(
        f"cannot write {path} ({error.strerror or error}; {_free_space(path)}); "
        f"make room or allow writing there, {otherwise}"
    )
    made.errno = error.errno
    return made


def read_error(path: Path, error: OSError) -> StoreError:
    """Return the error of a failed read, with what to do."""
    made = StoreError(
        f"cannot read {path} ({error.strerror or error}); allow reading there, or choose "
        "another folder in `cache` or $TLFEATURES_CACHE."
    )
    made.errno = error.errno
    return made


def _free_space(path: Path) -> str:
    for folder in path.parents:
        with contextlib.suppress(OSError):
            return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB free"
    return "free space unknown"
