"""`Pictures`: an ordered set of pictures with their labels, splits and groups."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlfeatures._columns import whole_groups, whole_labels
from tlfeatures.errors import PicturesError, few
from tlfeatures.pictures._alike import describe_alike
from tlfeatures.pictures._items import check_item


class Pictures:
    """Ordered, sized, sliceable; works as scikit-learn's X.

    Parameters
    ----------
    items : iterable
        Paths, PIL pictures, or uint8 arrays of shape (H, W, 3) or (H, W); they may be mixed. `~`
        stands for the home folder.
    labels : column, optional
        None may be missing.
    split : column of {"train", "val", "test"}, optional
    groups : column, optional
        Pictures of one group must stay on one side of a split; a picture without one (None, NaN,
        empty) gets a group of its own. Values of several types become text.
    names : sequence of str, optional
        What to call each picture; paths are their own names.
    left_out : mapping of str to int, optional
        Files of the folder that are no pictures: how many of each kind, such as ".txt".
    notes : sequence of str
        What a person should know about how the pictures were read.

    Attributes
    ----------
    items, paths : list
        `paths` are strings; pictures in memory are called "<picture 0>".
    labels, split, groups : ndarray of shape (n,) or None
    classes : tuple of str
        Sorted; empty without labels.
    shape : (n,)
    left_out : int
        How many files were left out; `left_out_kinds` says of which kinds.
    notes : list of str

    Raises
    ------
    PicturesError
        If a column has another length than `items`, or an item is no picture.
    LabelsError
        If a label is missing.
    """

    def __init__(
        self,
        items: Iterable[Any],
        labels: Any = None,
        split: Any = None,
        groups: Any = None,
        *,
        names: Sequence[str] | None = None,
        left_out: Mapping[str, int] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        if isinstance(items, (str, bytes, os.PathLike)):
            raise PicturesError("items are one picture; pass a list.")
        self.items = _check_items(items)
        self.paths = _names(self.items, names)
        self.labels = _column("labels", labels, len(self.items))
        self.split = _check_split(_column("split", split, len(self.items)))
        self.groups = _column("groups", groups, len(self.items))
        self.left_out_kinds = dict(left_out or {})
        self.read_notes = tuple(notes)

    @property
    def left_out(self) -> int:
        """How many files of the folder are no pictures."""
        return sum(self.left_out_kinds.values())

    @property
    def notes(self) -> list[str]:
        """How folders were read, and class names that hardly differ."""
        return [*self.read_notes, *describe_alike(self.classes)]

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
            left_out=self.left_out_kinds,
            notes=self.read_notes,
        )

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes" if self.labels is not None else ""
        return f"<Pictures: {len(self)}{classes}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        from tlfeatures.pictures._show import show_pictures

        return show_pictures(self)


def describe_kinds(left_out: Mapping[str, int]) -> str:
    """In words: "12 other files: 8 .txt, 4 .dcm"."""
    total = sum(left_out.values())
    kinds = sorted(left_out.items(), key=lambda kind: (-kind[1], kind[0]))
    named = few([f"{n:,} {kind}" for kind, n in kinds])
    return f"{total:,} other file{'s' if total != 1 else ''}: {named}"


def _check_items(items: Iterable[Any]) -> list[Any]:
    checked = []
    for row, item in enumerate(items):
        try:
            checked.append(check_item(item))
        except PicturesError as error:
            raise PicturesError(f"picture {row}: {error}") from error
    return checked


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
    column = np.array(whole_groups(values) if name == "groups" else whole_labels(values, name))
    if column.shape != (n,):
        raise PicturesError(f"{name} have shape {column.shape}, expected ({n},): one a picture.")
    column.flags.writeable = False
    return column


def _check_split(split: NDArray[Any] | None) -> NDArray[Any] | None:
    unknown = [] if split is None else sorted(set(map(str, split)) - {"train", "val", "test"})
    if unknown:
        raise PicturesError(f"split {unknown[0]!r} is unknown; use train, val or test.")
    return split


def _take(column: NDArray[Any] | None, rows: NDArray[np.intp]) -> NDArray[Any] | None:
    return None if column is None else column[rows]
