#!/usr/bin/env python3
"""What `tlfeatures fit` finds on collections of photographs, as a table.

Each argument is NAME=FILE: a collection, and the JSON that `tlfeatures fit FOLDER --json` printed
for it. Writes benchmarks/results/photographs.md, from which docs/make_figure.py draws the README's
figure.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _machine import describe_run

PAGE = Path(__file__).parent / "results" / "photographs.md"
HEADS = {"svm": "linear SVM", "logistic": "logistic regression", "knn": "k nearest neighbours"}
CONTROLS = {
    "pixels": "raw pixels",
    "histogram": "colour histogram",
    "random_weights": "same network, random weights",
    "majority": "majority class",
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--weights", required=True, help="where the weights are from, in words")
    parser.add_argument("--note", action="append", default=[], help="a further line of the head")
    args = parser.parse_args(arguments)
    lines = []
    for name, file in (words.split("=", 1) for words in args.results):
        lines += rows(name, json.loads(Path(file).read_text()))
    notes = "".join(f"- {note}\n" for note in args.note)
    head = HEAD.format(run=describe_run(), weights=args.weights, notes=notes)
    PAGE.write_text(head + "\n".join(lines) + "\n")


def rows(name: str, result: dict[str, Any]) -> Iterator[str]:
    """One line per classifier and control."""
    size = f"{len(result['classes'])} | {result['n_train']} | {result['n_test']}"
    for known, scores in ((HEADS, result["heads"]), (CONTROLS, result["controls"])):
        for key, words in known.items():
            low, high = (100 * end for end in scores[key]["ci95"])
            yield (
                f"| {name} | {result['backbone']} | {size} | {words} "
                f"| {100 * scores[key]['accuracy']:.1f} | {low:.1f} to {high:.1f} |"
            )


HEAD = """# Photographs: codes beside what trivial methods reach

`tlfeatures fit FOLDER --json` for each collection, put together by
`python benchmarks/photographs.py`. Accuracy on held-out pictures in percent, with Wilson intervals.
Controls learn from at most 1,000 pictures.

{run}- Weights: {weights}
{notes}
| collection | network | classes | training | held out | method | accuracy % | 95 % interval |
|---|---|---|---|---|---|---|---|
"""


if __name__ == "__main__":
    main()
