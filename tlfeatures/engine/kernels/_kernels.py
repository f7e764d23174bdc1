"""Our own operations, compiled for this processor, kept in a folder of the user's; without torch.

Not in the cache folder of a run, which others may write to: what is loaded is code. Nor anywhere
else that others may write to, see `_private`.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tlfeatures.engine.kernels._private import check_own_file, make_private, private_path
from tlfeatures.machine import cpu_flags, has_bf16_vectors_alone, processor_signs
from tlfeatures.store import KERNELS, user_cache_dir

_log = logging.getLogger(__name__)
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared")
TARGET = ("-march=native",)
NEEDED = {"avx2", "fma"}
TIMEOUT_S = 120.0
NUMBER, POINTER = ctypes.c_int64, ctypes.c_void_p
Signature = tuple[Any, tuple[Any, ...]]  # what a function gives and takes


@dataclass(frozen=True)
class Library:
    """Operations of one kind: C++ files with a C interface.

    Attributes
    ----------
    sources : tuple of Path
    flags : tuple of str
        For the compiler, beside those for all.
    functions : dict of str to Signature
    """

    sources: tuple[Path, ...]
    flags: tuple[str, ...]
    functions: dict[str, Signature]


HERE = Path(__file__).parent


def _winograd(*flags: str) -> Library:
    return Library(
        (HERE / "_winograd.cpp",),
        ("-ffp-contract=fast", *flags),
        {
            "winograd_lanes": (NUMBER, ()),
            "winograd_together": (NUMBER, ()),
            "winograd_columns": (NUMBER, (NUMBER,)),
            "winograd_scratch": (NUMBER, (NUMBER,) * 3),
            "winograd_convolve": (None, ((POINTER,) * 5 + (NUMBER,) * 8 + (POINTER,))),
        },
    )


WINOGRAD = {"float32": _winograd(), "bf16": _winograd("-DBF16")}  # by precision
RESIZING = Library(  # to the same bytes as Pillow's
    (HERE / "_resize.cpp",),
    ("-ffp-contract=off", "-fno-fast-math"),  # whatever CXX says; weights are rounded as Pillow's
    {
        "resize_scratch": (NUMBER, (NUMBER,) * 7),
        "resize_rgb": (None, (POINTER, *(NUMBER,) * 9, POINTER, POINTER)),
    },
)
_loaded: dict[Path, Any] = {}


def are_for_here() -> bool:
    """Whether this is a system and a kind of processor that they are made for."""
    is_known = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    return is_known and cpu_flags() >= NEEDED


def winograd_pays(precision: str) -> bool:
    """Whether convolutions of our own save time on this processor.

    In bf16 with AVX-512 BF16, where products take half of float32's time. AMX multiplies faster
    than they save.
    """
    return precision == "float32" or (precision == "bf16" and has_bf16_vectors_alone())


def folders() -> list[Path]:
    """Where operations may be kept, the first choice first; each is to be private.

    The user's cache folder, else a folder of the user's own where temporary files are, whose names
    others cannot take back: what may be written to by others holds no code that is loaded.
    """
    own = Path(tempfile.gettempdir()) / f"tlfeatures-{KERNELS}-{os.geteuid()}"
    kept = user_cache_dir() / KERNELS
    return [kept, own] if kept.is_absolute() else [own]


def file_name(library: Library) -> str:
    """The name of the file with the operations of this program, for this processor."""
    texts = [source.read_text(encoding="utf-8") for source in library.sources]
    words = [*texts, *_flags(library), *processor_signs()]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32] + ".so"


def _flags(library: Library) -> tuple[str, ...]:
    return (*FLAGS, *library.flags, *TARGET)


def find_kept(library: Library) -> Path | None:
    """The compiled operations, if they are there and nobody but the user can have written them."""
    if not are_for_here():
        return None
    for folder in folders():
        with contextlib.suppress(OSError):
            path = private_path(folder) / file_name(library)
            check_own_file(path)
            return path
    return None


def make_ready(library: Library) -> None:
    """Compile the operations, unless they are there and can be loaded.

    Raises
    ------
    RuntimeError, OSError
        As `build` and `load` do; if no folder is the user's alone.
    """
    kept = find_kept(library)
    if kept is not None:
        with contextlib.suppress(OSError):  # cut short by a full disk or a power cut
            load(library, kept)
            return
    path = own_path(library)
    build(library, path)
    load(library, path)


def own_path(library: Library) -> Path:
    """Where the operations are to be kept: in the first of `folders` that is private.

    The folder is made if need be.

    Raises
    ------
    OSError
        If none is, with the reason why the first one is not.
    """
    faults: list[str] = []
    for folder in folders():
        try:
            make_private(folder)
            found = private_path(folder)
        except OSError as error:
            faults.append(f"{folder}: {error.strerror}" if error.strerror else str(error))
        else:
            if faults:
                _say_elsewhere(found, faults[0])
            return found / file_name(library)
    raise OSError(f"no folder for them is the user's alone ({faults[0]})")


@lru_cache(maxsize=8)
def _say_elsewhere(folder: Path, why: str) -> None:
    """Once in a process."""
    _log.info("operations of our own are kept in %s, as %s", folder, why)


def build(library: Library, path: Path) -> None:
    """Compile the operations; takes about a second.

    Raises
    ------
    RuntimeError
        If there is no C++ compiler, or it does not know the processor or the words.
    OSError
        If the file cannot be written.
    """
    command = [*_find_compiler(), *_flags(library), *map(str, library.sources), "-o"]
    _log.info("compiling operations of our own for this processor, once for this user")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as scratch:
        made = Path(scratch) / path.name
        _run_compiler([*command, str(made)])
        with open(made, "rb") as file:
            os.fsync(file.fileno())
        os.replace(made, path)


def load(library: Library, path: Path) -> Any:
    """The functions in a file that `build` has made.

    Raises
    ------
    OSError
        If it cannot be loaded, or others than the user may have written it.
    """
    if path not in _loaded:
        check_own_file(path)
        functions = ctypes.CDLL(str(path))
        try:
            for name, (given, taken) in library.functions.items():
                function = getattr(functions, name)
                function.restype, function.argtypes = given, taken
        except AttributeError as error:
            raise OSError(f"{path} is another library: {error}") from error
        with contextlib.suppress(OSError):
            os.utime(path)  # for `gc_cache`
        _loaded[path] = functions
    return _loaded[path]


@lru_cache(maxsize=64)
def say_unusable(path: Path, reason: str) -> None:
    """Warn of a file that `load` refuses; once in a process."""
    _log.warning("%s cannot be used (%s); delete it", path, reason)


def _run_compiler(command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603  the user's own compiler
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{command[0]} takes more than {TIMEOUT_S:.0f} s") from error
    except OSError as error:
        reason = error.strerror or error
        raise RuntimeError(
            f"the C++ compiler {command[0]} cannot be run ({reason}); name another in CXX"
        ) from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if "error" in line]
        reason = lines[0][:200] if lines else f"exit status {done.returncode}"
        raise RuntimeError(f"{command[0]} fails: {reason}")


def _find_compiler() -> list[str]:
    """The user's choice (CXX), else the first there is.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    try:
        chosen = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise RuntimeError(f"CXX is no command: {error}") from error
    if chosen:
        return chosen
    found = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if found is None:
        known = ", ".join(COMPILERS)
        raise RuntimeError(f"no C++ compiler is here ({known}); install one, or name it in CXX")
    return [found]
