"""A cut network compiled ahead of time by torch's inductor, kept on the disk for the next run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tlfeatures.extraction._machine import processor_signs
from tlfeatures.extraction._settings import DTYPES
from tlfeatures.store import compiled_path, mark_compiled

_log = logging.getLogger(__name__)
FROZEN = {"freezing": True}  # weights become constants, so that layouts and folds are settled


class CompiledCut(nn.Module):
    """The compiled network for batches of its size in its precision, else the uncompiled one.

    Parameters
    ----------
    compiled : callable
        From `torch._inductor.aoti_load_package`.
    cut : nn.Module
    example : Tensor of shape (batch_size, 3, H, W)
        What it was compiled for, on its device.
    precision : {"float32", "bf16", "fp16"}

    Attributes
    ----------
    uncompiled : nn.Module
    has_failed : bool
        The compiled one, at some batch; it is not asked again.
    """

    def __init__(
        self, compiled: Any, cut: nn.Module, example: torch.Tensor, precision: str
    ) -> None:
        super().__init__()
        self._compiled, self.uncompiled, self.has_failed = compiled, cut, False
        self._batch_size, self._device = len(example), example.device.type
        self._is_half = precision != "float32"

    def forward(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """What the cut network gives."""
        is_half = torch.is_autocast_enabled(self._device)  # float32 where fp16 has overflowed
        is_meant = len(batch) == self._batch_size and is_half == self._is_half
        if is_meant and not self.has_failed:
            try:
                return self.run_compiled(batch)
            except RuntimeError as error:
                # Short memory too; the uncompiled network has enough, or says that it has not.
                self.has_failed = True
                line = str(error).strip().partition("\n")[0][:200]
                _log.warning("the compiled network fails, going on without it: %s", line)
        codes: list[torch.Tensor] = self.uncompiled(batch)
        return codes

    def run_compiled(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """What the compiled network gives of a batch of its size.

        Raises
        ------
        RuntimeError
            If anything goes wrong in it.
        """
        # The compiled code takes the example's strides for granted.
        return list(self._compiled(batch.contiguous(memory_format=torch.channels_last)))


def path_of(root: Path, keys: Sequence[str], device: str, batch_size: int) -> Path:
    """Where the cache keeps the compiled network of these specs, for this torch and processor."""
    words = [*keys, device, batch_size, torch.__version__, platform.machine()]
    if device == "cuda":
        words += [torch.cuda.get_device_name(), torch.version.cuda]
    else:
        words += [processor_signs(), torch.get_num_threads()]
    digest = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32]
    return compiled_path(root, digest)


def compile_cut(
    cut: nn.Module,
    batch: torch.Tensor,
    precision: str,
    path: Path,
    name: str,
    *,
    may_compile: bool = True,
) -> Any | None:
    """Load the compiled network, or compile and keep it; None, after a warning, if it cannot be.

    What is kept but cannot be loaded, as after a power cut, is made anew.

    Parameters
    ----------
    cut : nn.Module
        In eval mode.
    batch : Tensor of shape (batch_size, 3, H, W)
        On the device; the size is fixed.
    precision : {"float32", "bf16", "fp16"}
    path : Path
        The package, which need not be there.
    name : str
        Of the network, for messages.
    may_compile : bool, default=True
        False: it is loaded or None, without a word.
    """
    try:
        if path.exists():
            with contextlib.suppress(Exception):
                return _load(path, batch.device.type)
        if not may_compile:
            return None
        _check_toolkit(batch.device.type)
        started = time.perf_counter()
        _log.info("compiling %s, which takes up to a minute", name)
        _compile(cut, batch, precision, path)
        _log.info("compiled %s in %.0f s; kept in %s", name, time.perf_counter() - started, path)
        return _load(path, batch.device.type)
    except Exception as error:  # no compiler, an operation it does not know, a full disk
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        _log.warning("%s is not compiled, and runs as it is: %s", name, line[:200])
        return None


def _check_toolkit(device: str) -> None:
    """Say at once what the compiler would say after a minute's work.

    Raises
    ------
    RuntimeError
        If code for a GPU cannot be built for lack of NVIDIA's headers, which torch does not bring.
    """
    if device != "cuda" or torch.version.hip is not None or os.environ.get("CUDA_HOME"):
        return
    from torch.utils import cpp_extension  # looks for one beside the compiler too

    if cpp_extension.CUDA_HOME is None:
        raise RuntimeError("no CUDA toolkit is found; install one and set CUDA_HOME to its folder")


def _load(path: Path, device: str) -> Any:
    # The kernels of a GPU are read at their first use, from where torch has unpacked them.
    unpacked = _unpacking_for_now() if device == "cpu" else contextlib.nullcontext()
    with _quiet_torch(), unpacked:
        loaded = torch._inductor.aoti_load_package(str(path))
    mark_compiled(path)
    return loaded


@contextlib.contextmanager
def _unpacking_for_now() -> Iterator[None]:
    """Take away what torch unpacks as soon as it is mapped; a killed process would leave it."""
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        os.environ["TMPDIR"] = scratch
        try:
            yield
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before


def _compile(cut: nn.Module, batch: torch.Tensor, precision: str, path: Path) -> None:
    with _quiet_torch(), torch.no_grad():
        program = torch.export.export(_Cast(cut, batch.device.type, precision), (batch,))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as scratch:
            made = Path(scratch) / path.name
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(made), inductor_configs=FROZEN
            )
            os.replace(made, path)


class _Cast(nn.Module):
    """The network with autocast as part of it."""

    def __init__(self, cut: nn.Module, device: str, precision: str) -> None:
        super().__init__()
        self._cut, self._device, self._precision = cut, device, precision

    def forward(self, batch: torch.Tensor) -> Any:
        is_half = self._precision != "float32"
        with torch.autocast(self._device, DTYPES[self._precision], enabled=is_half):
            return self._cut(batch)


@contextlib.contextmanager
def _quiet_torch() -> Iterator[None]:
    """Without the warnings of torch's own loggers about what this machine has not."""
    loggers = [
        logging.getLogger(name)
        for name in logging.root.manager.loggerDict
        if name == "torch" or name.startswith("torch.")
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
