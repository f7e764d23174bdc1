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
        return getattr(_real(), name)


def is_compile_supported(device_type: Any) -> Any:
    """What the real one says."""
    return _real().is_compile_supported(device_type)


is_compile_supported._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as the real one


def _real() -> Any:
    _remove_stand_in()
    return importlib.import_module(ASKED)


def _remove_stand_in() -> None:
    if isinstance(sys.modules.get(ASKED), _StandIn):
        sys.modules.pop(ASKED, None)  # another thread may have been faster


@contextmanager
def without_compiler() -> Iterator[None]:
    """What is imported inside gets a stand-in for the compiler's utilities, if they are not loaded.

    Whatever is asked of it, the real ones answer.
    """
    if ASKED not in sys.modules:
        stand_in = _StandIn(ASKED)
        stand_in.is_compile_supported = is_compile_supported  # type: ignore[attr-defined]
        sys.modules[ASKED] = stand_in
    try:
        yield
    finally:
        _remove_stand_in()


with without_compiler():
    import torchvision
    import torchvision.models.feature_extraction

__all__ = ["torchvision"]
