#!/usr/bin/env python3
"""Peak memory of an extraction against the number of pictures: it must be flat.

Each picture is a file of --folder with a number appended to its bytes, so that every one must be
decoded and computed. Each size runs in a process of its own, with the embedded network.
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


def run_one(folder: Path, n: int) -> str:
    """One line of the table for n pictures."""
    sources = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".txt"]
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{i}.img" for i in range(n)]
        for i, path in enumerate(paths):
            path.write_bytes(sources[i % len(sources)] + i.to_bytes(4, "little"))
        run = RunOptions(cache=Path(scratch) / "cache")
        done = extract(Pictures(paths), BackboneRequest("embedded"), run)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"| {n} | {done.computed} | {len(done.bad)} | {done.images_per_s:.0f} | {peak:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(run_one(args.folder, args.one))
        return
    print(
        "| pictures | computed | bad | pictures/s | peak MiB |\n|---|---|---|---|---|", flush=True
    )
    for n in args.sizes:
        subprocess.run([sys.executable, __file__, str(args.folder), "--one", str(n)], check=True)


if __name__ == "__main__":
    main()
