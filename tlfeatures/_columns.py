"""Columns as people give them -> arrays: labels of which none is missing, groups that keep whole.

A column may be a list, an array (masked ones too), a Series or a frame of one column of pandas,
polars or pyarrow, or an iterator. What counts as missing: None, NaN, NaT, pandas.NA, a masked or
null cell, empty text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlfeatures.errors import LabelsError, PicturesError

_WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")
_TRUTH = {"true": "1", "false": "0"}
IN_ORDER = "give a list, one for each picture in their order."


class Alone(str):
    """The group of a picture that was given none; no other picture is in it."""

    __slots__ = ()


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, NaT, pandas.NA, masked, or empty text."""
    if value is None or value is np.ma.masked:
        return True
    if isinstance(value, (str, bytes)):
        return not value.strip()
    try:
        return bool(value != value)
    except Exception:  # pandas.NA has no truth; arrays and signalling NaNs neither
        return type(value).__name__ == "NAType" or str(value) == "sNaN"


def columns_of(table: Any) -> list[tuple[str, Any]] | None:
    """Names and columns of a data frame (pandas, polars, pyarrow) or of a dict of columns.

    None for anything else. Told by what they offer: none of these libraries is needed.
    """
    if isinstance(table, Mapping):
        lists = [
            not isinstance(v, (str, bytes)) and isinstance(v, Iterable) for v in table.values()
        ]
        return [(str(name), column) for name, column in table.items()] if all(lists) else None
    if isinstance(table, np.ndarray) or len(getattr(table, "shape", ())) != 2:
        return None
    kind = type(table)  # not the table: pandas has its columns as attributes
    if not hasattr(kind, "columns"):
        return None
    if hasattr(kind, "iloc"):
        return [(str(name), table.iloc[:, i]) for i, name in enumerate(table.columns)]
    if hasattr(kind, "column_names"):  # pyarrow
        return [(str(name), table.column(i)) for i, name in enumerate(table.column_names)]
    return [(str(name), table[name]) for name in table.columns]


def cells_of(column: Any, name: str = "the column") -> Any:
    """The cells of one column: a list, or an array of shape (n,).

    Raises
    ------
    PicturesError
        If it is no column, or several.
    """
    if isinstance(column, np.ndarray):
        if column.ndim == 2 and column.shape[1] == 1:
            column = column[:, 0]
        if column.ndim != 1:
            raise PicturesError(f"{name} have shape {column.shape}, expected (n,): one a picture.")
        return list(column) if isinstance(column, np.ma.MaskedArray) else column
    columns = columns_of(column)
    if columns is not None:
        if len(columns) != 1:
            raise PicturesError(f"{name} are a table of {len(columns)} columns; give one of them.")
        column = columns[0][1]
    elif isinstance(column, (set, frozenset)):
        raise PicturesError(f"{name} are a {type(column).__name__}, which has no order; {IN_ORDER}")
    elif isinstance(column, Mapping):
        raise PicturesError(f"{name} are a {type(column).__name__}, no column; {IN_ORDER}")
    if hasattr(column, "to_pylist"):  # pyarrow's own cells are objects that are never equal
        return column.to_pylist()
    if isinstance(column, (str, bytes)) or not isinstance(column, Iterable):
        raise PicturesError(
            f"{name} are one {type(column).__name__}; give a column, one for each picture."
        )
    return list(column)


def whole_labels(labels: Any, name: str = "labels") -> NDArray[Any]:
    """Labels as an array of shape (n,), text as text and numbers as numbers; mixed ones as text.

    Bytes, as HDF5 files have them, are text.

    Raises
    ------
    LabelsError
        If one is missing or infinite; it names the row, the first is row 0.
    PicturesError
        If they are no column.
    """
    cells = cells_of(labels, name)
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iub":
        return cells
    missing = [row for row, cell in enumerate(cells) if is_missing(cell)]
    if missing:
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        raise LabelsError(
            f"{name}[{missing[0]}] is {_shown(cells[missing[0]])}: missing{more}; give one for "
            f"every picture, or leave those pictures out."
        )
    endless = next((row for row, cell in enumerate(cells) if _is_infinite(cell)), None)
    if endless is not None:
        raise LabelsError(f"{name}[{endless}] is {cells[endless]}, no class; name one.")
    if any(isinstance(cell, bytes) for cell in cells):
        cells = [_as_text(cell) if isinstance(cell, bytes) else cell for cell in cells]
    if isinstance(cells, np.ndarray) and (cells.dtype != object or len(set(map(type, cells))) < 2):
        return cells
    try:
        made = np.array(list(cells))
    except ValueError:  # of several lengths
        made = np.empty((0, 0))
    if made.shape != (len(cells),):
        raise PicturesError(f"{name} are not of one value a picture; give text or numbers.")
    return made


def whole_groups(groups: Any, places: Sequence[str] | None = None) -> NDArray[Any]:
    """Groups as an array of shape (n,) that can be sorted, with a group for every row.

    A row without a group is a group of its own. Equal values are one group whatever their type:
    1, 1.0, "1" and True, or text in two Unicode forms. Numbers and dates of one type stay as they
    are; everything else becomes text.

    Parameters
    ----------
    groups : column of n cells
    places : sequence of str, optional
        What to call the groups of rows that have none; default: by row.

    Returns
    -------
    ndarray of shape (n,)
        Calling it again changes nothing.

    Raises
    ------
    PicturesError
        If it is no column.
    """
    cells = cells_of(groups, "groups")
    if not isinstance(cells, np.ndarray) and {type(cell) for cell in cells} in ({int}, {float}):
        cells = np.array(cells)
    if isinstance(cells, np.ndarray) and _is_plain(cells):
        return cells
    known = [None if is_missing(cell) else group_name(cell) for cell in cells]
    taken = {group for group in known if group is not None}
    for row, group in enumerate(known):
        if group is None:
            name = places[row] if places is not None else f"no group, row {row}"
            while name in taken:  # someone calls a group like that
                name += "'"
            known[row] = Alone(name)
    return np.array(known, dtype=object)


def group_name(value: Any) -> str:
    """A group in words, the same for values that are equal whatever their type."""
    if isinstance(value, Alone):
        return value
    if isinstance(value, tuple):
        return f"({', '.join(map(group_name, value))})"
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    text = _as_text(value) if isinstance(value, bytes) else str(value)
    text = unicodedata.normalize("NFC", text).strip()
    whole = _WHOLE_NUMBER.fullmatch(text)
    return whole[1] if whole else _TRUTH.get(text.casefold(), text)


def _as_text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _is_infinite(cell: Any) -> bool:
    return isinstance(cell, (float, np.floating)) and bool(np.isinf(cell))


def _is_plain(cells: NDArray[Any]) -> bool:
    """Whether the cells are numbers or dates of which none is missing."""
    if cells.dtype.kind in "iub":
        return True
    return cells.dtype.kind in "fMm" and not (cells != cells).any()


def _shown(cell: Any) -> str:
    return "empty" if isinstance(cell, (str, bytes)) else str(cell) if cell is not None else "None"
