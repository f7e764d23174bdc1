"""A network made fast: on a device, in one precision, with fused and compiled operations.

Promises: the numbers of a precision are those of `docs/numerics.md`, whatever makes them fast.
Must not know: pictures' files, caches, runs. Importing the room does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures.engine._interface import CPU_BATCH, Engine, Means
from tlfeatures.engine.kernels._kernels import (
    RESIZING,
    WINOGRAD,
    Library,
    are_for_here,
    find_kept,
    make_ready,
    winograd_pays,
)
from tlfeatures.engine.kernels._pillow import (
    MOST_IN_ONE_PIECE,
    PILLOW_HANDS_OUT,
    pictures_in_one_piece,
)
from tlfeatures.engine.kernels._resize import kept_resizer, suits

if TYPE_CHECKING:
    from tlfeatures.engine._engine import TorchEngine
    from tlfeatures.engine._opened import open_torch_engine
    from tlfeatures.engine._settings import (
        computing,
        exact_products,
        give_memory_back,
        is_out_of_memory,
        keep_memory,
        single_threaded,
    )
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {
            "TorchEngine": "_engine",
            "open_torch_engine": "_opened",
            "computing": "_settings",
            "exact_products": "_settings",
            "give_memory_back": "_settings",
            "is_out_of_memory": "_settings",
            "keep_memory": "_settings",
            "single_threaded": "_settings",
        },
    )


__all__ = [
    "CPU_BATCH",
    "MOST_IN_ONE_PIECE",
    "PILLOW_HANDS_OUT",
    "RESIZING",
    "WINOGRAD",
    "Engine",
    "Library",
    "Means",
    "TorchEngine",
    "are_for_here",
    "computing",
    "exact_products",
    "find_kept",
    "give_memory_back",
    "is_out_of_memory",
    "keep_memory",
    "kept_resizer",
    "make_ready",
    "open_torch_engine",
    "pictures_in_one_piece",
    "single_threaded",
    "suits",
    "winograd_pays",
]
