"""What a benchmark ran on: processor, cores, versions."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import version
from pathlib import Path

import joblib

PACKAGES = ("torch", "torchvision", "pillow", "numpy")
STEAL = 7  # the column of /proc/stat, see proc(5)
BF16_FLAGS = ("amx_bf16", "avx512_bf16")


def count_cores() -> int:
    """Physical cores that this process may use."""
    return joblib.cpu_count(only_physical_cores=True)


def describe_machine() -> str:
    """Processor, cores and whether it multiplies bf16, in one line."""
    facts = read_processor()
    flags = facts.get("flags", "").split()
    bf16 = ", ".join(flag for flag in BF16_FLAGS if flag in flags) or "no bf16 instructions"
    family = f"family {facts['cpu family']}" if "cpu family" in facts else ""
    name = facts.get("model name", platform.processor())
    return f"{name} ({', '.join(filter(None, (family, bf16)))}), {count_cores()} cores"


def read_processor() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is none."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_ticks() -> list[int]:
    """Ticks of all processors by what they were used for (Linux); empty where unknown."""
    try:
        return [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    except OSError:
        return []


def share_taken(before: list[int], after: list[int]) -> float:
    """The share of the processors' time, idle or not, that a host of theirs used otherwise."""
    spent = [then - first for first, then in zip(before, after, strict=True)]
    return spent[STEAL] / max(1, sum(spent)) if spent else 0.0


def list_versions() -> dict[str, str]:
    """Versions of Python and of what the speed depends on."""
    return {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def describe_run() -> str:
    """Machine, versions and today's date: three lines of a list, for the head of a page."""
    versions = ", ".join(f"{name} {number}" for name, number in list_versions().items())
    return (
        f"- Machine: {describe_machine()}\n- Versions: {versions}\n"
        f"- Date: {datetime.date.today()}\n"
    )
