#!/usr/bin/env python3
"""Networks with convolutions of 3 x 3 by Winograd's method, against oneDNN's.

    python benchmarks/winograd.py [--precision bf16] [--networks resnet50 vgg16] [--rounds 9]

Engines on pictures of noise that are prepared before, random weights, one thread, batches of 16;
both take turns, ratios are those within a turn, shown are medians. Errors are those of four
pictures' codes against the same network in float64, the largest.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import describe_run

from tlfeatures.backbones import BackboneRequest, load_backbone, normalise
from tlfeatures.engine._settings import keep_memory
from tlfeatures.engine.kernels._kernels import WINOGRAD, build, make_ready
from tlfeatures.engine.kernels._winograd import WinogradConv2d
from tlfeatures.extraction import RunOptions, open_engine
from tlfeatures.store import relative_difference

HERE = Path(__file__).parent
NETWORKS = (
    "resnet18", "resnet34", "resnet50", "wide_resnet50_2", "vgg16", "densenet121", "googlenet",
    "inception_v3", "squeezenet1_0", "efficientnet_v2_s",
)  # fmt: skip
N_EXACT = 4


@dataclass(frozen=True)
class Row:
    """One line of the table; milliseconds a picture."""

    network: str
    n_own: int
    usual_ms: float
    own_ms: float
    ratio: float
    usual_error: float
    own_error: float


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=list(WINOGRAD), default="float32")
    parser.add_argument("--out", type=Path, help="default: results/winograd.md, or -bf16")
    given = parser.parse_args()
    if given.out is None:
        name = "winograd" if given.precision == "float32" else f"winograd-{given.precision}"
        given.out = HERE / "results" / f"{name}.md"
    torch.set_num_threads(1)
    keep_memory()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        build_s = timed(lambda: build(WINOGRAD[given.precision], Path(scratch) / "kernels.so"))
    make_ready(WINOGRAD[given.precision])
    for network in given.networks:
        rows.append(measure(network, given.rounds, given.precision))
        print(as_markdown(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
        write(rows, build_s, given)
    print(given.out.read_text())


def measure(network: str, rounds: int, precision: str) -> Row:
    """Both ways in turns."""
    request = BackboneRequest(network, "random")
    run = RunOptions(device="cpu", precision=precision)
    usual, own = (open_engine(request, run, with_kernels=each) for each in (False, True))
    side = own.backbone.preprocessing.input_size
    shape = (own.batch_size, side, side, 3)
    batch = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    codes = [engine.codes(batch)[0][:N_EXACT] for engine in (usual, own)]
    exact = exact_codes(request, batch[:N_EXACT])
    turns = [
        (timed(lambda: usual.codes(batch)), timed(lambda: own.codes(batch))) for _ in range(rounds)
    ]
    modules = own.backbone.cut.modules()
    return Row(
        network,
        sum(isinstance(each, WinogradConv2d) for each in modules),
        1000 * statistics.median(a for a, _ in turns) / len(batch),
        1000 * statistics.median(b for _, b in turns) / len(batch),
        statistics.median(a / b for a, b in turns),
        *(relative_difference(each.astype(np.float64), exact) for each in codes),
    )


def exact_codes(request: BackboneRequest, pictures: Any) -> Any:
    """Codes (n, d) of the plain network in float64."""
    backbone = load_backbone(request)
    batch = normalise(torch.from_numpy(pictures), backbone.preprocessing).double()
    with torch.inference_mode():
        return backbone.cut.double()(batch)[0].numpy()


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def as_markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [
        "| network | convolutions | oneDNN's, ms/picture | ours, ms/picture | times as fast "
        "| error of oneDNN's | error of ours |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.network} | {row.n_own} | {row.usual_ms:.1f} | {row.own_ms:.1f} | {row.ratio:.2f} "
        f"| {row.usual_error:.1e} | {row.own_error:.1e} |"
        for row in rows
    ]
    return "\n".join(lines)


def command_line() -> str:
    """What was asked for, and the operations that oneDNN is held to, if it is."""
    most = os.environ.get("ONEDNN_MAX_CPU_ISA")
    held = f"ONEDNN_MAX_CPU_ISA={most} " if most else ""
    return f"{held}python benchmarks/winograd.py {shlex.join(sys.argv[1:])}".strip()


def write(rows: list[Row], build_s: float, given: argparse.Namespace) -> None:
    """The page."""
    given.out.write_text(
        f"# Convolutions of 3 x 3 by Winograd's method, {given.precision}\n\n"
        f"`{command_line()}`: batches of 16 pictures of noise, {given.rounds} turns, "
        "medians; the network alone, one thread. Errors: of the codes, against float64.\n\n"
        f"{describe_run()}"
        f"- Compiling took {build_s:.1f} s.\n\n"
        f"{as_markdown(rows)}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
