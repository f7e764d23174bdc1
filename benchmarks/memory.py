#!/usr/bin/env python3
"""Peak memory of an extraction against the number of pictures: it must be flat.

Each picture is a file of --folder with a number appended to its bytes, so that every one must be
decoded and computed. Each size runs in a process of its own, with the embedded network; the peak is
that of the process, or of the largest of its workers.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tlfeatures.backbones import BackboneRequest
from tlfeatures.extraction import RunOptions, extract
from tlfeatures.pictures import Pictures


def run_one(folder: Path, n: int, jobs: int) -> str:
    """The line of the table for n pictures, up to what only shows when workers have ended."""
    sources = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".txt"]
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{i}.img" for i in range(n)]
        for i, path in enumerate(paths):
            path.write_bytes(sources[i % len(sources)] + i.to_bytes(4, "little"))
        run = RunOptions(cache=Path(scratch) / "cache", n_jobs=jobs)
        done = extract(Pictures(paths), BackboneRequest("embedded"), run)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"| {n} | {jobs} | {done.computed} | {len(done.bad)} | {done.images_per_s:.0f} | {own:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(run_one(args.folder, *args.one), flush=True)
        return
    print("| pictures | jobs | computed | bad | pictures/s | peak MiB | largest process MiB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for jobs in args.jobs:
        for n in args.sizes:
            words = [sys.executable, __file__, str(args.folder), "--one", str(n), str(jobs)]
            # Asked from outside, when the workers have ended too.
            code = (
                "import resource, subprocess, sys\n"
                "line = subprocess.run(sys.argv[1:], check=True, capture_output=True, text=True)\n"
                "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
                "print(f'{line.stdout.strip()} | {peak:.0f} |', flush=True)"
            )
            subprocess.run([sys.executable, "-c", code, *words], check=True)


if __name__ == "__main__":
    main()
