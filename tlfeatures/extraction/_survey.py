"""What is in a folder, from headers and bytes alone: no picture is decoded. No torch in here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from tlfeatures.errors import ImageReadError
from tlfeatures.extraction._look_up import HASHERS, make_digests
from tlfeatures.pictures import Copies, Header, Pictures, find_exact_copies, read_header
from tlfeatures.store import FileMemo

SIDES = ("train", "val", "test")
AT_ONCE = 256  # files a thread takes


@dataclass(frozen=True)
class Survey:
    """What is in a folder.

    Attributes
    ----------
    pictures, bytes : int
        Files that are pictures by name or first bytes, and their size.
    classes, splits : dict of str to int
        Pictures of each; empty without labels, without a split.
    groups : int or None
        How many; None without groups.
    kinds : dict of str to int
        Pictures by format, such as "JPEG".
    sides : dict of str to (width, height)
        The "smallest", "median" and "largest" picture, in pixels.
    n_deep : int
        Pictures of more than 8 bits per channel.
    copies : list of Copies
        Files of the same bytes; `conflict` is empty where labels and sides agree.
    bad : list of (path, reason)
        Those whose header cannot be read.
    left_out : dict of str to int
        Files that are no pictures, by kind.
    notes : list of str
        How the folders were read.
    """

    pictures: int
    bytes: int
    classes: dict[str, int]
    splits: dict[str, int]
    groups: int | None
    kinds: dict[str, int]
    sides: dict[str, tuple[int, int]]
    n_deep: int
    copies: list[Copies]
    bad: list[tuple[str, str]]
    left_out: dict[str, int]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **asdict(self),
            "classes": [{"name": name, "pictures": n} for name, n in self.classes.items()],
            "bad": [{"path": path, "reason": reason} for path, reason in self.bad],
        }


def survey(pictures: Pictures, cache: str | os.PathLike[str]) -> Survey:
    """Count what is there; content is hashed once and remembered in the cache folder.

    Parameters
    ----------
    pictures : Pictures
    cache : path
        The cache folder.
    """
    headers, bad = _read_headers(pictures)
    digests, reasons = make_digests(pictures.items, FileMemo(cache))
    bad = {**reasons, **bad}
    known = [i for i in range(len(pictures)) if digests[i] and i not in bad]
    some: Pictures = pictures[known]
    copies = find_exact_copies(some, [digests[i] for i in known], agreeing=True)
    labels = () if pictures.labels is None else pictures.labels.tolist()
    split = () if pictures.split is None else pictures.split.tolist()
    return Survey(
        pictures=len(pictures),
        bytes=sum(each.bytes for each in headers),
        classes=dict(sorted(Counter(map(str, labels)).items())),
        splits={side: split.count(side) for side in SIDES if side in split},
        groups=None if pictures.groups is None else len(set(pictures.groups.tolist())),
        kinds=dict(Counter(each.kind for each in headers).most_common()),
        sides=_sides(headers),
        n_deep=sum(each.is_deep for each in headers),
        copies=copies,
        bad=[(pictures.paths[i], bad[i]) for i in sorted(bad)],
        left_out=dict(pictures.left_out_kinds),
        notes=list(pictures.notes),
    )


def _read_headers(pictures: Pictures) -> tuple[list[Header], dict[int, str]]:
    """The headers that can be read, and the reasons of the others by position."""

    def read(items: Sequence[Any]) -> list[Header | str]:
        found: list[Header | str] = []
        for item in items:
            try:
                found.append(read_header(item))
            except ImageReadError as error:
                found.append(str(error))
        return found

    parts = [pictures.items[i : i + AT_ONCE] for i in range(0, len(pictures), AT_ONCE)]
    with ThreadPoolExecutor(HASHERS) as pool:
        answers = [answer for part in pool.map(read, parts) for answer in part]
    bad = {i: answer for i, answer in enumerate(answers) if isinstance(answer, str)}
    return [answer for answer in answers if isinstance(answer, Header)], bad


def _sides(headers: Sequence[Header]) -> dict[str, tuple[int, int]]:
    if not headers:
        return {}
    sizes = sorted(((each.width, each.height) for each in headers), key=lambda s: (s[0] * s[1], s))
    middle = round(median(range(len(sizes))))
    return {"smallest": sizes[0], "median": sizes[middle], "largest": sizes[-1]}
