"""Folders and lists -> `Pictures`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from tlfeatures._targets import expand_given
from tlfeatures.errors import PicturesError
from tlfeatures.pictures._manifest import MANIFESTS, load_manifest
from tlfeatures.pictures._pictures import Pictures

EXTENSIONS = frozenset({
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "tif", "tiff", "gif",
    "ppm", "pgm", "pbm", "pnm", "mpo", "jp2", "j2k", "avif", "heic", "heif", "hif",
})  # fmt: skip
MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]|P[1-6][ \t\r\n]"
    rb"|....ftyp(?:hei[cxms]|hev[cx]|mif1|avi[fs])|\0\0\0\x0cjP  "
    rb"|BM....\0\0\0\0",  # two letters alone also begin words
    re.DOTALL,
)
SPLIT_FOLDERS = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip
NEVER_CLASSES = frozenset({
    "__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found",
})  # fmt: skip


def load_pictures(
    source: str | os.PathLike[str] | Sequence[Any],
    *,
    labels: Sequence[Any] | None = None,
    split: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> Pictures:
    """Load a folder, a CSV or Parquet manifest, or a list.

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
    if isinstance(source, (str, os.PathLike)):
        source = expand_given(os.fsdecode(source))
        if not source.strip():  # else it would be the folder that one is in
            raise PicturesError(f"{source!r} names no folder; write . for the one you are in.")
    if not isinstance(source, str):
        pictures = Pictures.of(source)
    elif Path(source).is_dir():
        pictures = _load_folder(Path(source))
    else:
        pictures = load_manifest(_check_manifest(source))
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


def _check_manifest(source: str) -> Path:
    if _extension(source) in EXTENSIONS:
        raise PicturesError(f"{source} is one picture; pass a list: [{source!r}].")
    if not Path(source).exists():
        raise PicturesError(f"{source} is not there; give a folder of pictures or a manifest.")
    if _extension(source) not in MANIFESTS:
        raise PicturesError(
            f"{source} is neither a folder nor a .csv or .parquet manifest; a single picture goes "
            "into a list."
        )
    return Path(source)


def _load_folder(root: Path) -> Pictures:
    found, left_out = [], 0
    for relative, entry in _walk(str(root), "", frozenset()):
        if _is_picture(entry):
            found.append(relative)
        else:
            left_out += 1
    if not found:
        extra = f" ({left_out} other files)" if left_out else ""
        raise PicturesError(
            f"{root} holds no pictures{extra}; give a folder of JPEG, PNG, TIFF, ... files."
        )
    found.sort(key=os.fsencode)
    folders = [PurePosixPath(relative).parent.parts for relative in found]
    split: list[str] | None = None
    if _has_split_folders(root, folders):
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


def _has_split_folders(root: Path, folders: list[tuple[str, ...]]) -> bool:
    """Whether the top folders are the sides of a split; some of them alone are ambiguous."""
    tops = {parts[0] if parts else "" for parts in folders}
    others = sorted(top for top in tops if top.lower() not in SPLIT_FOLDERS)
    nested = sorted({p[0] for p in folders if len(p) > 1 and p[0].lower() in SPLIT_FOLDERS})
    if nested and any(others):
        raise PicturesError(
            f"{root / others[-1]} lies beside {nested[0]!r}, which holds class folders; "
            "keep only train, val and test folders there, or only class folders."
        )
    return not others


def _walk(
    folder: str, prefix: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Relative POSIX path and entry of each file; links are followed, circles are not.

    Only a link to a folder that we are in is a circle. A second way to the same folder is not:
    which of the two counted would depend on the order in which the system lists them.
    """
    try:
        status = Path(folder).stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError as error:
        raise PicturesError(
            f"{folder} cannot be listed: {error.strerror}; change its permissions or move it out."
        ) from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name in NEVER_CLASSES:
            continue
        if _is_folder(entry):
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {here})
        else:
            yield prefix + entry.name, entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that one may not enter
        return False


def _is_picture(entry: os.DirEntry[str]) -> bool:
    path = Path(entry.path)
    try:
        if not entry.is_file() and path.exists():  # a pipe or device
            return False
    except OSError:  # a link that leads nowhere is a bad picture, whose reason is told
        pass
    extension = _extension(entry.name)
    if extension:
        return extension in EXTENSIONS
    try:
        with path.open("rb") as file:
            return MAGIC.match(file.read(16)) is not None
    except OSError:
        return False


def _extension(path: str) -> str:
    return PurePath(path).suffix[1:].lower()
