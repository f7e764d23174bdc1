"""Work that others start, stop, let go on and end: the side of the process that does it.

When all is loaded and warm it prints "ready" and waits for a line on its standard input.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

Steps = dict[str, Callable[[], float]]  # by name: does its work once, gives the pictures it did


def loop(steps: Steps) -> dict[str, Any]:
    """Do the one step there is until this process is told to end, or nobody is there to do so.

    Returns
    -------
    dict
        "step", its name, "pictures", how many it did, "ended", when the last one was done, by
        `time.perf_counter`.
    """
    ((name, step),) = steps.items()
    told, parent = threading.Event(), os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    done, ended = 0.0, time.perf_counter()
    while not told.is_set() and os.getppid() == parent:
        done += step()
        ended = time.perf_counter()
    return {"step": name, "pictures": done, "ended": ended}


def wait_until_told(steps: Steps) -> None:
    """Do each step once, say so, and wait for a line of input."""
    for step in steps.values():
        step()
    print("ready", flush=True)
    sys.stdin.readline()
