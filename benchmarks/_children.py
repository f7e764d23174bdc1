"""Child processes that measure: each prints JSON, or fails without ending the benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any, TextIO

Command = Sequence[Any]


def run_child(command: Command, **environment: Any) -> dict[str, Any]:
    """What a command printed, and the seconds from its start to its end as "wall_s".

    Returns
    -------
    dict
        With "failed" and a reason alone if it failed.
    """
    started = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env=extend(environment)
    )
    if done.returncode:
        return {"failed": last_line(done.stderr)}
    return {**json.loads(done.stdout), "wall_s": time.perf_counter() - started}


def run_together(commands: Sequence[Command], **environment: Any) -> dict[str, Any]:
    """What several commands printed that wait until all are ready; see `_parts`.

    Returns
    -------
    dict
        "processes": a list of what each printed; or "failed" with a reason.
    """
    with tempfile.TemporaryFile("w+") as errors:
        children = [start(command, errors, environment) for command in commands]
        try:
            if not all(child.stdout.readline() == "ready\n" for child in children):
                raise ValueError("not ready")
            for child in children:
                child.stdin.write("\n")
                child.stdin.flush()
            return {"processes": [json.loads(child.stdout.readline()) for child in children]}
        except (OSError, ValueError):
            errors.seek(0)
            return {"failed": last_line(errors.read())}
        finally:
            for child in children:
                child.stdin.close()
                child.wait()


def start(command: Command, errors: TextIO, environment: dict[str, Any]) -> Any:
    """A process with pipes for what it is told and what it says."""
    return subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=extend(environment),
    )


def extend(environment: dict[str, Any]) -> dict[str, str]:
    """The environment of this process with some more; nothing is ever downloaded."""
    own = {name: str(value) for name, value in environment.items()}
    return {**os.environ, "HF_HUB_OFFLINE": "1", **own}


def last_line(text: str) -> str:
    """The last line with words, where Python puts the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
