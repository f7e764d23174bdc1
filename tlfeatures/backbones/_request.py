"""The words a person types about a network, before anything is loaded."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from tlfeatures._parameters import check_whole
from tlfeatures.backbones._preprocessing import POOLINGS, Preprocessing
from tlfeatures.errors import UsageError

TIMM = "timm:"
LARGEST_SIDE = 65_535  # pixels, of a JPEG file


@dataclass(frozen=True)
class BackboneRequest:
    """Which network, which weights, where it is cut, how pictures are prepared.

    Attributes
    ----------
    backbone : str, nn.Module or callable
        A name of `tlfeatures backbones list`; "timm:NAME"; "package.module:attribute", a network of
        your own or a function that makes one; or that network or function itself.
    weights : str or None
        None: the default entry (torchvision's IMAGENET1K_V1, the embedded network's own, timm's
        pretrained ones, an own network's as it comes); an entry's name; the path of a .safetensors
        or .pth file; "random" or "random:SEED" for the control with untrained weights.
    layer : str or None
        None: the input of the last layer with weights.
    pooling : {"avg", "max", "gem", "flatten", "cls", "cls+avg"}
        How a map (C, H, W) or tokens (T, C) become a code; vectors stay as they are.
    preprocess : {"torchvision", "imagenet", "caffe", "tf"}, Preprocessing, or callable
        "torchvision": the preset of the weights, whoever published them. A callable takes a PIL
        picture and gives (3, H, W).
    input_size, resize : int or None
        In pixels; None keeps the preset's.
    crop : {"center", "squash", "none"} or None
    interpolation : str or None
    weights_id : str or None
        Of an own network: what its weights are known by, instead of a hash of its state dict.
    """

    backbone: Any = "resnet50"
    weights: str | None = None
    layer: str | None = None
    pooling: str = "avg"
    preprocess: Any = "torchvision"
    input_size: int | None = None
    resize: int | None = None
    crop: str | None = None
    interpolation: str | None = None
    weights_id: str | None = None

    def __post_init__(self) -> None:
        self._take_numpys()
        if self.pooling not in POOLINGS:
            known = ", ".join(POOLINGS)
            raise UsageError(f"pooling {self.pooling!r} is unknown; choose one of {known}.")
        if self.layer is not None and not isinstance(self.layer, str):
            raise UsageError(
                f"layer is {self.layer!r}; give one name. Several: CNNCodes.transform_layers, or "
                "--layer repeated."
            )
        if self.weights is not None and not isinstance(self.weights, str):
            raise UsageError(
                f"weights is {self.weights!r}; give an entry's name, a file, 'random'."
            )

    def _take_numpys(self) -> None:
        """Numpy's text and numbers as Python's: they are written down as JSON and as code."""
        for name, value in list(vars(self).items()):
            if isinstance(value, str) and type(value) is not str:
                object.__setattr__(self, name, str(value))
        for name in ("input_size", "resize"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check_whole(name, value, most=LARGEST_SIDE))

    @property
    def needs_probes(self) -> bool:
        """Whether code that cannot be hashed takes part: an own network or preprocess function."""
        return self.is_own or not isinstance(self.preprocess, (str, Preprocessing))

    @property
    def is_own(self) -> bool:
        """Whether the network is the user's own; `forward` cannot be hashed, so probes check it."""
        if not isinstance(self.backbone, str):
            return True
        return ":" in self.backbone and not self.backbone.startswith(TIMM)

    @property
    def is_words(self) -> bool:
        """Whether it consists of names alone, so that it can be written down."""
        return isinstance(self.backbone, str) and isinstance(self.preprocess, str)

    def to_json(self) -> dict[str, Any]:
        """The words as plain data.

        Raises
        ------
        UsageError
            If a network or function was given itself.
        """
        if not self.is_words:
            raise UsageError(
                "a network or function given itself cannot be written down; name it, as in "
                "backbone='package.module:function', and preprocess by a name."
            )
        return asdict(self)


def weights_word(weights: Any) -> Any:
    """A path as text, an entry of torchvision's as its name; anything else as it is."""
    if isinstance(weights, os.PathLike):
        return os.fspath(weights)
    is_entry = hasattr(weights, "url") and hasattr(weights, "transforms")
    return weights.name if is_entry else weights
