"""How pictures show themselves in a notebook."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tlfeatures._notebook import block, facts, figures, lines
from tlfeatures.errors import few
from tlfeatures.pictures._sheets import data_uri, thumbnail

THUMBS, SIDE = 8, 96


def show_row(items: Sequence[Any], captions: Sequence[str]) -> str:
    """Thumbnails in a row, as HTML."""
    shown = zip(items, captions, strict=True)
    return figures([(data_uri(thumbnail(item, SIDE)), words) for item, words in shown])


def show_pictures(pictures: Any) -> str:
    """Counts of labels, sides and groups of `Pictures`, some thumbnails and the notes, as HTML."""
    groups = pictures.groups
    found = {
        "classes": _counts(pictures.labels),
        "split": _counts(pictures.split),
        "groups": "" if groups is None else f"{len(set(groups.tolist())):,}",
        "other files left out": f"{pictures.left_out:,}" if pictures.left_out else "",
    }
    n = len(pictures)
    some = pictures if n <= THUMBS else pictures[[i * n // THUMBS for i in range(THUMBS)]]
    row = show_row(some.items, _captions(some))
    return block(f"{n:,} pictures", facts(found), row, lines(pictures.notes))


def _captions(pictures: Any) -> list[str]:
    if pictures.labels is not None:
        return [str(label) for label in pictures.labels]
    return [os.path.basename(path) for path in pictures.paths]


def _counts(column: Any) -> str:
    if column is None:
        return ""
    counted = Counter(column.tolist())
    shown = few([f"{name}: {n:,}" for name, n in sorted(counted.items())])
    return shown if len(counted) < 3 else f"{len(counted):,} ({shown})"
