#!/usr/bin/env python3
"""On a GPU: images/s of the network alone, and from JPEG files to codes, with what limits that.

    python benchmarks/gpu.py [--networks resnet50 resnet18 vgg16] [--precisions fp16 bf16 float32]
                             [--pictures 8000] [--seconds 5]

The page is written after each network, so that a run which is ended leaves what it has measured.

The network alone: the engine's network, as `extract` runs it, on normalised pictures that lie on
the device; "codes" adds normalising and the copy back. End to end: `tlfeatures extract` into a new
cache; named is the step that the run has waited for longest. Weights are random, which rates do
not depend on. The bars are forward-only rates of ResNet-50: 9,000 images/s on an H100, 11,000 on
an H200. Where there is no CUDA device nothing is measured; `--device cpu` tries the script out and
writes nothing.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _children import run_child
from _crops import list_crops, write_crops
from _extract_report import table
from _machine import describe_machine, list_versions

from tlfeatures.backbones import BackboneRequest
from tlfeatures.engine._opened import close_networks
from tlfeatures.engine._settings import computing
from tlfeatures.extraction import RunOptions, open_engine

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "extract"
NETWORKS = ("resnet50", "resnet18", "vgg16")
PRECISIONS = {"cuda": ("fp16", "bf16", "float32"), "cpu": ("float32",)}
WARM_UP = 3
WIDTH = 500
FORWARD = 3  # the column of the network alone
BARS = {"H100": 9_000, "H200": 11_000}


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS["cuda"], help="all")
    parser.add_argument("--device", choices=list(PRECISIONS), default="cuda")
    parser.add_argument("--pictures", type=int, default=8000, help="end to end")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each rate of the network")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu.md")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device is here; nothing is measured")
        return
    folder = BUILD / f"pictures-{given.pictures}"
    write_crops(given.data, folder, given.pictures, WIDTH)
    for path in list_crops(folder):
        path.read_bytes()  # into the page cache
    alone: list[list[str]] = []
    whole: list[list[str]] = []
    for network in given.networks:
        # First what other processes do, while this one holds nothing on the device.
        whole.append(measure_whole(network, folder, given))
        alone += measure_network(network, given)
        if given.device == "cuda":
            gc.collect()  # graphs hold on to themselves
            torch.cuda.empty_cache()
            given.out.write_text(describe(alone, whole, given.device))
    print(describe(alone, whole, given.device))


def weights_of(network: str) -> Path:
    """A file of random weights, made where it is not there yet."""
    path = BUILD / "weights" / f"{network}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, HERE / "_networks.py", network, path], check=True)
    return path


def measure_network(network: str, given: argparse.Namespace) -> Iterator[list[str]]:
    """Rows of the first table."""
    request = BackboneRequest(network, str(weights_of(network)))
    for precision in given.precisions or PRECISIONS[given.device]:
        run = RunOptions(BUILD / "gpu-cache", device=given.device, precision=precision)
        engine = open_engine(request, run)
        shape = (engine.batch_size, *engine.backbone.input_shape[1:])
        batch = torch.rand(shape, device=given.device).to(memory_format=torch.channels_last)
        pixels = (255 * batch.permute(0, 2, 3, 1)).to(torch.uint8)
        forward = rate_of(lambda e=engine, b=batch: e.backbone(b), engine, given.seconds)
        codes = rate_of(lambda e=engine, p=pixels: e.codes(p), engine, given.seconds)
        print(f"{network} {precision}: {forward:.0f}", file=sys.stderr)
        close_networks()
        yield [network, precision, str(engine.batch_size), f"{forward:.0f}", f"{codes:.0f}"]


def rate_of(step: Callable[[], Any], engine: Any, seconds: float) -> float:
    """Images per second of a step that takes a batch, from the first to the last one's end."""
    with computing(engine.device, engine.precision):
        for _ in range(WARM_UP):
            step()
        wait_for(engine.device)
        n, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            step()
            n += engine.batch_size
            wait_for(engine.device)
        return n / (time.perf_counter() - began)


def wait_for(device: str) -> None:
    """Until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def measure_whole(network: str, folder: Path, given: argparse.Namespace) -> list[str]:
    """A row of the second table."""
    with tempfile.TemporaryDirectory(dir=BUILD) as cache:
        command = [sys.executable, "-m", "tlfeatures", "extract", folder, "--json"]
        command += ["--backbone", network, "--weights", weights_of(network)]
        command += ["--device", given.device, "--cache", cache]
        found = run_child(command)
    if "failed" in found:
        return [network, f"failed: {found['failed']}", "", "", "", ""]
    wait, spent = found["wait"], found["seconds"]["extract"]
    longest = max(wait, key=lambda name: wait[name])
    rate, size = f"{found['images_per_s']:.0f}", str(found["batch_size"])
    share = f"{longest}, {wait[longest] / spent / found['jobs']:.0%}"
    return [network, found["precision"], size, rate, f"{found['wall_s']:.1f}", share]


def describe(alone: list[list[str]], whole: list[list[str]], device: str) -> str:
    """Both tables."""
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU, to try the script out"
    bar = next((rate for card, rate in BARS.items() if card in name.split()), None)
    best = max((float(row[FORWARD]) for row in alone if row[0] == "resnet50"), default=0.0)
    verdict = "none"
    if bar is not None:
        verdict = f"{bar:,} images/s, found {best:,.0f}: {'yes' if best >= bar else 'no'}"
    versions = ", ".join(f"{package} {number}" for package, number in list_versions().items())
    head = [
        "# On a GPU",
        f"- Device: {name}; beside it {describe_machine()}",
        f"- Versions: {versions}",
        f"- Date: {datetime.datetime.now(tz=datetime.UTC).date().isoformat()}",
        f"- Bar for ResNet-50, the network alone: {verdict}",
    ]
    rates = ["network", "precision", "batch", "network alone, images/s", "codes, images/s"]
    ends = ["network", "precision", "batch", "images/s", "total s", "waited for longest"]
    tables = [table(rates, alone), "From JPEG files to codes:", table(ends, whole)]
    return "\n\n".join([head[0], "\n".join(head[1:]), *tables]) + "\n"


if __name__ == "__main__":
    main()
