#!/usr/bin/env python3
"""Codes of five depths in one pass, against those of the last one alone.

    python benchmarks/depths.py [--networks resnet50 vgg16] [--pictures 16] [--rounds 5]

The engine on pictures of noise that are prepared before, with random weights: neither changes the
rate. Both ways take turns; ratios are those within a turn, shown are medians. Decoding is the same
for both and left out, which makes the ratio larger than a user sees. The bar: below 1.15.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _machine import describe_run

from tlfeatures.backbones import BackboneRequest
from tlfeatures.extraction import RunOptions, open_engine

HERE = Path(__file__).parent
PRECISIONS = ("bf16", "float32")
DEPTHS: dict[str, tuple[str | None, ...]] = {  # the last is the default layer
    "resnet50": ("conv2_x", "conv3_x", "conv4_x", "conv5_x", None),
    "vgg16": ("pool2", "pool3", "pool4", "pool5", None),
}
BAR = 1.15
# What workers of tlfeatures tell the C library, so that page faults are not what is measured.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}


@dataclass(frozen=True)
class Row:
    """One line of the table; milliseconds a picture."""

    network: str
    precision: str
    layers: tuple[str, ...]
    dims: tuple[int, ...]
    last_ms: float
    five_ms: float
    ratio: float


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=list(DEPTHS), default=list(DEPTHS))
    parser.add_argument("--pictures", type=int, default=16, help="of a turn, one batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "depths.md")
    given = parser.parse_args()
    if not KEEP_MEMORY.keys() <= os.environ.keys():
        words = [sys.executable, *sys.argv]
        os.execve(sys.executable, words, {**os.environ, **KEEP_MEMORY})
    rows = []
    for network in given.networks:
        for precision in PRECISIONS:
            rows.append(measure(network, precision, given.pictures, given.rounds))
            print(as_markdown(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
            write(rows, given)
    print(given.out.read_text())


def measure(network: str, precision: str, n: int, rounds: int) -> Row:
    """Both ways in turns."""
    run = RunOptions(device="cpu", precision=precision, batch_size=n)
    request = BackboneRequest(network, "random")
    five, last = (
        open_engine(request, run, layers) for layers in (DEPTHS[network], DEPTHS[network][-1:])
    )
    side = five.backbone.preprocessing.input_size
    batch = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    for engine in (five, last):
        engine.codes(batch)
    turns = [(timed(last.codes, batch) / n, timed(five.codes, batch) / n) for _ in range(rounds)]
    return Row(
        network,
        precision,
        tuple(spec.layer for spec in five.specs),
        tuple(spec.dim for spec in five.specs),
        1000 * statistics.median(a for a, _ in turns),
        1000 * statistics.median(b for _, b in turns),
        statistics.median(b / a for a, b in turns),
    )


def timed(call: Callable[[Any], Any], batch: Any) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call(batch)
    return time.perf_counter() - started


def as_markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [
        "| network | precision | layers (width) | last alone, ms/picture | all five, ms/picture "
        "| five / last |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        layers = ", ".join(f"{a} ({d})" for a, d in zip(row.layers, row.dims, strict=True))
        lines.append(
            f"| {row.network} | {row.precision} | {layers} | {row.last_ms:.1f} | "
            f"{row.five_ms:.1f} | {row.ratio:.3f} |"
        )
    return "\n".join(lines)


def write(rows: list[Row], given: argparse.Namespace) -> None:
    """The page, with the bar."""
    most = max(row.ratio for row in rows)
    given.out.write_text(
        "# Five depths in one pass\n\n"
        f"`python benchmarks/depths.py`: {given.pictures} pictures of noise a turn, "
        f"{given.rounds} turns, medians; the network alone, in one process.\n\n"
        f"{describe_run()}"
        f"- Bar: below {BAR}, found at most {most:.3f}: {'yes' if most < BAR else 'no'}.\n\n"
        f"{as_markdown(rows)}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
