"""Data sets of torch, torchvision and Hugging Face -> `Pictures`, told by what they offer.

None of these libraries is imported. Files stay files where a data set says where they are;
pictures that it makes are held in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlfeatures._columns import columns_of
from tlfeatures.errors import PicturesError, few
from tlfeatures.pictures._items import FileBytes
from tlfeatures.pictures._pictures import Pictures

IMAGE = "PIL.Image.Image"  # the `dtype` of Hugging Face's image feature
LABEL_COLUMNS = ("label", "labels")
WITHOUT_TENSORS = (
    "make the data set without the transform that gives them, so that it gives PIL pictures or "
    "uint8 arrays (H, W, 3)"
)


def from_dataset(X: Any) -> Pictures | None:
    """Pictures and labels of a data set; None if X is none.

    Parameters
    ----------
    X : ImageFolder, Subset, Dataset of torch, or Dataset of Hugging Face
        Of an `ImageFolder` the files are taken, in its order; its transforms play no part. Class
        numbers become names where the data set has `classes`.

    Raises
    ------
    PicturesError
        If it gives something else than pictures, or pictures with one label each.
    """
    if isinstance(X, (str, bytes, os.PathLike, np.ndarray, Pictures)):
        return None
    if isinstance(X, Mapping) and X and all(map(_is_hugging_face, X.values())):
        splits = few([repr(name) for name in X])
        raise PicturesError(f"{type(X).__name__} holds several data sets; pass one: {splits}.")
    if _is_hugging_face(X):
        return _from_hugging_face(X)
    if hasattr(X, "dataset") and hasattr(X, "indices"):  # torch's Subset
        whole = from_dataset(X.dataset)
        return None if whole is None else whole[[int(row) for row in X.indices]]
    if _are_pairs(getattr(X, "samples", None)) and hasattr(X, "classes"):
        paths, numbers = zip(*X.samples, strict=True)
        return Pictures(paths, _named(numbers, X.classes))
    return _from_items(X) if _is_dataset(X) else None


def _is_hugging_face(X: Any) -> bool:
    return isinstance(getattr(X, "features", None), Mapping) and hasattr(X, "column_names")


def _are_pairs(samples: Any) -> bool:
    return isinstance(samples, list) and bool(samples) and isinstance(samples[0], tuple)


def _is_dataset(X: Any) -> bool:
    """Whether it is read by number and gives pairs, or cannot be read in another way."""
    kind = type(X)
    if isinstance(X, (list, tuple, Mapping)) or not hasattr(kind, "__getitem__"):
        return False
    if not hasattr(kind, "__len__") or not len(X) or columns_of(X) is not None:
        return False
    if not hasattr(kind, "__iter__"):
        return True
    try:
        first = X[0]
    except (LookupError, TypeError):  # a Series may begin with another number
        return False
    return isinstance(first, tuple)


def _from_items(X: Any) -> Pictures:
    given = [X[row] for row in range(len(X))]
    first = given[0]
    if not isinstance(first, tuple):
        _refuse_tensor(X, first)
        return Pictures(given)
    if any(not isinstance(each, tuple) or len(each) != 2 for each in given):
        n_parts = next((len(each) for each in given if len(each) != 2), 0)
        raise PicturesError(
            f"{type(X).__name__} gives {n_parts} parts for a picture; pass pictures and labels: "
            "(picture, label)."
        )
    _refuse_tensor(X, first[0])
    labels = [_plain(X, label) for _, label in given]
    return Pictures([picture for picture, _ in given], _named(labels, getattr(X, "classes", None)))


def _refuse_tensor(X: Any, picture: Any) -> None:
    is_floats = isinstance(picture, np.ndarray) and picture.dtype != np.uint8
    if is_floats or (hasattr(picture, "numpy") and hasattr(picture, "requires_grad")):
        raise PicturesError(
            f"{type(X).__name__} gives {'arrays of numbers' if is_floats else 'tensors'} in place "
            f"of pictures; {WITHOUT_TENSORS}."
        )


def _plain(X: Any, label: Any) -> Any:
    """A label as Python has it; tensors and arrays of one number are that number."""
    if hasattr(label, "item") and getattr(label, "shape", None) == ():
        return label.item()
    if label is not None and not isinstance(label, (str, int, float)):
        raise PicturesError(
            f"{type(X).__name__} gives a {type(label).__name__} as a label; expected one name or "
            "number for each picture."
        )
    return label


def _named(labels: Sequence[Any], classes: Any) -> list[Any]:
    """Class names in place of numbers, where every number has one."""
    names = list(classes) if isinstance(classes, (list, tuple)) else []
    are_numbers = all(isinstance(x, int) and 0 <= x < len(names) for x in labels)
    return [str(names[x]) for x in labels] if names and are_numbers else list(labels)


def _from_hugging_face(dataset: Any) -> Pictures:
    if not hasattr(type(dataset), "__len__"):
        raise PicturesError("a streamed data set has no length; load it without streaming=True.")
    features = dataset.features
    images = [name for name, each in features.items() if getattr(each, "dtype", None) == IMAGE]
    if len(images) != 1:
        raise PicturesError(
            f"the data set has {len(images) or 'no'} image columns among {few(list(features))}; "
            "it must have one: see its methods select_columns and cast_column."
        )
    column, plain = images[0], dataset.with_format(None)
    files = plain.cast_column(column, type(features[column])(decode=False)).select_columns([column])
    items = [_item_of(row[column]) for row in files]
    return Pictures(items, _labels_of(plain, features))


def _item_of(cell: Any) -> Any:
    """The file that an undecoded cell names, or its bytes."""
    if cell is None:
        return FileBytes(b"")  # a bad picture among the others
    return cell["path"] if cell["bytes"] is None else FileBytes(cell["bytes"])


def _labels_of(dataset: Any, features: Mapping[str, Any]) -> list[Any] | None:
    """Names of the one column of class labels, or of one called label; None without labels."""
    classes = [name for name, feature in features.items() if hasattr(feature, "int2str")]
    called = [name for name in LABEL_COLUMNS if name in features]
    chosen = [name for name in called if name in classes] or classes or called
    if not chosen:
        return None
    if len(chosen) > 1:
        raise PicturesError(
            f"the data set has several columns of labels ({few(chosen)}); leave one with its "
            "method select_columns, or pass labels yourself."
        )
    values, names = list(dataset[chosen[0]]), getattr(features[chosen[0]], "names", None)
    if names is None:
        return values
    if all(value in (-1, None) for value in values):  # the hidden labels of a test split
        return None
    return [None if value in (-1, None) else names[value] for value in values]
