#!/usr/bin/env python3
"""Networks in float32 on a CPU: as torch runs them, and as the engine does.

    python benchmarks/networks.py [--networks timm:resnet50 convnext_tiny] [--rounds 5]

What fused operations bring in a worker process, with our own convolutions on Linux. Pictures of
noise that are prepared before, random weights, one thread, batches of 16; both take turns, ratios
are those within a turn, shown are medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import describe_run

from tlfeatures.backbones import BackboneRequest, load_backbone
from tlfeatures.engine._settings import computing, keep_memory
from tlfeatures.engine.kernels._kernels import WINOGRAD, are_for_here, make_ready
from tlfeatures.extraction import RunOptions, open_engine

HERE = Path(__file__).parent
NETWORKS = (
    "resnet18", "resnet50", "vgg16", "densenet121", "efficientnet_b0", "efficientnet_v2_s",
    "mobilenet_v3_large", "regnet_y_400mf", "shufflenet_v2_x1_0", "convnext_tiny", "vit_b_16",
    "vit_b_32", "swin_t", "swin_v2_t", "maxvit_t", "timm:resnet50", "timm:efficientnet_b0",
    "timm:mobilenetv3_large_100", "timm:convnext_tiny", "timm:vit_small_patch16_224",
    "timm:swin_tiny_patch4_window7_224", "timm:beit_base_patch16_224",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table; milliseconds a picture of both, their ratio."""

    network: str
    plain_ms: float
    engine_ms: float
    engine_gain: float


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "networks.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    if are_for_here():
        make_ready(WINOGRAD["float32"])
    rows: list[Row] = []
    for network in given.networks:
        rows.append(measure(network, given.rounds))
        print(as_markdown(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
        write(rows, given)
    print(given.out.read_text())


def measure(network: str, rounds: int) -> Row:
    """Both ways in turns."""
    request = BackboneRequest(network, "random")
    with tempfile.TemporaryDirectory() as cache:
        run = RunOptions(cache, device="cpu", precision="float32")
        plain = load_backbone(request)
        engine = open_engine(request, run, with_kernels=are_for_here())
        side = plain.preprocessing.input_size
        shape = (engine.batch_size, side, side, 3)
        batch = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        contenders = (plain, engine)
        for each in contenders:
            timed(each, batch)
        turns = [[timed(each, batch) for each in contenders] for _ in range(rounds)]
    medians = [1000 * statistics.median(each) / len(batch) for each in zip(*turns, strict=True)]
    return Row(
        network,
        *medians,
        engine_gain=statistics.median(plain / engine for plain, engine in turns),
    )


def timed(network: Any, batch: np.ndarray) -> float:
    """Seconds that one batch takes."""
    started = time.perf_counter()
    with computing("cpu", "float32"):
        network.codes(batch)
    return time.perf_counter() - started


def as_markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [
        "| network | torch's, ms/picture | engine | engine to torch's, times as fast |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row.network} | {row.plain_ms:.1f} | {row.engine_ms:.1f} | {row.engine_gain:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def write(rows: list[Row], given: argparse.Namespace) -> None:
    """The page."""
    given.out.write_text(
        "# Networks in float32 on a CPU\n\n"
        f"`python benchmarks/networks.py`: batches of 16 pictures of noise, {given.rounds} turns, "
        "medians; the network alone, one thread. Torch's: channels last, not fused. Engine: fused, "
        "with our own convolutions where there are some.\n\n"
        f"{describe_run()}\n"
        f"{as_markdown(rows)}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
