"""Child processes that measure: each prints JSON, or fails without ending the benchmark."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

Command = Sequence[Any]
Part = tuple[Sequence[Command], dict[str, Any]]  # a command a process, and their environment


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


class Loop:
    """A process that works without end, see `_endless`, and only in the turns that it is given.

    Parameters
    ----------
    command : command
    environment : dict
    """

    def __init__(self, command: Command, environment: dict[str, Any]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by `close`
        self.process = start(command, self._errors, environment, process_group=0)
        self._turns: list[tuple[float, float]] = []  # by `time.perf_counter`, all processes' clock

    def wait(self) -> None:
        """Wait until it is warm.

        Raises
        ------
        ValueError
            If it fails, with the reason.
        """
        if self.process.stdout.readline() != "ready\n":
            self._fail()

    def work(self) -> None:
        """Begin, or go on."""
        with contextlib.suppress(OSError):  # it has failed, which `end` says
            if not self._turns:
                self.process.stdin.write("\n")
                self.process.stdin.flush()
            os.killpg(self.process.pid, signal.SIGCONT)
        self._turns.append((time.perf_counter(), math.inf))

    def stop(self) -> None:
        """Stop, in the middle of whatever it does."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGSTOP)
        self._turns[-1] = (self._turns[-1][0], time.perf_counter())

    def end(self) -> dict[str, float]:
        """Seconds a picture of its step, of the time that it was given; what it is at is done.

        Raises
        ------
        ValueError
            If it has failed, with the reason.
        """
        self.process.terminate()
        self.work()
        try:
            found = json.loads(self.process.stdout.readline())
        except ValueError:
            self._fail()
        ended = found["ended"]
        worked = sum(max(0.0, min(end, ended) - start) for start, end in self._turns)
        return {found["step"]: worked / found["pictures"]}

    def close(self) -> None:
        """End the process, whatever it does."""
        end_group(self.process)
        self._errors.close()

    def _fail(self) -> NoReturn:
        self._errors.seek(0)
        raise ValueError(last_line(self._errors.read()))


def run_in_turns(
    command: Command, parts: dict[str, Part], seconds: float
) -> dict[str, dict[str, Any]]:
    """Run a command of `_stoppable`, and those of parts, see `Loop`, in turns of so many seconds.

    Hosts become faster and slower by the second: what is compared must share them. The processes of
    a part work at the same time. In each round of turns the parts have another order (seeded), as
    what ran before leaves caches and clocks behind.

    Returns
    -------
    dict
        By part what `run_together` gives; by "" what the command printed, with "images_per_s" of
        the time it was not stopped, and "turns", how often it was. Or "failed" with a reason.
    """
    loops: dict[str, list[Loop]] = {}
    found: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as children, tempfile.TemporaryFile("w+") as errors:
        for name, (commands, environment) in parts.items():
            some = [Loop(each, environment) for each in commands]
            for loop in some:
                children.callback(loop.close)
            try:
                for loop in some:
                    loop.wait()
                loops[name] = some
            except ValueError as error:
                found[name] = {"failed": str(error)}
        run = start(command, errors, {}, process_group=0)
        children.callback(end_group, run)
        try:
            found[""] = take_turns(run, list(loops.values()), seconds)
        except ValueError:
            errors.seek(0)
            found[""] = {"failed": last_line(errors.read())}
        for name, some in loops.items():
            try:
                found[name] = {"processes": [loop.end() for loop in some]}
            except ValueError as error:
                found[name] = {"failed": str(error)}
    return found


def take_turns(run: Any, parts: Sequence[Sequence[Loop]], seconds: float) -> dict[str, Any]:
    """What a command of `_stoppable` printed, stopped every so many seconds for the parts.

    Raises
    ------
    ValueError
        If it fails, or ends before its first turn does.
    """
    stops, order = [], random.Random(0)
    if run.stdout.readline() == "ready\n":
        while not select.select([run.stdout], [], [], seconds)[0]:
            os.killpg(run.pid, signal.SIGSTOP)
            began = time.perf_counter()
            for part in order.sample(parts, len(parts)):
                for loop in part:
                    loop.work()
                time.sleep(seconds)
                for loop in part:
                    loop.stop()
            os.killpg(run.pid, signal.SIGCONT)
            stops.append((began, time.perf_counter()))
        run.stdout.readline()  # "done"
    found = json.loads(run.stdout.readline())
    if not stops:
        raise ValueError
    began, ended = found["began"], found["ended"]
    stopped = sum(max(0.0, min(end, ended) - max(start, began)) for start, end in stops)
    rate = found["computed"] / (ended - began - stopped)
    return {**found, "images_per_s": rate, "turns": len(stops)}


def end_group(child: Any) -> None:
    """End a process that began a group, with its worker processes, though it may be stopped."""
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        for each in (signal.SIGTERM, signal.SIGCONT):
            os.killpg(child.pid, each)
    child.wait()


def start(command: Command, errors: TextIO, environment: dict[str, Any], **options: Any) -> Any:
    """A process with pipes for what it is told and what it says."""
    return subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=extend(environment),
        **options,
    )


def extend(environment: dict[str, Any]) -> dict[str, str]:
    """The environment of this process with some more; nothing is ever downloaded."""
    own = {name: str(value) for name, value in environment.items()}
    return {**os.environ, "HF_HUB_OFFLINE": "1", **own}


def last_line(text: str) -> str:
    """The last line with words, where Python puts the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
