#!/usr/bin/env python3
"""How often the 95 % interval of the mean recall covers: simulated test sets, class by class.

Recalls of the classes are drawn from Beta distributions, right answers from them. A cell is a
number of classes, pictures per class, how uneven these are, and a distribution; cells of fewer than
20 test pictures are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlfeatures.evaluation import recall_bounds

N_CLASSES = (2, 3, 5, 10, 20, 50, 101, 350)
PER_CLASS = (1, 2, 3, 5, 8, 20, 50, 100)
BETAS = {
    "nearly all right": (50, 1), "most right": (18, 2), "spread": (2, 1), "around a half": (5, 5),
    "anything": (1, 1), "all or nothing": (0.5, 0.5), "most wrong": (1, 9),
}  # fmt: skip
LEAST_PICTURES, MOST_PICTURES = 20, 12_000


def even(n_classes: int, n: int) -> NDArray[np.intp]:
    return np.full(n_classes, n)


def zipf(n_classes: int, n: int) -> NDArray[np.intp]:
    weights = 1 / np.arange(1, n_classes + 1)
    return np.maximum(1, n * n_classes * weights / weights.sum()).astype(int)


def one_or_many(n_classes: int, n: int) -> NDArray[np.intp]:
    return np.where(np.arange(n_classes) % 2, max(1, 2 * n - 1), 1)


def few_large(n_classes: int, n: int) -> NDArray[np.intp]:
    return np.where(np.arange(n_classes) < max(1, n_classes // 5), 3 * n, 1)


SHAPES: dict[str, Callable[[int, int], NDArray[np.intp]]] = {
    "even": even, "zipf": zipf, "one or many": one_or_many, "few large": few_large,
}  # fmt: skip
Cell = tuple[int, int, str, str]


def cells() -> Iterator[tuple[Cell, NDArray[np.intp]]]:
    for n_classes in N_CLASSES:
        for n in PER_CLASS:
            for shape, make in SHAPES.items():
                sizes = make(n_classes, n)
                if LEAST_PICTURES <= sizes.sum() <= MOST_PICTURES:
                    for beta in BETAS:
                        yield (n_classes, n, shape, beta), sizes


def coverage(
    recalls: NDArray[np.float64], sizes: NDArray[np.intp], rng: np.random.Generator
) -> float:
    """Share of the sets, rows of recalls, whose interval holds their mean."""
    low, high = recall_bounds(rng.binomial(sizes, recalls), np.broadcast_to(sizes, recalls.shape))
    truth = recalls.mean(axis=1)
    return float(((low <= truth) & (truth <= high)).mean())


def measure(n_sets: int, random_state: int = 0) -> dict[Cell, float]:
    """The coverage of each cell, over so many sets."""
    rng, found = np.random.default_rng(random_state), {}
    for cell, sizes in cells():
        recalls = rng.beta(*BETAS[cell[3]], (n_sets, len(sizes)))
        found[cell] = coverage(recalls, sizes, rng)
    return found


def lowest_fixed(n_sets: int, random_state: int = 0) -> tuple[float, Cell]:
    """The lowest coverage at one fixed set of recalls, of one drawn for each cell."""
    rng = np.random.default_rng(random_state)
    return min(
        (coverage(np.tile(rng.beta(*BETAS[cell[3]], len(sizes)), (n_sets, 1)), sizes, rng), cell)
        for cell, sizes in cells()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=4000, help="a cell")
    parser.add_argument("--out", default=Path(__file__).parent / "results" / "coverage.md")
    args = parser.parse_args()
    found = measure(args.sets)
    values = np.array(list(found.values()))
    lines = [
        "# Coverage of the 95 % interval of the mean recall",
        "",
        f"`python benchmarks/coverage.py --sets {args.sets}`: {len(found)} cells, mean "
        f"{values.mean():.4f}, lowest {values.min():.3f}, {np.mean(values > 0.98):.0%} of them "
        "above 0.98.",
        "",
        "| classes' pictures | " + " | ".join(BETAS) + " |",
        "|---" * (len(BETAS) + 1) + "|",
    ]
    for shape in SHAPES:
        columns = [[v for cell, v in found.items() if cell[2:] == (shape, beta)] for beta in BETAS]
        texts = [f"{np.mean(column):.3f} ({min(column):.3f})" for column in columns]
        lines.append(f"| {shape} | {' | '.join(texts)} |")
    value, cell = lowest_fixed(args.sets)
    lines += [
        "",
        "Mean over numbers of classes (2 to 350) and of pictures per class (1 to 100), in brackets "
        "the lowest.",
        f"At a fixed set of recalls, one drawn for each cell, the lowest is {value:.3f} ({cell}).",
    ]
    print("\n".join(lines))
    Path(args.out).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
