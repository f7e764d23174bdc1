"""What can be said of each network without loading its weights."""

from __future__ import annotations

from dataclasses import dataclass

from tlfeatures.backbones._registry import EMBEDDED, backbone_names, preset, weights_entry
from tlfeatures.backbones._weights import weights_file


@dataclass(frozen=True)
class BackboneFacts:
    """One line of `tlfeatures backbones list`.

    Attributes
    ----------
    name, weights : str
        The network and its default weights entry.
    input_size : int
        Side of the square that the network sees, in pixels.
    parameters : int or None
        Of the whole network.
    gflop : float or None
        Giga multiply-adds a picture, as torchvision publishes them.
    top1 : float or None
        ImageNet top-1 accuracy in 0..1, as torchvision publishes it.
    on_disk : bool
        Whether the weights need no download.
    size_mb : float or None
        What a download fetches, in megabytes.
    """

    name: str
    weights: str
    input_size: int
    parameters: int | None
    gflop: float | None
    top1: float | None
    on_disk: bool
    size_mb: float | None


def list_backbones() -> list[BackboneFacts]:
    """Facts of all networks, the embedded one first."""
    return [_facts(name) for name in backbone_names()]


def _facts(name: str) -> BackboneFacts:
    path = weights_file(name, None)
    on_disk, side = bool(path and path.is_file()), preset(name).input_size
    if name == EMBEDDED:
        return BackboneFacts(name, "embedded", side, None, None, None, on_disk, None)
    entry = weights_entry(name, None)
    meta = entry.meta
    top1 = meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100
    return BackboneFacts(
        name,
        entry.name,
        side,
        meta["num_params"],
        meta["_ops"],
        round(top1, 5),
        on_disk,
        meta["_file_size"],
    )
