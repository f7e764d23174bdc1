"""One part of an extraction alone in a process: prints seconds a picture as JSON.

    python benchmarks/_parts.py decode --network resnet50 --weights FILE --pictures FOLDER

When all is loaded and warm it prints "ready" and waits for a line on its standard input, so that
several can be made to measure at the same time. With --endless it then works until it is terminated
and prints what it has done, for others to stop it and let it go on.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _crops import list_crops
from _endless import Steps, loop, wait_until_told
from _networks import flop_of, load_network, transforms_of, use_weights
from PIL import Image

from tlfeatures.backbones import BackboneRequest
from tlfeatures.engine.kernels._kernels import RESIZING, WINOGRAD, make_ready, winograd_pays
from tlfeatures.extraction import RunOptions, open_engine
from tlfeatures.pictures import decode

BATCH = 32
SIDE = 1024  # of the matrices: of 256 to 4096 the one with the best rates


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--network", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--one-thread", action="store_true")
    how_long = parser.add_mutually_exclusive_group()
    how_long.add_argument("--seconds", type=float, default=5.0)
    how_long.add_argument("--endless", action="store_true")
    given = parser.parse_args()
    if given.one_thread:
        torch.set_num_threads(1)
    use_weights(given.weights)
    with torch.no_grad():
        steps = PARTS[given.part](given)
        wait_until_told(steps)
        print(json.dumps(loop(steps) if given.endless else measure(steps, given.seconds)))


def measure(steps: Steps, seconds: float) -> dict[str, float]:
    """Seconds a picture of each step; all take turns for so many seconds together.

    Means, as the rate of a whole run is one.
    """
    spent, done = dict.fromkeys(steps, 0.0), dict.fromkeys(steps, 0.0)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, step in steps.items():
            started = time.perf_counter()
            done[name] += step()
            spent[name] += time.perf_counter() - started
    return {name: spent[name] / done[name] for name in steps}


def eager(given: Any) -> Steps:
    """Torchvision's network as it is, pictures in the order of its convolutions."""
    return network_step(given, load_network(given.network), torch.contiguous_format)


def channels_last(given: Any) -> Steps:
    """The same in channels_last."""
    return network_step(given, load_network(given.network), torch.channels_last)


def compiled(given: Any) -> Steps:
    """The same through inductor, with freezing."""
    import torch._inductor.config

    torch._inductor.config.freezing = True
    network = load_network(given.network).to(memory_format=torch.channels_last)
    return network_step(given, torch.compile(network), torch.channels_last)


def network_step(given: Any, network: Any, layout: torch.memory_format) -> Steps:
    """The network alone on one batch of float32 pictures, prepared and normalised before."""
    transform = transforms_of(given.network)
    paths = itertools.islice(itertools.cycle(list_crops(given.pictures)), given.batch_size)
    pictures = [transform(Image.open(path).convert("RGB")) for path in paths]
    batch = torch.stack(pictures).contiguous(memory_format=layout)
    network.to(memory_format=layout)

    def step() -> int:
        with autocast(given.precision):
            return len(network(batch))

    return {"network": step}


def autocast(precision: str) -> Any:
    """Autocast for bf16, nothing for float32."""
    if precision == "bf16":
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


def engine(given: Any) -> Steps:
    """The engine of tlfeatures on one batch of prepared pictures, uint8: normalising included."""
    opened = open_engine_of(given)
    batch = next(prepared_batches(given, opened))
    return {"network": lambda: len(opened.codes(batch)[0])}


def decoding(given: Any) -> Steps:
    """Reading, decoding, resizing and cropping as tlfeatures does; files in the page cache."""
    batches = prepared_batches(given, open_engine_of(given))
    return {"decode": lambda: len(next(batches))}


def worker(given: Any) -> Steps:
    """Decoding and the engine in turns: a worker's whole work, without the product around it."""
    opened = open_engine_of(given)
    batches = prepared_batches(given, opened)
    held = [next(batches)]

    def decode_step() -> int:
        held[0] = next(batches)
        return len(held[0])

    return {"decode": decode_step, "network": lambda: len(opened.codes(held[0])[0])}


def open_engine_of(given: Any) -> Any:
    """The engine of tlfeatures on the random weights, in one thread with its own operations."""
    with_kernels = given.one_thread and winograd_pays(given.precision)
    with contextlib.suppress(RuntimeError, OSError):  # no compiler
        make_ready(RESIZING)
        if with_kernels:
            make_ready(WINOGRAD[given.precision])
    run = RunOptions(device="cpu", precision=given.precision)
    request = BackboneRequest(given.network, str(given.weights))
    return open_engine(request, run, with_kernels=with_kernels, with_resizing=True)


def prepared_batches(given: Any, opened: Any) -> Iterator[Any]:
    """Batches of prepared pictures without an end, from the files each time."""
    paths = itertools.cycle(list_crops(given.pictures))
    while True:
        some = itertools.islice(paths, given.batch_size)
        yield np.stack([opened.prepare(decode(path.read_bytes())) for path in some])


def matrices(given: Any) -> Steps:
    """A product of matrices by oneDNN, one of them packed, for the operations of one picture.

    `torch.mm` in float32 goes to MKL, which on some processors is half as fast.
    """
    dtype = torch.bfloat16 if given.precision == "bf16" else torch.float32
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    packed = torch.ops.mkldnn._reorder_linear_weight(b, SIDE)
    pictures = 2 * SIDE**3 / flop_of(given.network)

    def step() -> float:
        torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")
        return pictures

    return {"network": step}


PARTS: dict[str, Callable[[Any], Steps]] = {
    "eager": eager,
    "channels_last": channels_last,
    "compiled": compiled,
    "engine": engine,
    "decode": decoding,
    "worker": worker,
    "matrices": matrices,
}

if __name__ == "__main__":
    main()
