"""What an estimator is given -> `Pictures`: the one conversion for all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from tlfeatures._columns import cells_of, columns_of
from tlfeatures.errors import LabelsError, PicturesError, UsageError
from tlfeatures.pictures._pictures import Pictures
from tlfeatures.pictures.sources._datasets import from_dataset
from tlfeatures.pictures.sources._folders import load_path
from tlfeatures.pictures.sources._manifest import from_table

LAYOUTS = ("classes", "any")


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
    pictures = as_pictures(source, "any" if labels is not None else layout)
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


def as_pictures(X: Any, layout: str = "any") -> Pictures:
    """Whatever an estimator is given, as Pictures: the one conversion for all of them.

    Parameters
    ----------
    X : Pictures, folder, manifest, data frame, data set, or iterable of pictures
        An iterator is used up, once. Data sets: torchvision's `ImageFolder`, a `Dataset` of torch
        that gives pairs of picture and label, one of Hugging Face with an image column.
    layout : {"classes", "any"}
        Of a folder, see `load_pictures`.

    Raises
    ------
    PicturesError
        If it is none of these.
    """
    if isinstance(X, Pictures):
        return X
    if isinstance(X, (str, os.PathLike)):
        return load_path(X, layout)
    pictures = from_dataset(X)
    if pictures is not None:
        return pictures
    columns = columns_of(X)
    if columns is not None:
        return from_table(columns)
    _refuse_no_list(X)
    if isinstance(X, np.ndarray) and X.ndim and X.dtype.kind in "biufc":
        return Pictures(list(X))  # pictures, or numbers, which are refused one by one
    items = cells_of(X, "pictures")
    if isinstance(X, Iterator) and not len(items):
        raise PicturesError(
            f"the {type(X).__name__} gives no pictures (an iterator can be used once only); pass a "
            "list."
        )
    return Pictures(list(items))


def _refuse_no_list(X: Any) -> None:
    kind = type(X)
    if isinstance(X, (Image.Image, bytes, bytearray, memoryview)) or hasattr(kind, "read"):
        raise PicturesError(f"one picture ({kind.__name__}) was given; pass a list of pictures.")
    if isinstance(X, (set, frozenset)):
        raise PicturesError(f"a {kind.__name__} has no order; pass a list of pictures.")
    if isinstance(X, np.ndarray) and X.dtype == np.uint8 and X.ndim not in (1, 4):
        raise PicturesError(f"an array of shape {X.shape} is no list of pictures (n, H, W, 3).")
    if not isinstance(X, Iterable) or isinstance(X, Mapping):
        raise PicturesError(f"{kind.__name__} is no list of paths, PIL pictures or arrays.")


def labelled_pictures(
    X: Any, y: Any = None, groups: Any = None, *, way: str = ", or pass `labels` to load_pictures"
) -> Pictures:
    """What a `fit` is given, as Pictures with labels; y and groups replace those of X.

    Parameters
    ----------
    X : see `Pictures.of`
    y, groups : columns, optional
    way : str
        What else labels can be passed as, for the message.

    Raises
    ------
    LabelsError
        If there are no labels, or one is missing.
    PicturesError
        If X holds no pictures, or there is not one label and one group a picture.
    """
    pictures = as_pictures(X, "classes" if y is None else "any")
    if pictures.labels is None and y is None:
        raise LabelsError(
            f"the pictures have no labels; use a folder of class folders or a manifest{way}."
        )
    if y is None and groups is None:
        return pictures
    return Pictures(
        pictures.items,
        pictures.labels if y is None else y,
        pictures.split,
        pictures.groups if groups is None else groups,
        names=pictures.paths,
        left_out=pictures.left_out_kinds,
        notes=pictures.read_notes if y is None else (),
    )
