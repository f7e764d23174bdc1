"""The words a person types about a network, before anything is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tlfeatures.backbones._preprocessing import POOLINGS
from tlfeatures.errors import UsageError


@dataclass(frozen=True)
class BackboneRequest:
    """Which network, which weights, where it is cut, how pictures are prepared.

    Attributes
    ----------
    backbone : str
        A name of `tlfeatures backbones list`.
    weights : str or None
        None: the default entry (torchvision's IMAGENET1K_V1, the embedded network's own);
        an entry's name; the path of a .safetensors or .pth file; "random" or "random:SEED" for the
        control with untrained weights.
    layer : str or None
        None: the input of the last layer with weights.
    pooling : {"avg", "max", "gem", "flatten"}
        How a map (C, H, W) becomes a code; vectors stay as they are.
    preprocess : {"torchvision", "imagenet", "caffe", "tf"}
    input_size, resize : int or None
        In pixels; None keeps the preset's.
    crop : {"center", "none"} or None
    interpolation : str or None
    """

    backbone: str = "resnet50"
    weights: str | None = None
    layer: str | None = None
    pooling: str = "avg"
    preprocess: str = "torchvision"
    input_size: int | None = None
    resize: int | None = None
    crop: str | None = None
    interpolation: str | None = None

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            known = ", ".join(POOLINGS)
            raise UsageError(f"pooling {self.pooling!r} is unknown; choose one of {known}.")

    def to_json(self) -> dict[str, Any]:
        """The words as plain data."""
        return asdict(self)
