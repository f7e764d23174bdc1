"""Whether there is anything to work on: pictures whose bytes can be had, that can be decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlfeatures.errors import ImageReadError, PicturesError
from tlfeatures.pictures._pictures import Pictures
from tlfeatures.pictures.decoding._digest import content_digest


def all_unreadable(pictures: Pictures) -> list[tuple[str, str]]:
    """Paths and reasons if not one picture's bytes can be had; else nothing, at once.

    Whether they are a picture is not looked at.
    """
    bad = []
    for path, item in zip(pictures.paths, pictures.items, strict=True):
        try:
            content_digest(item)
        except ImageReadError as error:
            bad.append((path, str(error)))
        else:
            return []
    return bad


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
