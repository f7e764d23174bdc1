"""A file's bytes, or the system's reason why there are none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from tlfeatures.errors import ImageReadError


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes.

    Raises
    ------
    ImageReadError
        With the system's reason, such as a missing file or a refused permission.
    """
    with open_file(path) as file:
        return file.read()


@contextlib.contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[FileIO]:
    """The file, opened unbuffered; nothing but a regular file is.

    Raises
    ------
    ImageReadError
        With the system's reason.
    """
    file = Path(path)
    try:
        if file.exists() and not file.is_file():  # reading a pipe would never end
            raise ImageReadError("cannot be read: not a regular file", is_lasting=False)
        with file.open("rb", buffering=0) as opened:
            yield opened
    except ImageReadError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageReadError(f"cannot be read: {reason}", is_lasting=False) from error
