"""One item of a list: a path as text, or a picture in memory; what is neither is told why."""

from __future__ import annotations

import base64
import os
import re
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from tlfeatures.errors import PicturesError

LONGEST_PATH = 4096  # bytes; no system that Python runs on opens a longer one
SHOWN = 60  # characters of something that is no path
MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]"
    rb"|P[1-6][ \t\r\n]+[\d#]"  # a letter and a number alone also begin words
    rb"|....ftyp(?:hei[cxms]|hev[cx]|mif1|avi[fs])|\0\0\0\x0cjP  "
    rb"|BM....\0\0\0\0",
    re.DOTALL,
)
_IN_MEMORY = "write the bytes to a file and pass its path, or pass PIL.Image.open(io.BytesIO(...))"
_UNUSUAL = re.compile(r"\0|\\|^~|^data:|^[A-Za-z][A-Za-z0-9+.-]*:/|^[A-Za-z0-9+/_=\s-]{32,}$")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{32,}={0,2}\s*")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class FileBytes(bytes):
    """The bytes of a picture's file, which a data set holds; other bytes are taken for a path."""

    __slots__ = ()


def check_item(item: Any) -> Any:
    """A path as str (`~` stands for the home folder), or the picture in memory.

    Raises
    ------
    PicturesError
        If it is neither.
    """
    if isinstance(item, (str, os.PathLike)):
        item = os.fspath(item)
    if isinstance(item, str):
        return check_path(str(item))  # numpy's strings become plain ones
    if isinstance(item, FileBytes):
        return item
    if isinstance(item, bytes):
        return check_path(decode_path(item))
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, np.ndarray) and item.dtype == np.uint8:
        if item.ndim == 2 or (item.ndim == 3 and item.shape[2] == 3):
            return item
        raise PicturesError(f"an array of shape {item.shape} is no picture; expected (H, W, 3).")
    if isinstance(item, (bytearray, memoryview)) or hasattr(type(item), "read"):
        raise PicturesError(f"{type(item).__name__} is a file's content, no path; {_IN_MEMORY}.")
    raise PicturesError(
        f"{type(item).__name__} is no picture; give paths, PIL pictures or uint8 arrays (H, W, 3)."
    )


def check_path(path: str, folder: str | os.PathLike[str] = "") -> str:
    """The path, with `~` for the home folder; whether it is there is seen when it is read.

    Parameters
    ----------
    path : str
    folder : path
        Where it starts if it is relative, to see whether an unusual name is a file's after all.

    Raises
    ------
    PicturesError
        If it is an address, a picture's content, or written for another system.
    """
    if len(path) <= LONGEST_PATH and not _UNUSUAL.search(path):
        return path
    if path.startswith("data:") or _is_base64(path):
        raise PicturesError(
            f"{shorten(path)} is a picture's content in base64, no path; decode it "
            f"(base64.b64decode) and {_IN_MEMORY}."
        )
    if len(path) > LONGEST_PATH or "\0" in path:
        raise PicturesError(
            f"{shorten(path)} is no path ({len(path):,} characters"
            f"{', with null characters' if chr(0) in path else ''}); give paths of files."
        )
    if os.path.lexists(os.path.join(folder, path)):
        return path
    if path.startswith("~"):
        return os.path.expanduser(path)
    if os.sep == "/" and _DRIVE.match(path):
        raise PicturesError(
            f"{shorten(path)} is a path on a Windows drive, which is not there on this system; "
            "give the path as it is here."
        )
    if _ADDRESS.match(path):
        raise PicturesError(_no_address(path))
    if os.sep == "/" and "\\" in path:
        raise PicturesError(
            f"{shorten(path)} is not there: \\ separates folders on Windows only; write "
            f"{shorten(path.replace(chr(92), '/'))}."
        )
    return path


def decode_path(data: bytes) -> str:
    """A path that the system gave as bytes.

    Raises
    ------
    PicturesError
        If it is a picture's content.
    """
    is_picture = MAGIC.match(data) is not None
    if is_picture or len(data) > LONGEST_PATH or b"\0" in data:
        kind = "a picture's bytes" if is_picture else "bytes"
        raise PicturesError(
            f"{data[:8]!r}... ({len(data):,} bytes) are {kind}, no path; {_IN_MEMORY}."
        )
    return os.fsdecode(data)


def shorten(text: str) -> str:
    """The text in quotes, cut to what fits into a line."""
    return repr(text) if len(text) <= 4 * SHOWN else f"{text[:SHOWN]!r}..."


def _no_address(path: str) -> str:
    parts = urlsplit(path)
    if parts.scheme.lower() == "file":
        return f"{shorten(path)} is an address; write the path: {shorten(unquote(parts.path))}."
    return f"{shorten(path)} is an address; download the pictures and give the paths of the files."


def _is_base64(text: str) -> bool:
    """Whether the text is what a picture's first bytes and more are in base64."""
    start = "".join(text[:64].split())[:24].replace("-", "+").replace("_", "/")
    if len(start) < 24 or not _BASE64.fullmatch(text):
        return False
    try:
        return MAGIC.match(base64.b64decode(start)) is not None
    except ValueError:
        return False
