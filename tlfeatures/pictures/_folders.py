"""Folders and lists -> `Pictures`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tlfeatures.errors import PicturesError
from tlfeatures.pictures._manifest import load_manifest
from tlfeatures.pictures._pictures import Pictures

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .tif .tiff .gif .ppm .pgm .pbm .pnm .mpo".split()
)
MAGIC = (
    b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*",
    b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n",
)  # fmt: skip
SPLIT_FOLDERS = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip
NEVER_CLASSES = frozenset({"__MACOSX", "__pycache__"})


def load_pictures(
    source: str | os.PathLike[str] | Sequence[Any],
    *,
    labels: Sequence[Any] | None = None,
    split: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> Pictures:
    """Load a folder, a CSV manifest or a list.

    A folder holds class folders, or train, val (valid, validation) and test folders of them, or
    pictures alone. A class is the path of its folder, so that x/cat and y/cat stay two. Sorted by
    relative POSIX path, bytewise. A file is a picture by its extension or, without one, by its
    first bytes; hidden files and folders are passed over.

    Parameters
    ----------
    source : path or sequence
        See above; the items of a list are paths, PIL pictures or uint8 arrays (H, W, 3).
    labels, split, groups : sequence, optional
        Columns of shape (n,); they replace what the folder says.

    Returns
    -------
    Pictures

    Raises
    ------
    PicturesError
        If there is no such folder, no picture in it, or a manifest's line is wrong.

    Examples
    --------
    >>> load_pictures(["a.jpg", "b.jpg"], labels=["cat", "dog"])
    <Pictures: 2, 2 classes>
    """
    if not isinstance(source, (str, os.PathLike)):
        pictures = Pictures.of(source)
    elif Path(source).is_dir():
        pictures = _load_folder(Path(source))
    elif not Path(source).exists():
        raise PicturesError(f"{os.fspath(source)} is not there; give a folder of pictures or a CSV file.")
    elif os.fspath(source).lower().endswith(".csv"):
        pictures = load_manifest(Path(source))
    else:
        raise PicturesError(f"{os.fspath(source)} is neither a folder nor a .csv manifest.")
    if labels is None and split is None and groups is None:
        return pictures
    return Pictures(
        pictures.items,
        pictures.labels if labels is None else labels,
        pictures.split if split is None else split,
        pictures.groups if groups is None else groups,
        names=pictures.paths,
        left_out=pictures.left_out,
    )


def _load_folder(root: Path) -> Pictures:
    found, left_out = [], 0
    for relative, path in _walk(root):
        if _is_picture(path):
            found.append(relative)
        else:
            left_out += 1
    if not found:
        extra = f" ({left_out} other files)" if left_out else ""
        raise PicturesError(f"{root} holds no pictures{extra}; expected JPEG, PNG, TIFF, ... files.")
    found.sort(key=os.fsencode)
    folders = [PurePosixPath(relative).parent.parts for relative in found]
    split: list[str] | None = None
    if all(parts and parts[0].lower() in SPLIT_FOLDERS for parts in folders):
        split = [SPLIT_FOLDERS[parts[0].lower()] for parts in folders]
        folders = [parts[1:] for parts in folders]
    paths = [str(root / relative) for relative in found]
    if not any(folders):
        return Pictures(paths, split=split, left_out=left_out)
    if not all(folders):
        stray = found[folders.index(())]
        raise PicturesError(
            f"{root / stray} lies beside class folders; move it into one, or out of {root}."
        )
    return Pictures(paths, ["/".join(p) for p in folders], split, left_out=left_out)


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    """Relative POSIX path and path of each file; links are followed, circles are not."""
    stack, seen = [("", str(root))], set()
    while stack:
        prefix, folder = stack.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise PicturesError(f"{folder} cannot be listed: {error.strerror}.") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.name in NEVER_CLASSES:
                continue
            if entry.is_dir():
                stack.append((f"{prefix}{entry.name}/", entry.path))
            else:
                yield prefix + entry.name, entry.path


def _is_picture(path: str) -> bool:
    extension = os.path.splitext(path)[1].lower()
    if extension:
        return extension in EXTENSIONS
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
