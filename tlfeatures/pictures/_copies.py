"""Exact copies that make a score untrue: under two labels, or on both sides of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tlfeatures.errors import PicturesError, few
from tlfeatures.pictures._pictures import Pictures


@dataclass(frozen=True)
class Copies:
    """Pictures of identical content.

    Attributes
    ----------
    paths, labels, splits : tuple of str
        Of each copy; `labels` and `splits` are empty where there are none.
    conflict : {"labels", "split", "both", ""}
        "" where they agree.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    conflict: str

    def describe(self) -> str:
        """One line that names the files and says what is wrong with them."""
        where = {
            "": "that agree in label and split",
            "labels": f"under different labels ({few(list(dict.fromkeys(self.labels)))})",
            "split": f"on both sides of the split ({', '.join(dict.fromkeys(self.splits))})",
            "both": "under different labels and on both sides of the split",
        }[self.conflict]
        return f"exact copies {where}: {few(self.paths)}"


def find_exact_copies(
    pictures: Pictures,
    digests: Sequence[bytes],
    sides: Sequence[str] | None = None,
    *,
    agreeing: bool = False,
) -> list[Copies]:
    """Find identical pictures that stand under two labels or on both sides of a split.

    Parameters
    ----------
    pictures : Pictures of length n
    digests : sequence of n bytes
        Content digests or row keys.
    sides : sequence of n str, optional
        The side each picture is on; default: the pictures' own split.
    agreeing : bool, default=False
        Also those that agree in label and side.

    Returns
    -------
    list of Copies
        In the order of their first pictures.

    Raises
    ------
    PicturesError
        If there are not as many digests or sides as pictures.
    """
    for name, column in (("digests", digests), ("sides", sides)):
        if column is not None and len(column) != len(pictures):
            raise PicturesError(
                f"{len(column)} {name} for {len(pictures)} pictures; give one for each."
            )
    if sides is None and pictures.split is not None:
        sides = pictures.split.tolist()
    labels = None if pictures.labels is None else pictures.labels.tolist()
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        rows_of[digest].append(row)
    found = []
    for rows in rows_of.values():
        own_labels = tuple(str(labels[r]) for r in rows) if labels else ()
        own_sides = tuple(str(sides[r]) for r in rows) if sides is not None else ()
        conflict = _conflict(own_labels, own_sides)
        if conflict or (agreeing and len(rows) > 1):
            paths = tuple(pictures.paths[r] for r in rows)
            found.append(Copies(paths, own_labels, own_sides, conflict))
    return found


def _conflict(labels: tuple[str, ...], sides: tuple[str, ...]) -> str:
    two_labels, two_sides = len(set(labels)) > 1, len(set(sides)) > 1
    if two_labels and two_sides:
        return "both"
    return "labels" if two_labels else "split" if two_sides else ""
