"""What the fine-tuning experiments share: one line a run, so that they go on where they stopped."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlfeatures import CNNCodes


def make_parser(description: str, input_size: int) -> argparse.ArgumentParser:
    """The options of every experiment."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--images", required=True, help="folder of class folders")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--weights", help="entry, or .safetensors or .pth file")
    parser.add_argument("--preprocess", default="torchvision")
    parser.add_argument("--input-size", type=int, default=input_size)
    parser.add_argument("--resize", type=int)
    parser.add_argument("--cache", default="cache")
    parser.add_argument("--out", default="cache/runs.jsonl", help="one line a run; kept ones stay")
    return parser


def make_codes(args: argparse.Namespace) -> CNNCodes:
    """The extractor that the options mean."""
    return CNNCodes(
        args.backbone,
        weights=args.weights,
        preprocess=args.preprocess,
        input_size=args.input_size,
        resize=args.resize,
        cache=args.cache,
    )


def run_once(out: str, key: dict[str, Any], run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The line of this run: read where it is there, else computed and added."""
    path = Path(out)
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        found: dict[str, Any] = json.loads(line)
        if all(found.get(name) == value for name, value in key.items()):
            return found
    done = {**key, **run()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(done) + "\n")
    return done


def percent(value: float, ci95: list[float] | None = None) -> str:
    """91.4, with the interval where there is one."""
    words = f"{100 * value:.1f}"
    return words if ci95 is None else f"{words} ({100 * ci95[0]:.1f} to {100 * ci95[1]:.1f})"
