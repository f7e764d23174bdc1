"""kill -9 of a real extraction: what was stored is kept, the end is as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import draw_pattern
from tlfeatures import CNNCodes, load_pictures
from tlfeatures.store import cache_info, verify_cache

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
WORDS = ["--backbone", "resnet18", "--weights", "random", "--batch-size", "32", "--device", "cpu"]
CODES: dict[str, Any] = {"weights": "random", "batch_size": 32, "device": "cpu"}


def draw(folder: Path, n: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        draw_pattern("disks", 40 + i % 50, rng).save(folder / f"{i:04}.png")
    return folder


def kill(pictures: Path, cache: Path, after: float) -> bool:
    """Start an extraction, kill it after so many seconds; whether it was still at work."""
    command = [sys.executable, "-m", "tlfeatures", "extract", str(pictures), *WORDS]
    with subprocess.Popen([*command, "--cache", str(cache), "--quiet"]) as child:
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
    pictures = draw(tmp_path / "pictures", 3000)
    chance, stored = random.Random(0), [0]
    for _ in range(5):
        if not kill(pictures, tmp_path / "c", chance.uniform(4, 22)):
            break
        stored.append(sum(entry.rows for entry in cache_info(tmp_path / "c")))
        assert stored[-1] >= stored[-2]
    assert stored[-1] > 0  # runs of more than ten seconds had stored something
    check_resumed(pictures, tmp_path / "c", tmp_path / "u")
