"""The words a person types about a network, before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tlfeatures._parameters import check_whole
from tlfeatures._targets import expand_given
from tlfeatures.backbones._preprocessing import POOLINGS, Preprocessing
from tlfeatures.errors import ModelFileError, UsageError

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
                f"layer is {self.layer!r}; give one name. Several: CNNCodes.transform_layers."
            )
        if self.weights is not None and not isinstance(self.weights, str):
            raise UsageError(
                f"weights is {self.weights!r}; give an entry's name, a file, 'random'."
            )
        if self.weights is not None:
            object.__setattr__(self, "weights", expand_given(self.weights))

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

    @classmethod
    def from_file(
        cls, words: Mapping[str, Any], path: str | os.PathLike[str], *, trust_code: bool = False
    ) -> BackboneRequest:
        """The words that a file holds, which are whoever made the file's, not the person's own.

        Parameters
        ----------
        words : mapping
            As `to_json` gives them.
        path : path
            The file, for messages.
        trust_code : bool, default=False
            Whether they may lead to an import.

        Raises
        ------
        ModelFileError
            If they would lead to code that is not the program's own.
        KeyError, TypeError
            If they are no words of a request.
        UsageError
            If one of them is impossible.
        """
        request = cls(**words)
        if not request.is_words:
            raise TypeError("backbone and preprocess must be names")
        if request.is_own and not trust_code:
            raise ModelFileError(
                f"{path} asks for the network {request.backbone!r}: importing that runs code that "
                "the file chooses; if you trust the file and that module, allow it with "
                "--trust-code (in Python trust_code=True)."
            )
        return request


def weights_word(weights: Any) -> Any:
    """A path as text, an entry of torchvision's as its name; anything else as it is."""
    if isinstance(weights, os.PathLike):
        return os.fspath(weights)
    is_entry = hasattr(weights, "url") and hasattr(weights, "transforms")
    return weights.name if is_entry else weights
