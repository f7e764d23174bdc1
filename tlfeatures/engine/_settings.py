"""torch's settings for the time of a computation; the caller's come back afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from typing import Any

import torch

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISION, EXACT, INHERITED = "fp32_precision", "ieee", "none"
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
SHORT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|ALLOC_FAILED"
    r"|unable to find an engine to execute",  # cuDNN, when it found none whose workspace fits
    re.IGNORECASE,
)
_lock = threading.Lock()
_users: Counter[str] = Counter()
_before: dict[str, list[Any]] = {}


@contextlib.contextmanager
def computing(device: str, precision: str) -> Iterator[None]:
    """Inference in one precision: no gradient, float32 products exact, the rest by autocast.

    Parameters
    ----------
    device : {"cpu", "cuda", "mps"}
    precision : {"float32", "bf16", "fp16"}
    """
    is_half = precision != "float32"
    with ExitStack() as stack:
        stack.enter_context(exact_products())
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast(device, DTYPES[precision], enabled=is_half))
        yield


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """One thread in torch's operations: with a process a core, more would only wait."""
    with _for_now("threads", [(_Threads(), "number", 1)]):
        yield


class _Threads:
    @property
    def number(self) -> int:
        return torch.get_num_threads()

    @number.setter
    def number(self, number: int) -> None:
        torch.set_num_threads(number)


@lru_cache(maxsize=1)
def keep_memory() -> None:
    """Let the allocator keep large blocks instead of giving them back after each operation.

    By default glibc maps blocks above 32 MB anew each time; the page faults cost a network of large
    feature maps 15 to 25 % on a CPU. For worker processes only: it holds for the whole process.
    """
    with _c_library() as libc:
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def give_memory_back() -> None:
    """Give the system what `keep_memory` made the allocator keep, as far as nothing uses it."""
    with _c_library() as libc:
        libc.malloc_trim(0)


@contextlib.contextmanager
def _c_library() -> Iterator[Any]:
    """glibc; where it is not the C library, what is asked of it is left undone."""
    with contextlib.suppress(OSError, AttributeError):
        yield ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory is short.

    torch has a class for that on a GPU, but not for what its libraries or a CPU say.
    """
    is_known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    is_said = isinstance(error, RuntimeError) and bool(SHORT_OF_MEMORY.search(str(error)))
    return is_known or is_said


def exact_products() -> contextlib.AbstractContextManager[None]:
    """No TF32, no bfloat16 in place of float32, whatever the process has set."""
    return _for_now("products", list(_switches()))


@contextlib.contextmanager
def _for_now(what: str, switches: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Set attributes; those of before come back when the last thread that needs them is done."""
    with _lock:
        if not _users[what]:
            _before[what] = [getattr(owner, name) for owner, name, _ in switches]
            for owner, name, value in switches:
                setattr(owner, name, value)
        _users[what] += 1
    try:
        yield
    finally:
        with _lock:
            _users[what] -= 1
            if not _users[what]:
                for (owner, name, _), value in zip(switches, _before[what], strict=True):
                    _put_back(owner, name, value)


def _put_back(owner: Any, name: str, value: Any) -> None:
    """Set an attribute; a precision that it had from the switch above it, it has from there again.

    Reading gives the value of either; one set here would no longer follow the switch above.
    """
    if name == PRECISION:
        setattr(owner, name, INHERITED)
        if getattr(owner, name) == value:
            return
    setattr(owner, name, value)


def _switches() -> Iterator[tuple[Any, str, Any]]:
    """Owner, attribute and exact value of what makes float32 products coarser."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):  # before torch 2.9
        yield backends.cuda.matmul, "allow_tf32", False
        yield backends.cudnn, "allow_tf32", False
        return
    for owner in (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul):
        yield owner, PRECISION, EXACT
    yield backends.mkldnn.conv, PRECISION, EXACT
