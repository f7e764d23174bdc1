#!/usr/bin/env python3
"""Max pooling of bfloat16 that is not negative: torch's, and in passes over bits.

    python benchmarks/pooling.py [--seconds 10]

Maps of noise after a ReLU as ResNets and VGG16 pool them, batches of 16, one thread, memory kept as
worker processes keep it; the ways take turns in a random order, and all give the same bytes. Ratios
are those within a turn; shown are medians.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _machine import describe_run
from torch import nn

from tlfeatures.engine import CPU_BATCH
from tlfeatures.engine._fused import PositiveMaxPool2d
from tlfeatures.engine._settings import keep_memory

HERE = Path(__file__).parent
MAPS = (  # of whom, channels, side, window
    ("ResNets", 64, 112, nn.MaxPool2d(3, 2, 1)),
    ("VGG16, first", 64, 224, nn.MaxPool2d(2)),
    ("VGG16, second", 128, 112, nn.MaxPool2d(2)),
    ("VGG16, third", 256, 56, nn.MaxPool2d(2)),
    ("VGG16, fourth", 512, 28, nn.MaxPool2d(2)),
    ("VGG16, last", 512, 14, nn.MaxPool2d(2)),
)
WAYS = ("torch", "in passes")


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each map")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "pooling.md")
    given = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    lines = [
        "| map | channels, sides | window | torch, ms | in passes, ms | times torch |",
        "|---|---|---|---|---|---|",
    ]
    for name, channels, side, pool in MAPS:
        turns = measure(maps(channels, side), pool, given.seconds)
        first, second = (statistics.median(column) for column in zip(*turns, strict=True))
        lines.append(
            f"| {name} | {channels}, {side} x {side} | {pool.kernel_size} "
            f"| {first:.2f} | {second:.2f} "
            f"| {statistics.median(turn[0] / turn[1] for turn in turns):.1f} |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    given.out.write_text(
        "# Max pooling of what a ReLU gives, in bfloat16\n\n"
        f"`python benchmarks/pooling.py`: milliseconds a picture, medians of {given.seconds:.0f} s "
        f"a map, batches of {CPU_BATCH}, one thread.\n\n"
        f"{describe_run()}\n" + "\n".join(lines) + "\n",
        encoding="utf-8",
    )
    print(given.out.read_text())


def maps(channels: int, side: int) -> torch.Tensor:
    """A batch of maps that are not negative, bfloat16, channels last."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((CPU_BATCH, channels, side, side), generator=generator).relu()
    return noise.bfloat16().contiguous(memory_format=torch.channels_last)


def measure(batch: torch.Tensor, pool: nn.MaxPool2d, seconds: float) -> list[list[float]]:
    """Milliseconds a picture of each of the ways, turn by turn."""
    calls: dict[str, Callable[[torch.Tensor], torch.Tensor]] = dict(
        zip(WAYS, (pool, PositiveMaxPool2d(pool)), strict=True)
    )
    order, turns = random.Random(0), []
    with torch.inference_mode():
        made = [call(batch) for call in calls.values()]
        if not all(torch.equal(made[0], each) for each in made):
            raise SystemExit("the ways give other bytes")
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            spent = {}
            for way in order.sample(WAYS, len(WAYS)):
                started = time.perf_counter()
                calls[way](batch)
                spent[way] = 1000 * (time.perf_counter() - started) / len(batch)
            turns.append([spent[way] for way in WAYS])
    return turns


if __name__ == "__main__":
    main()
