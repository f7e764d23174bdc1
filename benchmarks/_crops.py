"""Pictures for benchmarks: seeded random crops of photographs, re-encoded as JPEG files."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DATASETS = ("caltech101", "hymenoptera", "office_caltech10")
PER_FOLDER = 500
QUALITY = 90


def write_crops(data: Path, folder: Path, n: int, width: int) -> dict[str, Any]:
    """Write `n` crops in numbered folders, or find them there from an earlier run.

    Parameters
    ----------
    data : Path
        Holds the folders of `DATASETS`.
    folder : Path
        Its name should tell `n` and `width`.
    width : int
        In pixels, give or take a tenth; 4:3.

    Returns
    -------
    dict
        Facts: how many files, from how many photographs, their mean size in kB.
    """
    record = folder.with_suffix(".json")  # written last: without it the folder is unfinished
    if record.exists():
        return json.loads(record.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    sources = list_photographs(data)
    files, pixels = set(), set()
    size = 0
    for i in range(n):
        path = folder / f"{i // PER_FOLDER:03}" / f"{i:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_crop(sources, np.random.default_rng([width, i]), width, path)
        files.add(hashlib.sha256(path.read_bytes()).digest())
        pixels.add(hashlib.sha256(np.array(Image.open(path))).digest())
        size += path.stat().st_size
    if not len(files) == len(pixels) == n:
        raise SystemExit(f"of {n} crops only {len(files)} files, {len(pixels)} pictures differ")
    facts = {"files": n, "photographs": len(sources), "width": width, "mean_kB": size / n / 1000}
    record.write_text(json.dumps(facts))
    return facts


def list_photographs(data: Path) -> list[Path]:
    """All JPEG files of the data sets, in an order of their own."""
    found = [path for name in DATASETS for path in sorted((data / name).rglob("*.jpg"))]
    if not found:
        raise SystemExit(f"no photographs in {data}: name a folder with {', '.join(DATASETS)}")
    return found


def write_crop(sources: list[Path], rng: np.random.Generator, width: int, path: Path) -> None:
    """A random part of a random photograph, 60 to 100 % of its largest 4:3 rectangle."""
    with Image.open(sources[rng.integers(len(sources))]) as picture:
        photograph = picture.convert("RGB")
    part = rng.uniform(0.6, 1.0) * min(photograph.width / 4, photograph.height / 3)
    left = rng.uniform(0, photograph.width - 4 * part)
    top = rng.uniform(0, photograph.height - 3 * part)
    side = rng.uniform(0.9, 1.1) * width / 4
    crop = photograph.resize(
        (round(4 * side), round(3 * side)),
        Image.Resampling.BICUBIC,
        (left, top, left + 4 * part, top + 3 * part),
    )
    crop.save(path, quality=QUALITY)


def list_crops(folder: Path) -> list[Path]:
    """The files in order."""
    return sorted(folder.rglob("*.jpg"))
