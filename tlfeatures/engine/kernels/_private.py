"""Folders that nobody but the user can write to: what is loaded from them is code."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

PRIVATE = 0o700
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_private(folder: Path) -> None:
    """Make a folder for the user alone; one that is there stays as it is.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    for parent in reversed(folder.parents):
        if not parent.exists():
            with contextlib.suppress(FileExistsError):
                parent.mkdir(0o755)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(PRIVATE)


def private_path(folder: Path) -> Path:
    """The folder without the links that lead to it, if nobody but the user can write there.

    It has mode 0700 and is the user's; others cannot put another one in its place: no folder above
    it, up to the home or the first one with the sticky bit, can be written to by them.

    Raises
    ------
    OSError
        Saying what is wrong; if it is not there, too.
    """
    real = folder.parent.resolve() / folder.name
    facts = real.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise OSError(f"{real} is no folder")
    if facts.st_uid != os.geteuid():
        raise OSError(f"{real} belongs to another user")
    if facts.st_mode & 0o777 != PRIVATE:
        raise OSError(f"{real} has mode {facts.st_mode & 0o777:04o}, not {PRIVATE:04o}")
    home = _home()
    for parent in real.parents:
        facts = parent.stat()
        if facts.st_uid not in (0, os.geteuid()):
            raise OSError(f"{parent}, above {real.name}, belongs to another user")
        if facts.st_mode & stat.S_ISVTX:  # others cannot rename what is not theirs
            break
        if facts.st_mode & OTHERS_WRITE:
            raise OSError(f"others can write to {parent}, which {real.name} lies in")
        if parent == home:
            break
    return real


def check_own_file(path: Path) -> None:
    """See that it is a plain file which only the user may write to, in such a folder.

    Raises
    ------
    OSError
        Saying what is wrong.
    """
    private_path(path.parent)
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(f"{path} is no plain file")
    if facts.st_uid != os.geteuid() or facts.st_mode & OTHERS_WRITE:
        raise OSError(f"others can write to {path}")


def _home() -> Path | None:
    with contextlib.suppress(OSError, RuntimeError):
        return Path.home().resolve()
    return None
