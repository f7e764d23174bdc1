#!/usr/bin/env python3
"""`fit` on a quiet machine and beside other work: how much longer each step takes.

Ants and bees (398 pictures), ResNet-18 with local weights, a cache folder of its own each time; in
turns alone and beside two processes that do nothing but count. Threads that wait for each other
show here: a step that takes over three times as long has some.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

SHARED = Path(__file__).resolve().parents[2] / "shared"
RESULTS = Path(__file__).resolve().parent / "results" / "busy.md"
COUNTING = "while True: pass"
ALLOWED = 3.0
Seconds = dict[str, float]


@contextmanager
def other_work(n_processes: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", COUNTING]) for _ in range(n_processes)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def fit(weights: Path) -> Seconds:
    """Seconds of each step of one `fit`, from its JSON."""
    with tempfile.TemporaryDirectory() as cache:
        command = [
            sys.executable, "-m", "tlfeatures", "fit", str(SHARED / "data" / "hymenoptera"),
            "--backbone", "resnet18", "--weights", str(weights), "--preprocess", "imagenet",
            "--cache", cache, "--json", "--quiet",
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    seconds: Seconds = json.loads(done.stdout)["seconds"]
    return seconds


def unpack() -> Path:
    command = [sys.executable, str(SHARED / "unpack_weights.py")]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Path(done.stdout.split("\n")[-2]) / "resnet18-imagenet-pqf.safetensors"


def table(quiet: list[Seconds], busy: list[Seconds]) -> list[str]:
    lines = ["| step | alone, s | beside two loops, s | ratio | |", "|---|---|---|---|---|"]
    for step in quiet[0]:
        alone, beside = (median(each[step] for each in runs) for runs in (quiet, busy))
        ratio = beside / alone if alone else 1.0
        verdict = "at most 3" if ratio <= ALLOWED else "MORE THAN 3"
        lines.append(f"| {step} | {alone:.2f} | {beside:.2f} | {ratio:.2f} | {verdict} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loops", type=int, default=2, help="processes beside it")
    args = parser.parse_args()
    if not SHARED.is_dir():
        parser.error(f"{SHARED} is absent: pictures and weights are not part of the repository")
    weights = unpack()
    fit(weights)  # compiles and warms the disk
    quiet, busy = [], []
    for _ in range(args.rounds):
        quiet.append(fit(weights))
        with other_work(args.loops):
            busy.append(fit(weights))
    lines = [
        "# `fit` beside other work",
        "",
        f"`python benchmarks/busy.py --rounds {args.rounds}`: medians; wall-clock seconds.",
        "",
        *table(quiet, busy),
    ]
    print("\n".join(lines))
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
