"""Our own operations, compiled for this processor and kept in the cache folder; without torch."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from tlfeatures.extraction._machine import processor_signs
from tlfeatures.store import kernels_path

SOURCE = Path(__file__).with_name("_winograd.cpp")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC", "-shared")
TARGET = ("-mcpu=native",) if platform.machine() in ("arm64", "aarch64") else ("-march=native",)
TIMEOUT_S = 120.0


def path_of(root: Path) -> Path:
    """Where a cache folder keeps the operations of this program for this processor."""
    words = [SOURCE.read_text(encoding="utf-8"), *FLAGS, *TARGET, *processor_signs()]
    return kernels_path(root, hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32])


def find_kept(root: Path) -> Path | None:
    """The compiled operations in a cache folder, if they are there."""
    path = path_of(root)
    return path if path.exists() else None


def build(path: Path) -> None:
    """Compile the operations; takes about a second.

    Raises
    ------
    RuntimeError
        If there is no C++ compiler, or it does not know the processor or the words.
    OSError
        If the file cannot be written.
    """
    command = [*_find_compiler(), *FLAGS, *TARGET, str(SOURCE), "-o"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as scratch:
        made = Path(scratch) / path.name
        try:
            done = subprocess.run(  # noqa: S603  the user's own compiler
                [*command, str(made)], capture_output=True, text=True, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{command[0]} takes more than {TIMEOUT_S:.0f} s") from error
        if done.returncode:
            line = next((each for each in done.stderr.splitlines() if "error" in each), "")
            raise RuntimeError(f"{command[0]} fails: {line.strip()[:200]}")
        os.replace(made, path)


def _find_compiler() -> list[str]:
    """The user's choice (CXX), else the first there is.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    if chosen := shlex.split(os.environ.get("CXX", "")):
        return chosen
    found = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError(f"no C++ compiler is here ({', '.join(COMPILERS)})")
    return [found]
