"""tlfeatures alone in a process, which says when it can be stopped: prints its rate as JSON.

    python benchmarks/_stoppable.py --network resnet50 --weights FILE --pictures FOLDER

Once the first pictures have their codes it prints "ready", when the last ones have "done"; so that
seconds of being stopped between the two can be taken from those it counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from _crops import list_crops

from tlfeatures.backbones import BackboneRequest
from tlfeatures.extraction import Progress, RunOptions, extract
from tlfeatures.pictures import Pictures


def main() -> None:
    """Extract once, into a cache that is thrown away."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--precision", choices=["float32", "bf16"], required=True)
    given = parser.parse_args()
    pictures = Pictures(list_crops(given.pictures))
    request = BackboneRequest(given.network, str(given.weights))
    with tempfile.TemporaryDirectory(dir=given.pictures.parent) as cache:
        run = RunOptions(cache=cache, precision=given.precision)
        done = extract(pictures, request, run, progress=Teller())
    seconds = done.seconds["extract"]
    print(json.dumps({"computed": done.computed, "seconds": seconds}), flush=True)


class Teller:
    """Says when the first pictures are done, and when the last ones are."""

    def __init__(self) -> None:
        self._is_ready = False

    def __call__(self, progress: Progress) -> None:
        if progress.done == progress.total:
            print("done", flush=True)
        elif not self._is_ready:
            self._is_ready = True
            print("ready", flush=True)


if __name__ == "__main__":
    main()
