#!/usr/bin/env python3
"""Preparing pictures by our own resizing, against Pillow's; the bytes are compared too.

    python benchmarks/resizing.py [--rounds 6]

Seeded crops of the photographs in --data, and the same resized as a phone's photographs and as
thumbnails, as JPEG files in memory. Each picture is decoded once a round, then prepared in both
ways, in turns which is first; one thread; Pillow keeps pictures in one piece, as in a run. Ratios
are those within a picture, of the preparing alone and with decoding; shown are medians.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _crops import list_crops, write_crops
from _machine import describe_run
from PIL import Image

from tlfeatures.backbones import Preprocessing
from tlfeatures.engine.kernels._kernels import RESIZING, build
from tlfeatures.engine.kernels._pillow import pictures_in_one_piece
from tlfeatures.engine.kernels._resize import Resizer, open_resizer
from tlfeatures.pictures import decode

HERE = Path(__file__).parent
WIDTH, PICTURES = 500, 200
WAYS = {
    "224 of 256, bilinear": Preprocessing(256, 224),
    "384, bicubic": Preprocessing(384, 384, interpolation="bicubic"),
}
SIZES = {
    "as they are": (None, PICTURES),
    "160 x 120": ((160, 120), PICTURES),
    "4000 x 3000": ((4000, 3000), 10),
}


@dataclass(frozen=True)
class Row:
    """One line of the table; milliseconds a picture."""

    size: str
    n: int
    way: str
    decode_ms: float
    pillow_ms: float
    own_ms: float
    ratio: float
    whole_ratio: float


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "resizing.md")
    given = parser.parse_args()
    folder = HERE.parent / "build" / "resizing" / f"pictures-{PICTURES}"
    write_crops(given.data, folder, PICTURES, WIDTH)
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        build(RESIZING, Path(scratch) / "resizing.so")
        build_s = time.perf_counter() - started
        resizer = open_resizer(Path(scratch) / "resizing.so")
    if resizer is None:
        raise SystemExit("Pillow here gives other bytes")
    rows = []
    with pictures_in_one_piece():
        for size, (sides, n) in SIZES.items():
            files = [of_size(path, sides) for path in list_crops(folder)[:n]]
            rows += [measure(resizer, size, files, way, given.rounds) for way in WAYS]
            print(as_markdown(rows[-len(WAYS) :]), file=sys.stderr, flush=True)
    write(rows, build_s, given)
    print(given.out.read_text())


def of_size(path: Path, size: tuple[int, int] | None) -> bytes:
    """A JPEG file, of another size if one is given."""
    if size is None:
        return path.read_bytes()
    file = io.BytesIO()
    Image.open(path).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def measure(resizer: Resizer, size: str, files: list[bytes], way: str, rounds: int) -> Row:
    """Both ways on all files, round by round."""
    how, turns = WAYS[way], []
    for turn in range(rounds):
        for data in files:
            started = time.perf_counter()
            picture = decode(data)
            decode_s = time.perf_counter() - started
            calls = [how.prepare, lambda picture: resizer.prepare(picture, how)]
            seconds, made = [0.0, 0.0], [None, None]
            for i in (turn % 2, 1 - turn % 2):
                started = time.perf_counter()
                made[i] = calls[i](picture)
                seconds[i] = time.perf_counter() - started
            if made[1] is None or not np.array_equal(*made):
                raise SystemExit(f"{size}, {way}: other bytes than Pillow's, or left to it")
            turns.append((decode_s, *seconds))
    return Row(
        size,
        len(files),
        way,
        *(1000 * statistics.median(column) for column in zip(*turns, strict=True)),
        statistics.median(pillow / own for _, pillow, own in turns),
        statistics.median((read + pillow) / (read + own) for read, pillow, own in turns),
    )


def as_markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [
        "| JPEG files | number | prepared to | decoding, ms | Pillow, ms | ours, ms "
        "| times as fast | with decoding |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.size} | {row.n} | {row.way} | {row.decode_ms:.2f} | {row.pillow_ms:.2f} "
        f"| {row.own_ms:.2f} | {row.ratio:.1f} | {row.whole_ratio:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def write(rows: list[Row], build_s: float, given: argparse.Namespace) -> None:
    """The page."""
    given.out.write_text(
        "# Resizing and cropping, to Pillow's bytes\n\n"
        f"`python benchmarks/resizing.py`: crops of photographs, about {WIDTH} x {WIDTH * 3 // 4}, "
        f"and the same at other sizes; {given.rounds} rounds, medians, one thread.\n\n"
        f"{describe_run()}"
        f"- Compiling took {build_s:.1f} s.\n\n"
        f"{as_markdown(rows)}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
