"""Folders and lists -> `Pictures`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from tlfeatures._targets import expand_given
from tlfeatures.errors import PicturesError, UsageError
from tlfeatures.pictures._items import MAGIC, check_path
from tlfeatures.pictures._layout import Layout, read_layout
from tlfeatures.pictures._manifest import MANIFESTS, load_manifest
from tlfeatures.pictures._pictures import Pictures, describe_kinds

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
LAYOUTS = ("classes", "any")
LONGEST_KIND = 12  # characters of an extension
NEVER_CLASSES = frozenset({
    "__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found",
})  # fmt: skip


def load_pictures(
    source: str | os.PathLike[str] | Sequence[Any] | Any,
    *,
    labels: Sequence[Any] | Any = None,
    split: Sequence[Any] | Any = None,
    groups: Sequence[Any] | Any = None,
    layout: str = "classes",
) -> Pictures:
    """Load a folder, a CSV or Parquet manifest, a data frame, a data set, or a list.

    A folder holds class folders, or train, val and test folders of them, or pictures alone. Names
    such as Training, seg_test, val_images, dev or train2017 are known as well; train and test
    folders may lie in a folder that wraps them, or in each class folder. A class is the path of its
    folder, so that x/cat and y/cat stay two; where top folders share several such names and may
    be the sides of a split, it must be said what they are. Sorted by relative POSIX path, bytewise.

    A file is a picture by its extension, else by its first bytes, unless its extension is that of
    text, tables, archives, films or a camera's raw pictures; hidden files and folders are passed
    over. A data frame (pandas, polars, pyarrow, or a dict of columns) with a column "path" is a
    manifest; one of a single column is that column. Data sets are torchvision's `ImageFolder` (its
    files; transforms play no part), a `Dataset` of torch that gives pairs of picture and label
    (held in memory), and a `datasets.Dataset` of Hugging Face with an image column.

    Parameters
    ----------
    source : path, data frame, data set or sequence
        See above; the items of a list are paths, PIL pictures or uint8 arrays (H, W, 3).
    labels, split, groups : sequence, optional
        Columns of shape (n,); they replace what the folder says. A picture without a group (None,
        NaN) is a group of its own; labels and sides may not be missing.
    layout : {"classes", "any"}, default="classes"
        "any": for what needs no labels. Where a folder has pictures without class folders, or
        folders of unclear meaning, it has no labels and no split, with a note, instead of an error.

    Returns
    -------
    Pictures

    Raises
    ------
    PicturesError
        If there is no such folder, no picture in it, a manifest's line is wrong, or it is not clear
        what the folders mean.
    LabelsError
        If a label is missing.

    Examples
    --------
    >>> load_pictures(["a.jpg", "b.jpg"], labels=["cat", "dog"])
    <Pictures: 2, 2 classes>
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout {layout!r} is unknown; choose one of {', '.join(LAYOUTS)}.")
    if isinstance(source, (str, os.PathLike)):
        source = expand_given(os.fsdecode(source))
        if not source.strip():  # else it would be the folder that one is in
            raise PicturesError(f"{source!r} names no folder; write . for the one you are in.")
    if not isinstance(source, str):
        pictures = Pictures.of(source)
    else:
        path = Path(check_path(source))
        if path.is_dir():
            pictures = _load_folder(path, "any" if labels is not None else layout)
        else:
            pictures = load_manifest(_check_manifest(path))
    if labels is None and split is None and groups is None:
        return pictures
    return Pictures(
        pictures.items,
        pictures.labels if labels is None else labels,
        pictures.split if split is None else split,
        pictures.groups if groups is None else groups,
        names=pictures.paths,
        left_out=pictures.left_out_kinds,
        notes=pictures.read_notes if labels is None or pictures.labels is not None else (),
    )


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
