"""Manifests (CSV, Parquet, data frames) -> `Pictures`: path, and optionally label, split, group."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlfeatures._columns import cells_of, group_name, is_missing, whole_groups
from tlfeatures.errors import PicturesError, few
from tlfeatures.pictures._items import check_item, check_path, decode_path
from tlfeatures.pictures._pictures import Pictures

MANIFESTS = ("csv", "parquet")
COLUMNS = ("path", "label", "split", "group")
SPLIT_WORDS = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip

Rows = list[tuple[str, list[Any]]]


def load_manifest(manifest: Path) -> Pictures:
    """Load a manifest; relative paths start at its folder, its order is kept.

    Raises
    ------
    PicturesError
        With the number of the line (CSV) or row (Parquet, the first is row 0) that is wrong; if the
        extra `parquet` is missing.
    """
    is_csv = manifest.suffix.lower() == ".csv"
    header, rows = _read_csv(manifest) if is_csv else _read_parquet(manifest)
    top = f"{manifest}, line 1" if is_csv else str(manifest)
    _check_header(top, header, ", separated by commas" if is_csv else "")
    if not rows:
        raise PicturesError(f"{manifest} names no pictures; add a line for each.")
    for place, row in rows:
        if len(row) != len(header):
            raise PicturesError(
                f"{manifest}, {place}: {len(row)} cells, the header has {len(header)}."
            )
    names = [name for name in COLUMNS if name in header]
    table = {name: [row[header.index(name)] for _, row in rows] for name in names}
    if "label" in table:  # numbers become text, as a CSV file has nothing else
        table["label"] = [_text(cell) for cell in table["label"]]
    if "group" in table:
        table["group"] = [None if is_missing(c) else group_name(c) for c in table["group"]]
    return _make(str(manifest), [place for place, _ in rows], table, manifest.parent)


def from_table(columns: Sequence[tuple[str, Any]]) -> Pictures:
    """A data frame's columns as a manifest; a single column as a list of pictures.

    Relative paths start at the working folder; labels stay what they are, text or numbers.

    Parameters
    ----------
    columns : sequence of (name, column)

    Raises
    ------
    PicturesError
        If there is no column "path" among several, or a row is wrong (the first is row 0).
    """
    header = [name.strip().lower() for name, _ in columns]
    if len(columns) == 1 and header != ["path"]:
        header = ["path"]
    _check_header("the data frame", header, " (or pass one column)")
    cells = {name: cells_of(column) for name, (_, column) in zip(header, columns, strict=True)}
    table = {name: list(cells[name]) for name in COLUMNS if name in header}
    lengths = {name: len(column) for name, column in table.items()}
    if len(set(lengths.values())) > 1:
        raise PicturesError(f"the columns differ in length: {lengths}; give one cell a picture.")
    places = [f"row {row}" for row in range(lengths["path"])]
    return _make("the data frame", places, table, None)


def _text(cell: Any) -> str:
    """A label of a file in words."""
    if is_missing(cell):
        return ""
    return cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else str(cell)


def _check_header(top: str, header: list[str], hint: str) -> None:
    if "path" not in header:
        raise PicturesError(
            f"{top}: no column 'path' among {few(header) or 'nothing'}; "
            f"the columns are {', '.join(COLUMNS)}{hint}."
        )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise PicturesError(f"{top}: two columns {twice[0]!r}; keep one.")


def _make(
    source: str, places: list[str], table: dict[str, list[Any]], folder: Path | None
) -> Pictures:
    """Pictures of columns whose cells are checked one by one, with their places."""
    for name, column in table.items():
        for row, cell in enumerate(column):
            try:
                column[row] = _check(name, cell)
                if name == "path":
                    column[row] = _resolve(column[row], folder)
            except PicturesError as error:
                raise PicturesError(f"{source}, {places[row]}: {error}") from error
    groups = whole_groups(table["group"], places) if "group" in table else None
    return Pictures(table["path"], table.get("label"), table.get("split"), groups)


def _check(name: str, cell: Any) -> Any:
    """The cell without blanks around it; None for a missing group."""
    if is_missing(cell):
        if name == "group":
            return None
        raise PicturesError(f"the {name} is empty; fill it in.")
    cell = cell.strip() if isinstance(cell, str) else cell
    if name != "split":
        return cell
    if str(cell).lower() not in SPLIT_WORDS:
        raise PicturesError(f"split {str(cell)!r}; use train, val or test.")
    return SPLIT_WORDS[str(cell).lower()]


def _resolve(path: Any, folder: Path | None) -> Any:
    """The item that a cell means: relative paths start at the manifest's folder."""
    if folder is None:
        return check_item(path)
    text = decode_path(path) if isinstance(path, bytes) else str(path)
    return str(folder / check_path(text, folder))


def _read_csv(manifest: Path) -> tuple[list[str], Rows]:
    """The header in lower case, and the rows that are not blank with their places."""
    lines: list[tuple[int, list[str]]] = []
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines.extend((reader.line_num, row) for row in reader)
    except UnicodeDecodeError as error:
        raise PicturesError(
            f"{manifest} is not UTF-8 ({error.reason}); save it as UTF-8."
        ) from error
    except csv.Error as error:
        line = lines[-1][0] + 1 if lines else 1
        hint = "a cell holds more than a path or a name" if "limit" in str(error) else error
        raise PicturesError(f"{manifest}, from line {line}: {hint}; mend the quotes.") from error
    except OSError as error:
        raise PicturesError(f"{manifest} cannot be read: {error.strerror}.") from error
    header = [name.strip().lower() for name in lines[0][1]] if lines else []
    rows = [(f"line {n}", row) for n, row in lines[1:] if any(cell.strip() for cell in row)]
    return header, rows


def _read_parquet(manifest: Path) -> tuple[list[str], Rows]:
    """The same of a Parquet file."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise PicturesError(
            f"{manifest}: Parquet needs an extra: pip install 'tlfeatures[parquet]'."
        ) from error
    try:
        table = pyarrow.parquet.ParquetFile(manifest).read()
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PicturesError(f"{manifest} is no Parquet file that can be read: {line}") from error
    header = [str(name).strip().lower() for name in table.column_names]
    known = [i for i, name in enumerate(header) if name in COLUMNS]
    columns = [table.column(i).to_pylist() for i in known]
    rows = [(f"row {n}", list(cells)) for n, cells in enumerate(zip(*columns, strict=True))]
    return [header[i] for i in known] or header, rows
