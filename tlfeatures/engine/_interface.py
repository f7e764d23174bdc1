"""What an engine is to those who use it, and how many pictures it takes. No torch in here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tlfeatures.backbones import gflop_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

CPU_BATCH = 16
AT_ONCE = 64  # pictures that layers of large weights take, which are read once a batch
WITH_LARGE_LINEAR = ("alexnet", "vgg")  # how names of such networks begin


class Engine(Protocol):
    """What the loop needs of a network; a fake one takes ten lines.

    One that takes several batches at once says so by an `at_once` of pictures, one that computes
    with operations of our own by the names in `kernels`.
    """

    batch_size: int
    device: str
    made_with: dict[str, str]

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """The network's input for one RGB picture; called in several threads."""

    def codes(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Codes (n, d), float32, of prepared pictures, one array a spec that it was made for."""


def at_once_of(backbone: str | None, precision: str, batch_size: int = CPU_BATCH) -> int:
    """Pictures that a network takes at once in a process of one thread on a CPU; see `InParts`.

    In float32 multiplying takes as long as reading the weights, and little is saved. Batches of a
    size that the user chose stay as they are.
    """
    is_large = gflop_of(backbone) is not None and str(backbone).startswith(WITH_LARGE_LINEAR)
    is_for_it = precision == "bf16" and is_large and batch_size == CPU_BATCH
    return AT_ONCE if is_for_it else batch_size
