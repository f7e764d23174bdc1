"""Folders and lists -> `Pictures`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from tlfeatures._targets import expand_given
from tlfeatures.errors import PicturesError
from tlfeatures.pictures._items import MAGIC, check_path
from tlfeatures.pictures._pictures import Pictures, describe_kinds
from tlfeatures.pictures.sources._layout import Layout, read_layout
from tlfeatures.pictures.sources._manifest import MANIFESTS, load_manifest

EXTENSIONS = frozenset({
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "tif", "tiff", "gif",
    "ppm", "pgm", "pbm", "pnm", "mpo", "jp2", "j2k", "avif", "heic", "heif", "hif",
})  # fmt: skip
NEVER_OPENED = frozenset({  # what lies beside pictures by the thousand; and raw pictures of
    # cameras, whose bytes begin like a TIFF file that holds a thumbnail
    "txt", "csv", "tsv", "json", "jsonl", "xml", "yaml", "yml", "md", "html", "htm", "log", "ini",
    "py", "ipynb", "mat", "npy", "npz", "h5", "hdf5", "parquet", "feather", "pkl", "pt", "pth",
    "safetensors", "db", "pdf", "doc", "docx", "xls", "xlsx", "zip", "tar", "gz", "tgz", "bz2",
    "xz", "7z", "rar", "mp3", "wav", "mp4", "m4v", "avi", "mov", "mkv", "webm",
    "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf", "sr2", "dng", "orf", "pef", "raf", "rw2",
    "srw", "3fr", "erf", "iiq", "kdc", "mef", "mos", "mrw", "x3f",
})  # fmt: skip
LONGEST_KIND = 12  # characters of an extension
NEVER_CLASSES = frozenset({
    "__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found",
})  # fmt: skip


def load_path(source: str | os.PathLike[str], layout: str) -> Pictures:
    """A folder, or a CSV or Parquet manifest; see `load_pictures`.

    Raises
    ------
    PicturesError, LabelsError
        As `load_pictures`.
    """
    source = expand_given(os.fsdecode(source))
    if not source.strip():  # else it would be the folder that one is in
        raise PicturesError(f"{source!r} names no folder; write . for the one you are in.")
    path = Path(check_path(source))
    return _load_folder(path, layout) if path.is_dir() else load_manifest(_check_manifest(path))


def _check_manifest(path: Path) -> Path:
    if _extension(path.name) in EXTENSIONS:
        raise PicturesError(f"{path} is one picture; pass a list: [{str(path)!r}].")
    if not path.exists():
        raise PicturesError(f"{path} is not there; give a folder of pictures or a manifest.")
    if _extension(path.name) not in MANIFESTS:
        raise PicturesError(
            f"{path} is neither a folder nor a .csv or .parquet manifest; a single picture goes "
            "into a list."
        )
    return path


def _load_folder(root: Path, layout: str) -> Pictures:
    found: list[str] = []
    left_out: Counter[str] = Counter()
    for relative, entry in _walk(str(root), "", frozenset()):
        if _is_picture(entry):
            found.append(relative)
        else:
            left_out[_kind(entry.name)] += 1
    if not found:
        extra = f" ({describe_kinds(left_out)})" if left_out else ""
        raise PicturesError(
            f"{root} holds no pictures{extra}; give a folder of JPEG, PNG, TIFF, ... files."
        )
    found.sort(key=os.fsencode)
    try:
        read = read_layout(str(root), found)
    except PicturesError as error:
        if layout != "any":
            raise
        read = Layout(None, None, (f"read without labels: {error}",))
    paths = [str(root / relative) for relative in found]
    return Pictures(paths, read.labels, read.split, left_out=left_out, notes=read.notes)


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
    if extension in EXTENSIONS or extension in NEVER_OPENED:
        return extension in EXTENSIONS
    try:
        with path.open("rb") as file:
            return MAGIC.match(file.read(16)) is not None
    except OSError:
        return False


def _extension(name: str) -> str:
    return PurePath(name).suffix[1:].lower()


def _kind(name: str) -> str:
    """What files of a kind are called together: .txt; of .jpg?width=640 only what says the kind."""
    extension = re.split(r"[^\w]", _extension(name))[0][:LONGEST_KIND]
    if not extension:
        return "without extension"
    whole = len(extension) == len(_extension(name))
    return f".{extension}" if whole else f".{extension}..."
