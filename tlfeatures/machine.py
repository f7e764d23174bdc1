"""What this machine offers, found without importing torch where that can be told without it."""

from __future__ import annotations

import multiprocessing
import os
import platform
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tlfeatures.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bf16", "fp16")
DECODERS = ("exact", "fast")
KERNELS = ("on", "off")
BF16_VECTORS, BF16_TILES = "avx512_bf16", "amx_bf16"
GPU_SIGNS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, WSL, AMD
GPU_NODES = ("nvidia[0-9]*", "dri/render*")  # in /dev
DRIVER = "/proc/driver/nvidia/version"
VISIBLE = (
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
)


def needs_torch(device: str) -> bool:
    """Whether only torch can say what this device is here."""
    return device != "cpu" and (device != "auto" or _may_have_gpu())


def find_devices() -> tuple[str, ...]:
    """The devices that torch finds, the best first."""
    import torch

    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there.insert(0, "cuda")
    return tuple(there)


def device_signs() -> dict[str, Any]:
    """What can be told without torch; while it stays as it is, so do the devices, as a rule."""
    nodes = [str(path) for pattern in GPU_NODES for path in Path("/dev").glob(pattern)]
    return {
        "torch": installed_version("torch"),
        "system": [platform.system(), platform.release(), platform.machine()],
        "visible": {name: os.environ.get(name) for name in VISIBLE},
        "signs": [sign for sign in GPU_SIGNS if Path(sign).exists()],
        "nodes": sorted(nodes),
        "driver": _text_of(DRIVER),
    }


def installed_version(package: str) -> str:
    """The version of a package, found without importing it; "none" where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def resolve_device(device: str, there: Sequence[str] | None = None) -> str:
    """Replace "auto" by the best device there is.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "mps"}
    there : sequence of str, optional
        The devices, the best first; None: torch is asked, where that is needed.

    Raises
    ------
    UsageError
        If the device asked for is not there.
    """
    if there is None:
        there = find_devices() if needs_torch(device) else ("cpu",)
    if device == "auto":
        return there[0]
    if device not in there:
        raise UsageError(f"device {device!r} is not here; there is {', '.join(there)}. Try 'auto'.")
    return device


def resolve_precision(precision: str, device: str) -> str:
    """Replace "auto" by the fastest class in which accuracies stay the same.

    Parameters
    ----------
    precision : {"auto", "float32", "bf16", "fp16"}
    device : {"cpu", "cuda", "mps"}

    Returns
    -------
    {"float32", "bf16", "fp16"}
        bf16 on CPUs that multiply in it, fp16 on CUDA (its rounding is eight times finer, and
        range is no matter: see `TorchEngine.codes`), else float32.

    Raises
    ------
    UsageError
        For fp16 on a CPU.
    """
    if precision == "fp16" and device == "cpu":
        raise UsageError("precision fp16 is for GPUs; on a CPU choose bf16, float32 or auto.")
    if precision != "auto":
        return precision
    if device == "cpu":
        return "bf16" if has_bf16() else "float32"
    return "fp16" if device == "cuda" else "float32"


@lru_cache(maxsize=1)
def has_bf16() -> bool:
    """Whether this CPU multiplies matrices in bfloat16 (AVX-512 BF16 or AMX)."""
    if platform.system() == "Linux":
        return bool({BF16_VECTORS, BF16_TILES} & cpu_flags())
    from tlfeatures._torch_private import multiplies_in_bf16

    return multiplies_in_bf16()


def has_bf16_vectors_alone() -> bool:
    """Whether this CPU has AVX-512 BF16 and not AMX, which is far faster; on Linux."""
    flags = cpu_flags()
    return BF16_VECTORS in flags and BF16_TILES not in flags


def processor_signs() -> list[str]:
    """What code that was compiled for this CPU may take for granted: its kind, its operations."""
    return [platform.machine(), platform.processor(), *sorted(cpu_flags())]


def n_cores() -> int:
    """Physical cores that this process may use, at least 1."""
    import joblib

    return max(1, int(joblib.cpu_count(only_physical_cores=True)))


def is_worker() -> bool:
    """Whether this process was started by another one's pool."""
    return multiprocessing.parent_process() is not None


def _may_have_gpu() -> bool:
    return platform.system() != "Linux" or any(Path(sign).exists() for sign in GPU_SIGNS)


def cpu_flags() -> set[str]:
    """The processor's operations as Linux names them; empty elsewhere."""
    lines = _text_of("/proc/cpuinfo").splitlines()
    line = next((line for line in lines if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())


def _text_of(path: str) -> str:
    """A small file of the system's; empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
