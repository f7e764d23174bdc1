"""`Pictures`: an ordered set of pictures with their labels, splits and groups."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlfeatures._targets import expand_given
from tlfeatures.errors import PicturesError


class Pictures:
    """Ordered, sized, sliceable; works as scikit-learn's X.

    Parameters
    ----------
    items : sequence
        Paths, PIL pictures, or uint8 arrays of shape (H, W, 3) or (H, W); they may be mixed.
    labels : sequence of str, optional
    split : sequence of {"train", "val", "test"}, optional
    groups : sequence of str, optional
        Pictures of one group must stay on one side of a split.
    names : sequence of str, optional
        What to call each picture; paths are their own names.
    left_out : int, default=0
        Files of the folder that are no pictures.

    Attributes
    ----------
    items, paths : list
        `paths` are strings; pictures in memory are called "<picture 0>".
    labels, split, groups : ndarray of shape (n,) or None
    classes : tuple of str
        Sorted; empty without labels.
    shape : (n,)

    Raises
    ------
    PicturesError
        If a column has another length than `items`, or an item is no picture.
    """

    def __init__(
        self,
        items: Sequence[Any],
        labels: Sequence[Any] | NDArray[Any] | None = None,
        split: Sequence[Any] | NDArray[Any] | None = None,
        groups: Sequence[Any] | NDArray[Any] | None = None,
        *,
        names: Sequence[str] | None = None,
        left_out: int = 0,
    ) -> None:
        if isinstance(items, (str, bytes, os.PathLike)):
            raise PicturesError(f"{os.fspath(items)!r} is one picture; pass a list.")
        self.items = [check_item(item) for item in items]
        self.paths = _names(self.items, names)
        self.labels = _column("labels", labels, len(self.items))
        self.split = _check_split(_column("split", split, len(self.items)))
        self.groups = _column("groups", groups, len(self.items))
        self.left_out = left_out

    @classmethod
    def of(cls, X: Any) -> Pictures:
        """Take whatever an estimator is given: Pictures, a folder, or a list of pictures.

        Raises
        ------
        PicturesError
            If it is none of these.
        """
        if isinstance(X, Pictures):
            return X
        if isinstance(X, (str, os.PathLike)):
            from tlfeatures.pictures._folders import load_pictures

            return load_pictures(X)
        if isinstance(X, Image.Image):
            raise PicturesError("one picture was given; pass a list of pictures.")
        if isinstance(X, (set, frozenset)):
            raise PicturesError("a set has no order; pass a list of pictures.")
        if isinstance(X, np.ndarray) and X.dtype == np.uint8 and X.ndim not in (1, 4):
            raise PicturesError(f"an array of shape {X.shape} is no list of pictures (n, H, W, 3).")
        try:
            return cls(list(X))
        except TypeError as error:
            kind = type(X).__name__
            raise PicturesError(f"{kind} is no list of paths, PIL pictures or arrays.") from error

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return () if self.labels is None else tuple(sorted(set(self.labels.tolist())))

    @property
    def shape(self) -> tuple[int]:
        """(n,), as scikit-learn asks of an X."""
        return (len(self.items),)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __getitem__(self, index: Any) -> Any:
        """An int gives the item; a slice, mask, list or array of rows gives Pictures.

        Raises
        ------
        IndexError
            If the index is out of range, or of another kind.
        """
        if isinstance(index, tuple):  # scikit-learn writes X[rows, ...]
            index = _only_axis(index)
        if isinstance(index, (int, np.integer)):
            return self.items[index]
        rows = np.atleast_1d(np.arange(len(self.items))[index])
        if rows.ndim > 1:
            raise IndexError(f"an index of {rows.ndim} axes; pictures have one.")
        return Pictures(
            [self.items[i] for i in rows],
            _take(self.labels, rows),
            _take(self.split, rows),
            _take(self.groups, rows),
            names=[self.paths[i] for i in rows],
            left_out=self.left_out,
        )

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes" if self.labels is not None else ""
        return f"<Pictures: {len(self)}{classes}>"


def check_readable(
    given: Pictures, kept: Pictures, bad: Sequence[tuple[str, str]], *, sides: bool = True
) -> None:
    """Refuse to go on where bad pictures leave nothing, or nothing of a side that a split names.

    Parameters
    ----------
    given : Pictures
    kept : Pictures
        Those of them that can be read.
    bad : sequence of (path, reason)
    sides : bool, default=True
        Whether the split counts.

    Raises
    ------
    PicturesError
    """
    parts = [("", np.ones(len(given), bool), len(kept))]
    if sides and given.split is not None and kept.split is not None:
        tested = "test" if (given.split == "test").any() else "val"
        is_tested, n_tested = given.split == tested, int((kept.split == tested).sum())
        parts.append((f" {tested}", is_tested, n_tested))
        parts.append((" training", ~is_tested, len(kept) - n_tested))
    for side, rows, n_kept in parts:
        if rows.any() and not n_kept:
            of_side = {given.paths[i] for i in np.flatnonzero(rows)}
            first = next((f"; the first: {p}: {r}" for p, r in bad if p in of_side), "")
            raise PicturesError(f"none of the {rows.sum()}{side} pictures can be read{first}")


def check_item(item: Any) -> Any:
    """A path as str, or the picture in memory.

    Raises
    ------
    PicturesError
        If it is neither.
    """
    if isinstance(item, (str, os.PathLike)):
        return expand_given(str(os.fspath(item)))  # numpy's strings become plain ones
    if isinstance(item, bytes):
        return os.fsdecode(item)
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, np.ndarray) and item.dtype == np.uint8:
        if item.ndim == 2 or (item.ndim == 3 and item.shape[2] == 3):
            return item
        raise PicturesError(f"an array of shape {item.shape} is no picture; expected (H, W, 3).")
    raise PicturesError(
        f"{type(item).__name__} is no picture; give paths, PIL pictures or uint8 arrays (H, W, 3)."
    )


def _names(items: list[Any], names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [x if isinstance(x, str) else f"<picture {i}>" for i, x in enumerate(items)]
    if len(names) != len(items):
        raise PicturesError(f"{len(names)} names for {len(items)} pictures; give one for each.")
    return list(names)


def _only_axis(index: tuple[Any, ...]) -> Any:
    parts = [part for part in index if part is not Ellipsis]
    if len(parts) > 1:
        raise IndexError(f"{len(parts)} indices; pictures have one axis.")
    return parts[0] if parts else slice(None)


def _column(name: str, values: Any, n: int) -> NDArray[Any] | None:
    if values is None:
        return None
    column = np.array(values, dtype=object if name == "groups" else None)  # a copy of our own
    if column.shape != (n,):
        raise PicturesError(f"{name} have shape {column.shape}, expected ({n},): one a picture.")
    if column.dtype == object and (
        missing := [i for i, value in enumerate(column) if value is None]
    ):
        raise PicturesError(
            f"{name}[{missing[0]}] is None; give one for every picture, or no {name}."
        )
    column.flags.writeable = False
    return column


def _check_split(split: NDArray[Any] | None) -> NDArray[Any] | None:
    unknown = [] if split is None else sorted(set(map(str, split)) - {"train", "val", "test"})
    if unknown:
        raise PicturesError(f"split {unknown[0]!r} is unknown; use train, val or test.")
    return split


def _take(column: NDArray[Any] | None, rows: NDArray[np.intp]) -> NDArray[Any] | None:
    return None if column is None else column[rows]
