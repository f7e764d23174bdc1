"""A second run whose codes are all in the cache: how long it takes and what it imports."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _children import run_child
from _crops import write_crops

PICTURES = 10_000
WIDTH = 64  # small files: none of them is read a second time
SETTLED = 2.5  # seconds; files changed within two are not remembered
HEAVY = ("torch", "torchvision", "sklearn")
REPEATS = 5


def measure_cached(data: Path, build: Path) -> dict[str, Any]:
    """Fill a cache with the embedded network's codes; time the runs after it.

    Returns
    -------
    dict
        "failed" with a reason; or "pictures", "seconds" (the median run), "imported" (modules).
    """
    folder = build / f"small-{PICTURES}"
    write_crops(data, folder, PICTURES, WIDTH)
    time.sleep(SETTLED)
    with tempfile.TemporaryDirectory(dir=build) as scratch:
        command = ["-m", "tlfeatures", "extract", str(folder), "--backbone", "embedded"]
        command += ["--cache", f"{scratch}/cache", "--json"]
        runs = [run_child([sys.executable, *command]) for _ in range(1 + REPEATS)]
        for run in runs[1:]:
            if run.get("cached") != PICTURES:
                return {"failed": run.get("failed", f"only {run.get('cached')} pictures cached")}
        imported = list_imported(command)
    seconds = statistics.median(run["wall_s"] for run in runs[1:])
    return {"pictures": PICTURES, "seconds": seconds, "imported": imported}


def list_imported(command: list[str]) -> list[str]:
    """Those heavy modules that a run of Python with these arguments imports."""
    python = [sys.executable, "-X", "importtime", *command]
    said = subprocess.run(python, check=True, capture_output=True, text=True).stderr
    return [name for name in HEAVY if re.search(rf"\| +{name}$", said, re.MULTILINE)]
