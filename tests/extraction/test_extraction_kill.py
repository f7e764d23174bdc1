"""kill -9 of a real extraction: what was stored is kept, the end is as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import draw_pattern
from tlfeatures import CNNCodes, load_pictures
from tlfeatures.store import cache_info, verify_cache

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
CODES: dict[str, Any] = {
    "weights": "random",
    "batch_size": 32,
    "device": "cpu",
    "precision": "float32",  # the same in one process and in workers, to 1e-5
}
WORDS = [word for name, value in CODES.items() for word in (f"--{name.replace('_', '-')}", value)]
HEARD = f"""
import sys
from tlfeatures import CNNCodes, load_pictures

CNNCodes(
    "resnet18", **{CODES}, n_jobs=1, cache=sys.argv[2],
    progress=lambda progress: print(progress.done, flush=True),
).extract(load_pictures(sys.argv[1]))
"""


def draw(folder: Path, n: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        draw_pattern("disks", 40 + i % 50, rng).save(folder / f"{i:04}.png")
    return folder


def kill(pictures: Path, cache: Path, after: float) -> bool:
    """Start an extraction, kill it after so many seconds; whether it was still at work."""
    command = [sys.executable, "-m", "tlfeatures", "extract", str(pictures), "--backbone"]
    command += ["resnet18", *map(str, WORDS), "--cache", str(cache), "--quiet"]
    with subprocess.Popen(command) as child:
        time.sleep(after)
        was_at_work = child.poll() is None
        child.kill()
    assert verify_cache(cache).problems == []
    return was_at_work


def check_resumed(pictures: Path, cache: Path, uninterrupted: Path) -> None:
    expected = CNNCodes("resnet18", cache=uninterrupted, **CODES).transform(pictures)
    done = CNNCodes("resnet18", cache=cache, **CODES).extract(load_pictures(pictures))
    assert done.computed + done.cached == len(expected)
    error = np.linalg.norm(np.asarray(done.codes) - expected, axis=1)
    assert (error <= 1e-5 * np.linalg.norm(expected, axis=1)).all()
    assert verify_cache(cache).problems == []


def test_a_killed_extraction_resumes_to_the_codes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", 64)
    was_at_work = [kill(pictures, tmp_path / "c", after) for after in (0.5, 2.0)]
    assert was_at_work[0]
    check_resumed(pictures, tmp_path / "c", tmp_path / "u")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_costs_at_most_what_the_last_ten_seconds_computed(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", 4000)
    chance, must_be_kept = random.Random(0), list[int]()
    for _ in range(4):
        before = count_rows(tmp_path / "c")
        heard, killed_at = kill_heard(pictures, tmp_path / "c", chance.uniform(14, 22))
        done = [done for at, done in heard if at <= killed_at - 10]
        must_be_kept.append(max(done, default=0))
        assert count_rows(tmp_path / "c") - before >= must_be_kept[-1]
    assert max(must_be_kept) > 0
    check_resumed(pictures, tmp_path / "c", tmp_path / "u")


def count_rows(cache: Path) -> int:
    return sum(entry.rows for entry in cache_info(cache)) if cache.exists() else 0


def kill_heard(pictures: Path, cache: Path, after: float) -> tuple[list[tuple[float, int]], float]:
    """Kill an extraction after so many seconds: when it said how many are done, and its end."""
    command = [sys.executable, "-c", HEARD, str(pictures), str(cache)]
    heard = list[tuple[float, int]]()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        timer = threading.Timer(after, child.kill)
        timer.start()
        for line in child.stdout:
            heard.append((time.monotonic(), int(line)))
        killed_at = time.monotonic()
        timer.cancel()
    assert verify_cache(cache).problems == []
    return heard, killed_at
