#!/usr/bin/env python3
"""One picture: how long `tlfeatures predict` takes from nothing, and once the network is in memory.

    python benchmarks/predict.py [--networks resnet18 resnet50 vgg16] [--rounds 7]

A model is fitted on a few crops of the photographs in --data with random weights from a file, which
rates do not depend on. Cold: the whole command in a process of its own, files in the page cache.
In the same turns a process that does nothing but import torch, torchvision and scikit-learn. Warm:
`predict` of a model that has predicted before. Each time another picture, so that no code is in
the cache. The bars: cold with ResNet-18 at most 4 s; warm well under a second.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from _crops import list_crops, write_crops
from _machine import describe_run

from tlfeatures import CNNCodes, TransferClassifier

HERE = Path(__file__).parent
WIDTH = 500
N_TRAINING = 20
IMPORTS = "import torch, torchvision, sklearn.linear_model, sklearn.svm"
COLD_BAR_S, WARM_BAR_S = 4.0, 1.0


@dataclass(frozen=True)
class Row:
    """One line of the table; medians in seconds, with the least and the most."""

    network: str
    cold: tuple[float, float, float]
    imports: tuple[float, float, float]
    warm: tuple[float, float, float]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50", "vgg16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "predict.md")
    given = parser.parse_args()
    n = N_TRAINING + 2 * given.rounds + 2
    folder = HERE.parent / "build" / f"predict-{n}-pictures"
    folder.parent.mkdir(exist_ok=True)
    write_crops(given.data, folder, n, WIDTH)
    rows = []
    for network in given.networks:
        rows.append(measure(network, list_crops(folder), given.rounds))
        print(as_markdown(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
        write(rows, given)
    print(given.out.read_text())


def measure(network: str, pictures: list[Path], rounds: int) -> Row:
    """Cold and warm in turns, after one of each that is not counted."""
    with tempfile.TemporaryDirectory() as scratch:
        weights, model = Path(scratch) / "weights.safetensors", Path(scratch) / "m.model"
        script = HERE / "_networks.py"
        subprocess.run([sys.executable, str(script), network, str(weights)], check=True)
        training, queries = pictures[:N_TRAINING], iter(pictures[N_TRAINING:])
        codes = CNNCodes(network, weights=str(weights), cache=scratch)
        classifier = TransferClassifier(codes, head="logistic")
        classifier.fit([str(path) for path in training], ["a", "b"] * (N_TRAINING // 2))
        classifier.save(model)
        cold, imports, warm = [], [], []
        for _ in range(1 + rounds):
            words = ["predict", str(model), str(next(queries)), "--cache", scratch]
            cold.append(timed("-m", "tlfeatures", *words))
            imports.append(timed("-c", IMPORTS))
            query = [str(next(queries))]
            started = time.perf_counter()
            classifier.predict(query)
            warm.append(time.perf_counter() - started)
    return Row(network, spread(cold[1:]), spread(imports[1:]), spread(warm[1:]))


def timed(*words: str) -> float:
    """Seconds of a process of Python."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - started


def spread(seconds: list[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    return statistics.median(seconds), min(seconds), max(seconds)


def as_markdown(rows: list[Row]) -> str:
    """The table."""
    return "\n".join(
        [
            "| network | cold, s | least to most | imports alone, s | warm, s | least to most |",
            "|---|---|---|---|---|---|",
            *(
                f"| {row.network} | {row.cold[0]:.2f} | {row.cold[1]:.2f} to {row.cold[2]:.2f} "
                f"| {row.imports[0]:.2f} "
                f"| {row.warm[0]:.3f} | {row.warm[1]:.3f} to {row.warm[2]:.3f} |"
                for row in rows
            ),
        ]
    )


def write(rows: list[Row], given: argparse.Namespace) -> None:
    """The page, with the bars."""
    lines = [
        "# One picture",
        "",
        f"`python benchmarks/predict.py`: {given.rounds} turns, medians. Cold: the command "
        "`tlfeatures predict`, files in the page cache; beside it what the imports of torch, "
        "torchvision and scikit-learn take alone. Warm: `predict` in a process whose network is "
        "open. No code of the picture is in the cache.",
        "",
        describe_run().rstrip(),
    ]
    lines += [
        f"- Bar: cold with ResNet-18 at most {COLD_BAR_S:g} s, found {row.cold[0]:.2f}: "
        f"{'yes' if row.cold[0] <= COLD_BAR_S else 'no'}."
        for row in rows
        if row.network == "resnet18"
    ]
    most = max(row.warm[0] for row in rows)
    lines.append(
        f"- Bar: warm well under {WARM_BAR_S:g} s, found at most {most:.3f}: "
        f"{'yes' if most <= WARM_BAR_S / 2 else 'no'}."
    )
    given.out.write_text("\n".join([*lines, "", as_markdown(rows), ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
