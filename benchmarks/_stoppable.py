r"""tlfeatures alone in a process that may be stopped for a while: prints its rate as JSON.

    python benchmarks/_stoppable.py --network resnet50 --weights FILE --pictures FOLDER \
        --precision bf16 --cache NEW_FOLDER

It begins with a few pictures, so that worker processes and network are there; then it prints
"ready", computes all of them, and prints "done". It says when it began to, and when it ended, by
`time.perf_counter`: seconds of being stopped between the two are to be taken off.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from _crops import list_crops
from _machine import count_cores

from tlfeatures.backbones import BackboneRequest
from tlfeatures.engine import CPU_BATCH
from tlfeatures.extraction import Progress, RunOptions, extract
from tlfeatures.pictures import Pictures


def main() -> None:
    """Extract into two new caches."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--precision", choices=["float32", "bf16"], required=True)
    parser.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args()
    pictures = Pictures(list_crops(given.pictures))
    request = BackboneRequest(given.network, str(given.weights))
    few = RunOptions(given.cache / "few", precision=given.precision, n_jobs=count_cores())
    extract(pictures[: 2 * count_cores() * CPU_BATCH], request, few)
    print("ready", flush=True)
    run, listener = RunOptions(given.cache / "all", precision=given.precision), Listener()
    done = extract(pictures, request, run, progress=listener)
    ended = listener.ended
    found = {"began": ended - done.seconds["extract"], "ended": ended}
    print(json.dumps({"given": done.given, "computed": done.computed, **found}), flush=True)


class Listener:
    """Says when the last pictures have their codes, and keeps the time."""

    ended = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.done == progress.total:
            self.ended = time.perf_counter()
            print("done", flush=True)


if __name__ == "__main__":
    main()
