"""Paths that a person typed, and files that are written there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tlfeatures.errors import OutputError, UsageError

ELSEWHERE = "name a file in a folder that can be written"
WAY_OUT = f"make room or allow writing there, or {ELSEWHERE}"
Typed = str | os.PathLike[str]


def expand(path: Typed) -> Path:
    """The path with the home folder in place of a leading `~`, as a shell would have it.

    In `--out=~/x`, and in Python, no shell has seen it. A user nobody knows stays as typed.
    """
    return Path(os.path.expanduser(os.fsdecode(path)))


def expand_given(path: str) -> str:
    """The same for something that is read: a file of just that name goes first."""
    if not path.startswith("~") or os.path.lexists(path):
        return path
    return os.path.expanduser(path)


def check_target(path: Typed, what: str, endings: Sequence[str] = ()) -> Path:
    """Look, before any work is done, whether a file can be written there.

    Parameters
    ----------
    path : path
        Its folder need not be there: it is made when the file is written.
    what : str
        What is to be written, for messages: "the page".
    endings : sequence of str
        Those that the name may have, such as ".html"; none: any.

    Returns
    -------
    Path
        With `~` expanded.

    Raises
    ------
    UsageError
        If no disk could hold it: an empty name, another ending.
    OutputError
        If this one does not.
    """
    words = os.fsdecode(path)
    if not words.strip() or "\0" in words:
        raise UsageError(f"{what}: {words!r} is no file name; name a file.")
    if endings and not words.lower().endswith(tuple(endings)):
        raise UsageError(
            f"{what}: {words!r} is no name of the format that is written; end the name in "
            f"{' or '.join(endings)}."
        )
    try:
        _try_folder(place_of(words).parent)
    except OSError as error:
        raise cannot_write(what, words, error) from error
    return expand(words)


def place_of(path: Typed) -> Path:
    """Where a file written to `path` lies in the end: links are followed, not replaced.

    Raises
    ------
    OSError
        If a folder or a device is there, a file that may not be written, or a way that ends at a
        file.
    """
    words = os.fsdecode(path)
    place = Path(os.path.realpath(expand(path)))
    if words.endswith(("/", os.sep)) or place == place.parent:
        raise IsADirectoryError(errno.EISDIR, "it names a folder")
    try:
        found = place.stat()
    except FileNotFoundError:
        return place
    except NotADirectoryError as error:
        above = next(folder for folder in place.parents if folder.exists())
        raise NotADirectoryError(errno.ENOTDIR, f"{above} is a file, not a folder") from error
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(found.st_mode):  # renaming would replace a device
        raise OSError(errno.EINVAL, "it is no regular file")
    if not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, "the file that is there is write-protected")
    return place


def cannot_write(what: str, path: Typed, error: OSError) -> OutputError:
    """The error of a file that cannot be written, with what to do."""
    reason = error.strerror or str(error)
    way = ELSEWHERE if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EINVAL) else WAY_OUT
    return OutputError(f"{what} {os.fsdecode(path)} cannot be written ({reason}); {way}.")


@contextlib.contextmanager
def writing(path: Typed) -> Iterator[Path]:
    """Lend a temporary path beside the file; what was written there replaces it at the end.

    Its folder is made if need be. An older file keeps its permissions for the new one.

    Raises
    ------
    OSError
        If any step fails; nothing is then left behind, and an older file stays.
    """
    place = place_of(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(8)}{place.suffix[:20]}")
    try:
        yield beside
        with contextlib.suppress(FileNotFoundError):
            beside.chmod(stat.S_IMODE(place.stat().st_mode))
        _sync(beside, os.O_RDWR | getattr(os, "O_BINARY", 0))
        os.replace(beside, place)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # Windows opens no folders; the rename has happened
        _sync(place.parent, os.O_RDONLY)


def write_whole(path: Typed, data: bytes, what: str) -> Path:
    """Write a file, whole or not at all.

    Returns
    -------
    Path
        With `~` expanded.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        with writing(path) as beside:
            beside.write_bytes(data)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        as_os = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
        raise cannot_write(what, path, as_os) from error
    return expand(path)


def _try_folder(folder: Path) -> None:
    """Make a file without a name there, or in the nearest folder above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a file, not a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, f"{folder}: {error.strerror or error}") from error


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
