"""CSV manifests -> `Pictures`: columns path, and optionally label, split, group."""

from __future__ import annotations

import csv
from pathlib import Path

from tlfeatures.errors import PicturesError
from tlfeatures.pictures._pictures import Pictures

COLUMNS = ("path", "label", "split", "group")
SPLIT_WORDS = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip


def load_manifest(manifest: Path) -> Pictures:
    """Load a CSV manifest; relative paths start at its folder, its order is kept.

    Raises
    ------
    PicturesError
        With the number of the line that is wrong.
    """
    header, rows = _read(manifest)
    if "path" not in header:
        raise PicturesError(
            f"{manifest}, line 1: no column 'path' among {', '.join(header) or 'nothing'}; "
            f"the columns are {', '.join(COLUMNS)}, separated by commas."
        )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise PicturesError(f"{manifest}, line 1: two columns {twice[0]!r}; keep one.")
    if not rows:
        raise PicturesError(f"{manifest} names no pictures; add a line for each.")
    table: dict[str, list[str]] = {name: [] for name in COLUMNS if name in header}
    for line, row in rows:
        if len(row) != len(header):
            raise PicturesError(
                f"{manifest}, line {line}: {len(row)} cells, the header has {len(header)}."
            )
        for name, column in table.items():
            column.append(_check(manifest, line, name, row[header.index(name)].strip()))
    paths = [str(manifest.parent / path) for path in table["path"]]
    return Pictures(paths, table.get("label"), table.get("split"), table.get("group"))


def _read(manifest: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header in lower case, and the rows that are not blank with their line numbers."""
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
    return header, [(line, row) for line, row in lines[1:] if any(cell.strip() for cell in row)]


def _check(manifest: Path, line: int, name: str, cell: str) -> str:
    if name == "split":
        if cell.lower() not in SPLIT_WORDS:
            raise PicturesError(f"{manifest}, line {line}: split {cell!r}; use train, val or test.")
        return SPLIT_WORDS[cell.lower()]
    if not cell and name != "group":
        raise PicturesError(f"{manifest}, line {line}: the {name} is empty; fill it in.")
    return cell or f"line {line}"  # a picture without a group is a group of its own
