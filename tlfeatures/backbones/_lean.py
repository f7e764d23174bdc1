"""torchvision without torch's compiler: importing it takes a tenth of the time.

`torchvision.ops.roi_align` has one question for `torch._dynamo`, asked when it is called; importing
that package for it takes most of a second. Here it is imported when the question comes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch  # noqa: F401  before the stand-in: it must not take it for its own module

ASKED = "torch._dynamo.utils"


class _StandIn(ModuleType):
    """Stands for a module until something of it is needed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system looks for
            raise AttributeError(name)
        return getattr(_real(self), name)

    def is_compile_supported(self, device_type: str) -> Any:
        """What the real one says."""
        return _real(self).is_compile_supported(device_type)


def _real(stand_in: _StandIn) -> Any:
    _remove(stand_in)
    return importlib.import_module(ASKED)


def _remove(stand_in: _StandIn) -> None:
    if sys.modules.get(ASKED) is stand_in:
        del sys.modules[ASKED]


@contextmanager
def without_compiler() -> Iterator[None]:
    """What is imported inside gets a stand-in for the compiler's utilities, if they are not loaded.

    Whatever is asked of it, the real ones answer.
    """
    if ASKED in sys.modules:
        yield
        return
    stand_in = _StandIn(ASKED)
    sys.modules[ASKED] = stand_in
    try:
        yield
    finally:
        _remove(stand_in)


with without_compiler():
    import torchvision
    import torchvision.models.feature_extraction

__all__ = ["torchvision"]
