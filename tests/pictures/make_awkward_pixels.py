"""Writes awkward_pixels.json: what an independent decoder, ImageMagick, says of the awkward files.

    python tests/pictures/make_awkward_pixels.py FOLDER      (needs the program 'convert')

Of each file the size and the mean colours of a grid of 4 x 4 cells (of the picture's own size, if
it is smaller), upright, over white, first page, in 8 bits. A PNG's gamma is not applied. Left out
are floats and Lab, which this program reads otherwise or not at all.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).with_name("awkward_pixels.json")
GRID = 4
LEFT_OUT = ("f32.tiff", "lab.tif")
OPTIONS = ["-auto-orient", "-background", "white", "-alpha", "remove", "-colorspace", "sRGB"]


def main(folder: Path) -> None:
    """Write the table of all files that decode."""
    with (folder / "LIST.tsv").open(encoding="utf-8", newline="") as file:
        listed = {row["file"]: row["expected"] for row in csv.DictReader(file, delimiter="\t")}
    names = sorted(name for name, how in listed.items() if how != "bad" and name not in LEFT_OUT)
    rows = [f"{json.dumps(n)}: {json.dumps(facts(magick(folder / n)))}" for n in names]
    OUT.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


def magick(path: Path) -> Any:
    """The picture as ImageMagick decodes it, (H, W, 3) of uint8."""
    first = f"{path}[0]"
    is_linear = run("identify", "-format", "%[colorspace]", first) == b"RGB"
    as_stored = ["-set", "colorspace", "sRGB"] if is_linear else []
    data = run("convert", first, *as_stored, *OPTIONS, "-depth", "8", "-strip", "ppm:-")
    _, size, _, pixels = data.split(b"\n", 3)
    width, height = (int(word) for word in size.split())
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def run(*words: str) -> bytes:
    """What a program prints."""
    return subprocess.run(words, check=True, capture_output=True).stdout


def facts(pixels: Any) -> dict[str, Any]:
    """The size and the mean colours of the cells, row by row."""
    height, width = pixels.shape[:2]
    rows = np.array_split(pixels.astype(float), min(GRID, height), axis=0)
    cells = [cell for row in rows for cell in np.array_split(row, min(GRID, width), axis=1)]
    means = [[round(float(value), 1) for value in cell.mean((0, 1))] for cell in cells]
    return {"size": [width, height], "means": means}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
