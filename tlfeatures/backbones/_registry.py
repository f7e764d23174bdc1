"""Which networks there are, by name, and how each is built."""

from __future__ import annotations

import difflib
from typing import Any

import torchvision
from torch import nn

from tlfeatures.backbones import _embedded
from tlfeatures.backbones._preprocessing import Preprocessing
from tlfeatures.errors import UnknownBackboneError, UsageError

EMBEDDED = "embedded"
DEFAULT_ENTRY = "IMAGENET1K_V1"


def backbone_names() -> list[str]:
    """Names of all networks: torchvision's classification networks, and the embedded one."""
    return [EMBEDDED, *torchvision.models.list_models(module=torchvision.models)]


def check_name(name: str) -> str:
    """Return `name` if it is known.

    Raises
    ------
    UnknownBackboneError
        With the nearest name, where one is near.
    """
    names = backbone_names()
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UnknownBackboneError(
        f"backbone {name!r} is unknown; {hint}'tlfeatures backbones list' names all {len(names)}."
    )


def make_network(name: str) -> nn.Module:
    """The network of that name with untrained weights, in eval mode."""
    if name == EMBEDDED:
        return _embedded.make_embedded().eval()
    builder = torchvision.models.get_model_builder(name)
    # The two networks with this word warn unless it is said; their own scheme takes minutes.
    slow_init = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = builder(weights=None, **slow_init)
    return network.eval()


def weights_entry(name: str, entry: str | None) -> Any:
    """Torchvision's weights entry of that name; None asks for the default one.

    Raises
    ------
    UsageError
        If the network has no such entry; the message lists those it has.
    """
    entries = torchvision.models.get_model_weights(name).__members__
    wanted = entry or (DEFAULT_ENTRY if DEFAULT_ENTRY in entries else next(iter(entries)))
    if wanted not in entries:
        raise UsageError(
            f"weights {wanted!r} are neither a file nor an entry of {name}; "
            f"its entries are {', '.join(entries)}."
        )
    return entries[wanted]


def preset(name: str, entry: str | None = None) -> Preprocessing:
    """The preprocessing that belongs to the weights; for local files that of the default entry."""
    if name == EMBEDDED:
        return _embedded.PREPROCESSING
    transforms = weights_entry(name, entry).transforms()
    return Preprocessing(
        resize=transforms.resize_size[0],
        input_size=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
