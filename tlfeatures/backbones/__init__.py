"""Networks: their weights, layers and preprocessing, the embedded network, the random control.

Promises: a `Backbone` knows its name, weights, layer, width and preprocessing, and is in eval mode.
Must not know: pictures on disk, caches, heads. Importing the room does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tlfeatures.backbones._preprocessing import (
    CROPS,
    INTERPOLATIONS,
    POOLINGS,
    PREPROCESS_NAMES,
    Preprocessing,
)
from tlfeatures.backbones._request import BackboneRequest

if TYPE_CHECKING:
    from tlfeatures.backbones._backbone import Backbone, load_backbone
    from tlfeatures.backbones._listing import BackboneFacts, list_backbones

__all__ = [
    "CROPS",
    "INTERPOLATIONS",
    "POOLINGS",
    "PREPROCESS_NAMES",
    "Backbone",
    "BackboneFacts",
    "BackboneRequest",
    "Preprocessing",
    "list_backbones",
    "load_backbone",
]

_TORCH_SIDE = {
    "Backbone": "_backbone",
    "load_backbone": "_backbone",
    "BackboneFacts": "_listing",
    "list_backbones": "_listing",
}


def __getattr__(name: str) -> Any:
    if name not in _TORCH_SIDE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_TORCH_SIDE[name]}"), name)
