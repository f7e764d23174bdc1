"""CSV and Parquet manifests -> `Pictures`: columns path, and optionally label, split, group."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from tlfeatures.errors import PicturesError
from tlfeatures.pictures._pictures import Pictures

MANIFESTS = ("csv", "parquet")
COLUMNS = ("path", "label", "split", "group")
SPLIT_WORDS = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip

Rows = list[tuple[str, list[str]]]


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
    if "path" not in header:
        raise PicturesError(
            f"{top}: no column 'path' among {', '.join(header) or 'nothing'}; "
            f"the columns are {', '.join(COLUMNS)}{', separated by commas' if is_csv else ''}."
        )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise PicturesError(f"{top}: two columns {twice[0]!r}; keep one.")
    if not rows:
        raise PicturesError(f"{manifest} names no pictures; add a line for each.")
    table: dict[str, list[str]] = {name: [] for name in COLUMNS if name in header}
    for place, row in rows:
        if len(row) != len(header):
            raise PicturesError(
                f"{manifest}, {place}: {len(row)} cells, the header has {len(header)}."
            )
        for name, column in table.items():
            column.append(_check(manifest, place, name, row[header.index(name)].strip()))
    paths = [str(manifest.parent / path) for path in table["path"]]
    return Pictures(paths, table.get("label"), table.get("split"), table.get("group"))


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
        raise PicturesError(f"{manifest}, from line {line}: {error}; mend the quotes.") from error
    except OSError as error:
        raise PicturesError(f"{manifest} cannot be read: {error.strerror}.") from error
    header = [name.strip().lower() for name in lines[0][1]] if lines else []
    rows = [(f"line {n}", row) for n, row in lines[1:] if any(cell.strip() for cell in row)]
    return header, rows


def _read_parquet(manifest: Path) -> tuple[list[str], Rows]:
    """The same of a Parquet file; numbers become text, null becomes empty."""
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
    columns = [[_text(cell) for cell in table.column(i).to_pylist()] for i in known]
    rows = [(f"row {n}", list(cells)) for n, cells in enumerate(zip(*columns, strict=True))]
    return [header[i] for i in known] or header, rows


def _text(cell: Any) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    return "" if cell is None else str(cell)


def _check(manifest: Path, place: str, name: str, cell: str) -> str:
    if name == "split":
        if cell.lower() not in SPLIT_WORDS:
            raise PicturesError(f"{manifest}, {place}: split {cell!r}; use train, val or test.")
        return SPLIT_WORDS[cell.lower()]
    if not cell and name != "group":
        raise PicturesError(f"{manifest}, {place}: the {name} is empty; fill it in.")
    return cell or place  # a picture without a group is a group of its own
