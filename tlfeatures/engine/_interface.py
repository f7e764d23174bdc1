"""What an engine is to those who use it, and how many pictures a batch has. No torch in here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

CPU_BATCH = 16


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
