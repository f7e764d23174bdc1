#!/usr/bin/env python3
"""Draw docs/photographs.svg from benchmarks/results/photographs.md; with --check only compare."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent / "benchmarks/results/photographs.md"
TARGET = HERE / "photographs.svg"
LEFT, PANEL, GAP, TOP, STEP = 240, 200, 52, 66, 24  # pixels
CODES = ("linear SVM", "logistic regression", "k nearest neighbours")
STYLE = (
    "text{font:13px -apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#222}"
    ".title{font-weight:600}.small{font-size:11px;fill:#666}"
)
BLUE, GREY, LINE, BAND = "#1f6feb", "#8c8c8c", "#e3e3e3", "#f3f7fe"


class Row(NamedTuple):
    """A line of the table."""

    collection: str
    network: str
    n_classes: int
    n_train: int
    n_test: int
    method: str
    accuracy: float
    low: float
    high: float


def read_rows(page: str) -> list[Row]:
    """The table's lines, in order."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [
        Row(name, network, *map(int, counts), method, float(value), *map(float, ends.split(" to ")))
        for name, network, *counts, method, value, ends in lines[1:]
    ]


def draw(rows: list[Row]) -> str:
    """One panel per collection, one line per method, a dot with its interval."""
    panels = [list(group) for _, group in groupby(rows, lambda row: row.collection)]
    methods = [row.method for row in panels[0]]
    width = LEFT + len(panels) * (PANEL + GAP) + 4
    height = TOP + STEP * len(methods) + 62
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<rect y="{TOP - 6}" width="{width}" height="{STEP * len(CODES)}" fill="{BAND}"/>',
    ]
    for i, method in enumerate(methods):
        words = f"{method} on codes" if method in CODES else method
        parts.append(f'<text x="{LEFT - 12}" y="{middle(i) + 4}" text-anchor="end">{words}</text>')
    for i, panel in enumerate(panels):
        parts += draw_panel(panel, LEFT + i * (PANEL + GAP), height)
    return "\n".join([*parts, "</svg>", ""])


def draw_panel(rows: list[Row], left: int, height: int) -> list[str]:
    """Title, scale, and the dots of one collection."""
    first, bottom = rows[0], TOP + STEP * len(rows)
    parts = [
        f'<text class="title" x="{left}" y="22">{first.collection}</text>',
        f'<text class="small" x="{left}" y="40">{first.n_classes} classes, '
        f"{first.n_train:,} for training, {first.n_test:,} held out</text>",
    ]
    for value in range(0, 101, 25):
        x = left + PANEL * value / 100
        parts += [
            f'<path d="M{x:.1f} {TOP - 6}V{bottom}" stroke="{LINE}"/>',
            f'<text class="small" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">'
            f"{value}</text>",
        ]
    parts.append(
        f'<text class="small" x="{left + PANEL / 2}" y="{height - 14}" text-anchor="middle">'
        f"{first.network}: accuracy, %, 95 % interval</text>"
    )
    for i, row in enumerate(rows):
        low, x, high = (left + PANEL * v / 100 for v in (row.low, row.accuracy, row.high))
        colour, side = BLUE if row.method in CODES else GREY, -1 if row.accuracy > 60 else 1
        edge = (low if side < 0 else high) + 6 * side
        anchor = "end" if side < 0 else "start"
        parts += [
            f'<path d="M{low:.1f} {middle(i)}H{high:.1f}" stroke="{colour}" stroke-width="2"/>',
            f'<circle cx="{x:.1f}" cy="{middle(i)}" r="4.5" fill="{colour}"/>',
            f'<text class="small" x="{edge:.1f}" y="{middle(i) + 4}" text-anchor="{anchor}">'
            f"{row.accuracy:.1f}</text>",
        ]
    return parts


def middle(i: int) -> int:
    """The height of line `i`, pixels from the top."""
    return TOP + STEP * i + STEP // 2 - 6


def main() -> int:
    made = draw(read_rows(TABLE.read_text(encoding="utf-8")))
    if "--check" in sys.argv:
        same = TARGET.exists() and TARGET.read_text(encoding="utf-8") == made
        if not same:
            sys.stderr.write(f"{TARGET} is not what {TABLE} says; run python docs/make_figure.py\n")
        return 0 if same else 1
    TARGET.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
