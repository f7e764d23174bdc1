"""A run ended from outside leaves no process behind, and a whole cache."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlfeatures.store import verify_cache

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="finds processes in /proc"
)
POLLS, POLL_S = 300, 0.1
SLOW = """
import multiprocessing
import pathlib
import time
from torch import nn


class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3, 4)

    def forward(self, batch):
        if batch.sum() > -1e9 and multiprocessing.parent_process():  # what branches is not traced
            pathlib.Path("at_work").touch()
            time.sleep(SECONDS)
        return self.last(batch.mean((2, 3)))
"""
MAIN = """
import signal, sys, time
from tlfeatures import CNNCodes, load_pictures

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored

words = {"preprocess": "imagenet", "input_size": 32, "batch_size": 1, "n_jobs": 2}
CNNCodes("slow:Slow", cache="cache", **words).extract(load_pictures(sys.argv[1]))
open("idle", "w").close()
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("number", "seconds", "sign"),
    [
        pytest.param(signal.SIGTERM, 30, "at_work", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 30, "at_work", marks=pytest.mark.slow),
        (signal.SIGKILL, 30, "at_work"),
        (signal.SIGKILL, 0, "idle"),
    ],
    ids=["TERM", "HUP", "KILL", "KILL-idle"],
)
def test_no_process_outlives_a_run_that_is_ended_from_outside(
    number: signal.Signals, seconds: float, sign: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW.replace("SECONDS", str(seconds)))
    (tmp_path / "main.py").write_text(MAIN)
    command = [sys.executable, "main.py", str(folder)]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as main:
        try:
            assert polled(lambda: (tmp_path / sign).exists() or main.poll() is not None)
            assert main.poll() is None
            assert len(processes_of(main.pid)) >= 3  # workers, and what tidies up after them
        finally:
            main.send_signal(number)
    assert main.returncode == -number
    try:
        assert polled(lambda: not processes_of(main.pid)), processes_of(main.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(main.pid, signal.SIGKILL)
    found = verify_cache(tmp_path / "cache")
    assert found.problems == []
    assert found.rows == (36 if sign == "idle" else 0)


def polled(is_so: object) -> bool:
    """Whether something comes true within so many looks."""
    assert callable(is_so)
    for _ in range(POLLS):
        if is_so():
            return True
        time.sleep(POLL_S)
    return False


def processes_of(session: int) -> list[str]:
    """The processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:  # it has just ended
            continue
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state != "Z":
            found.append(name)
    return found
