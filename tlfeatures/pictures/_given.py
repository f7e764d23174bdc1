"""What an estimator is given -> `Pictures`: the one conversion for all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from tlfeatures._columns import cells_of, columns_of
from tlfeatures.errors import LabelsError, PicturesError
from tlfeatures.pictures._folders import load_pictures
from tlfeatures.pictures._manifest import from_table
from tlfeatures.pictures._pictures import Pictures


def as_pictures(X: Any, layout: str = "any") -> Pictures:
    """What an estimator is given, as Pictures; an iterator is used up, once.

    Parameters
    ----------
    X : Pictures, folder, manifest, data frame, or iterable of pictures
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
        return load_pictures(X, layout=layout)
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
    pictures = Pictures.of(X, "classes" if y is None else "any")
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
