#!/usr/bin/env python3
"""Nearest neighbours in code space: precision of leave-one-out retrieval, and a contact sheet."""

from __future__ import annotations

import numpy as np
from _recipe import make_parser, take

from tlfeatures import ImageIndex
from tlfeatures.search import save_sheet

CUTOFFS = (1, 5, 10)
QUERIES = 3


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--sheet", default="neighbours.png")
    args = parser.parse_args(arguments)
    pictures, codes = take(args)
    index = ImageIndex(codes).fit(pictures)
    kept = index.pictures_
    if kept.labels is None:
        parser.error("retrieval is scored by labels; give a folder of class folders")
    found = index.search(kept, max(CUTOFFS))
    right = [
        [hit.label == str(y) for hit in hits] for hits, y in zip(found, kept.labels, strict=True)
    ]
    print(f"leave-one-out retrieval of {len(kept)} pictures, {len(kept.classes)} classes")
    for k in CUTOFFS:
        precision = np.array([np.mean(row[:k]) for row in right])
        # A picture is a query once and a neighbour of others: the interval takes queries as drawn.
        half = 1.96 * precision.std(ddof=1) / np.sqrt(len(precision))
        print(f"precision at {k:2d}: {100 * precision.mean():.1f} % +- {100 * half:.1f}")
    print("published: such neighbours are shown (AlexNet fc7) without a figure")
    rows = np.linspace(0, len(kept) - 1, QUERIES).astype(int)
    queries = [kept.paths[row] for row in rows]
    print(f"sheet: {save_sheet(args.sheet, queries, [found[row][:8] for row in rows])}")


if __name__ == "__main__":
    main()
