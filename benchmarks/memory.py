#!/usr/bin/env python3
"""Peak memory of an extraction against the number of pictures: it must be flat.

    python benchmarks/memory.py [FOLDER] [--sizes 1000 10000] [--jobs 1 2]

Each picture is a file of FOLDER with a number appended to its bytes, so that every one must be
decoded and computed. Each size runs in a process of its own, with the embedded network. Counted are
the peaks of all processes together: that of the run, and with several jobs for each that of the
largest process. The bar: ten times as many pictures take at most a tenth more.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _machine import describe_run

from tlfeatures.backbones import BackboneRequest
from tlfeatures.extraction import RunOptions, extract
from tlfeatures.pictures import Pictures

HERE = Path(__file__).parent
MOST_SOURCES = 100
BAR = 1.1
# Asked from outside, when the workers have ended too.
OUTSIDE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], check=True, capture_output=True, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps({**json.loads(done.stdout), "largest": peak}))
"""


def run_one(folder: Path, n: int, jobs: int) -> dict[str, Any]:
    """What extracting n pictures took, up to what only shows when workers have ended."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".txt")
    sources = [path.read_bytes() for path in found[:MOST_SOURCES]]
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{i}.img" for i in range(n)]
        for i, path in enumerate(paths):
            path.write_bytes(sources[i % len(sources)] + i.to_bytes(4, "little"))
        run = RunOptions(cache=Path(scratch) / "cache", n_jobs=jobs)
        done = extract(Pictures(paths), BackboneRequest("embedded"), run)
    return {
        "pictures": n,
        "jobs": jobs,
        "computed": done.computed,
        "bad": len(done.bad),
        "rate": done.images_per_s,
        "own": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    lines = [
        "| jobs | pictures | computed | bad | pictures/s | the run's own, MiB "
        "| largest process, MiB | all, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['jobs']} | {row['pictures']} | {row['computed']} | {row['bad']} | "
        f"{row['rate']:.0f} | {row['own']:.0f} | {row['largest']:.0f} | {together(row):.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def together(row: dict[str, Any]) -> float:
    """MiB of all processes; the workers are as large as the largest, or the run is alone."""
    workers = row["jobs"] if row["jobs"] > 1 else 0
    return max(row["largest"], row["own"] + workers * row["largest"])


def growth(rows: list[dict[str, Any]]) -> float:
    """The largest peak by that of the fewest pictures, over the numbers of jobs."""
    ratios = []
    for jobs in {row["jobs"] for row in rows}:
        peaks = [together(row) for row in rows if row["jobs"] == jobs]
        ratios.append(max(peaks) / peaks[0])
    return max(ratios)


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """The page, with the bar."""
    most = growth(rows)
    out.write_text(
        "# Memory against the number of pictures\n\n"
        "`python benchmarks/memory.py`, the embedded network.\n\n"
        f"{describe_run()}"
        f"- Bar: at most {BAR} times that of the fewest, found {most:.2f}: "
        f"{'yes' if most <= BAR else 'no'}.\n\n{as_markdown(rows)}\n",
        encoding="utf-8",
    )


def main() -> None:
    """Measure and write the table."""
    photographs = HERE.parents[1] / "shared" / "data" / "hymenoptera"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=photographs)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory.md")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.folder, *args.one)), flush=True)
        return
    rows = []
    for jobs in args.jobs:
        for n in args.sizes:
            words = [sys.executable, __file__, str(args.folder), "--one", str(n), str(jobs)]
            command = [sys.executable, "-c", OUTSIDE, *words]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append(json.loads(said))
            print(as_markdown(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
            write(rows, args.out)
    print(args.out.read_text())


if __name__ == "__main__":
    main()
