"""Where a network's weights are from, in words for people. No torch in here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlfeatures.backbones._request import TIMM, BackboneRequest
from tlfeatures.backbones.sources._listing import EMBEDDED, list_backbones
from tlfeatures.backbones.weights._words import is_file_name, random_seed

CARRIED = "network inside a model file"
TUNED = "fine-tuned model"
RANDOM = "random control: "


class CarriedWeights(dict[str, Any]):
    """Weights that a model brings along, name to ndarray, and what kind of model it is.

    Attributes
    ----------
    origin : str
    """

    def __init__(self, tensors: Mapping[str, Any], origin: str = CARRIED) -> None:
        super().__init__(tensors)
        self.origin = origin


def describe_weights(request: BackboneRequest, tensors: Mapping[str, Any] | None = None) -> str:
    """What these words mean, or the weights that a model brings along instead.

    Parameters
    ----------
    request : BackboneRequest
    tensors : mapping of name to ndarray, optional

    Examples
    --------
    >>> describe_weights(BackboneRequest("resnet18", "random:3"))
    'random control: untrained weights of seed 3'
    >>> describe_weights(BackboneRequest("resnet18"))
    'entry IMAGENET1K_V1'
    """
    if tensors is not None:
        origin = getattr(tensors, "origin", CARRIED)
        return f"{origin}, made from {_words_for(request).removeprefix(RANDOM)}"
    return _words_for(request)


def _words_for(request: BackboneRequest) -> str:
    name, weights = request.backbone, request.weights
    if (seed := random_seed(weights)) is not None:
        return f"{RANDOM}untrained weights of seed {seed}"
    if weights is not None and is_file_name(weights):
        return f"weights file {Path(weights).absolute()}"
    if request.is_own:
        return "one's own network, with the weights that it came with"
    if name == EMBEDDED:
        return "the embedded network's own weights"
    if name.startswith(TIMM):
        return f"timm's weights of {name.removeprefix(TIMM)}"
    facts = next((facts for facts in list_backbones() if facts.name == name), None)
    default = facts.entries[0].name if facts else "that is torchvision's default"
    return f"entry {weights or default}"
