"""What an engine is to those who use it, and by what means it computes. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

CPU_BATCH = 16


@dataclass(frozen=True)
class Means:
    """By what means codes are computed; settled before the first picture.

    Attributes
    ----------
    device : {"cpu", "cuda", "mps"}
    precision : {"float32", "bf16", "fp16"}
    batch_size : int or None
        None: 16 on a CPU, what the memory holds on a GPU.
    decode : {"exact", "fast"}
    kernels : Path or None
        Our own compiled convolutions, for a process of one thread.
    """

    device: str = "cpu"
    precision: str = "float32"
    batch_size: int | None = None
    decode: str = "exact"
    kernels: Path | None = None


class Engine(Protocol):
    """What the loop needs of a network; a fake one takes ten lines.

    One that computes with operations of our own says so by the names in `kernels`.
    """

    batch_size: int
    device: str
    made_with: dict[str, str]

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """The network's input for one RGB picture; called in several threads."""

    def codes(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Codes (n, d), float32, of prepared pictures, one array a spec that it was made for."""
