"""What can be said of each network without loading anything, from a table in the package."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tlfeatures._targets import expand
from tlfeatures.backbones._request import TIMM

EMBEDDED = "embedded"
TABLE = "networks.json"  # written by docs/make_networks.py; a test compares it with torchvision
LICENCES = {
    "own": "MIT, as this package; no photographs in its training",
    "imagenet": "trained on ImageNet, which is for non-commercial research; commercial use unclear",
    "swag": "CC-BY-NC 4.0 (SWAG): not for commercial use",
}


@dataclass(frozen=True)
class WeightsFacts:
    """One published weights entry of a network.

    Attributes
    ----------
    name : str
    parameters : int
        Of the whole network.
    gflop : float
        Giga multiply-adds a picture, as torchvision publishes them.
    top1 : float or None
        ImageNet top-1 accuracy in 0..1, as torchvision publishes it.
    input_size, resize : int
        In pixels.
    licence : {"own", "imagenet", "swag"}
        A key of `LICENCES`.
    size_mb : float
        Of the file, in megabytes.
    file : str
        Its name in torchvision's folder.
    """

    name: str
    parameters: int
    gflop: float
    top1: float | None
    input_size: int
    resize: int
    licence: str
    size_mb: float
    file: str

    @property
    def is_on_disk(self) -> bool:
        """Whether the weights need no download."""
        return self.licence == "own" or weights_place(self.file).is_file()


@dataclass(frozen=True)
class BackboneFacts:
    """One network.

    Attributes
    ----------
    name : str
    layer : str
        The default layer.
    dim : int
        Width of its code.
    is_depthwise : bool
        Whether it has depthwise convolutions, whose codes bf16 changes more than promised.
    share_3x3 : float
        Of its multiply-adds, in 0..1, those in convolutions of 3 x 3 that look at each place.
    share_3x3_wide : float
        The same of those with 64 channels and 64 filters or more.
    entries : tuple of WeightsFacts
        The default one first.
    """

    name: str
    layer: str
    dim: int
    is_depthwise: bool
    share_3x3: float
    share_3x3_wide: float
    entries: tuple[WeightsFacts, ...]


@lru_cache(maxsize=1)
def list_backbones() -> tuple[BackboneFacts, ...]:
    """Facts of all networks, the embedded one first; imports no torch."""
    table = json.loads((files("tlfeatures.backbones") / TABLE).read_text(encoding="utf-8"))
    return tuple(facts_from_json(row) for row in table)


def facts_from_json(row: dict[str, Any]) -> BackboneFacts:
    """One network's facts from a row of the table."""
    return BackboneFacts(**{**row, "entries": tuple(WeightsFacts(**e) for e in row["entries"])})


def is_depthwise(backbone: Any) -> bool:
    """Whether a known network, or timm's of its name, has depthwise convolutions."""
    facts = _facts_of(_namesake(backbone))
    return facts is not None and facts.is_depthwise


def stands_bf16(backbone: Any) -> bool:
    """Whether codes in bf16 keep the promised cosine; of unknown networks nobody can say.

    Those of timm are taken for torchvision's of the same name.
    """
    facts = _facts_of(_namesake(backbone))
    return facts is not None and not facts.is_depthwise


def gflop_of(backbone: Any) -> float | None:
    """Multiply-adds for a picture, in 1e9, of a known network or timm's of its name, or None."""
    facts = _facts_of(_namesake(backbone))
    return None if facts is None else facts.entries[0].gflop


def share_3x3_of(backbone: Any, *, is_wide: bool = False) -> float:
    """Of the multiply-adds of a known network those in dense convolutions of 3 x 3, stride 1.

    0 of networks that are not known; those of timm are taken for torchvision's of the same name.

    Parameters
    ----------
    backbone : str, nn.Module or callable
    is_wide : bool, default=False
        Only those with 64 channels and 64 filters or more.
    """
    facts = _facts_of(_namesake(backbone))
    if facts is None:
        return 0.0
    return facts.share_3x3_wide if is_wide else facts.share_3x3


def licence_note(backbone: Any, weights: str | None) -> str | None:
    """What restricts the use of these weights, in words; None where nothing known does.

    Parameters
    ----------
    backbone : str, nn.Module or callable
    weights : str or None
        As in `BackboneRequest`; of a file or of another library's weights nothing is known.
    """
    facts = _facts_of(backbone)
    if facts is None:
        return None
    wanted = weights or facts.entries[0].name
    licence = next((e.licence for e in facts.entries if e.name == wanted), "own")
    return None if licence == "own" else f"weights {wanted} of {facts.name}: {LICENCES[licence]}"


def _namesake(backbone: Any) -> Any:
    """The name of a network in torchvision, without timm's word for the weights."""
    is_timm = isinstance(backbone, str) and backbone.startswith(TIMM)
    return backbone.removeprefix(TIMM).partition(".")[0] if is_timm else backbone


def _facts_of(backbone: Any) -> BackboneFacts | None:
    return next((facts for facts in list_backbones() if facts.name == backbone), None)


def weights_place(url: str) -> Path:
    """Where torchvision keeps the file of this address; torch is not imported for it."""
    return _hub_folder() / "checkpoints" / url.rpartition("/")[2]


def _hub_folder() -> Path:
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "hub"):
        return Path(torch.hub.get_dir())
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", str(Path(cache) / "torch"))
    return expand(home) / "hub"
