"""Torchvision's networks with one file of seeded random weights in the place of the download.

    python benchmarks/_networks.py resnet50 weights.safetensors

writes the file. Rates do not depend on what the weights are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import WeightsEnum, get_model, get_model_weights

ENTRY = "IMAGENET1K_V1"


def use_weights(path: Path) -> None:
    """Make torchvision take every state dict from `path` instead of from its address."""
    WeightsEnum.get_state_dict = lambda *_, **__: load_file(path)


def load_network(name: str) -> nn.Module:
    """The network as tutorials make it, its last layer replaced: codes (n, d)."""
    network = get_model(name, weights=ENTRY)
    if name.startswith("vgg"):
        network.classifier[-1] = nn.Identity()  # what is left ends with fc7
    else:
        network.fc = nn.Identity()
    return network.eval()


def transforms_of(name: str) -> Any:
    """The preset that torchvision publishes with the weights."""
    return get_model_weights(name)[ENTRY].transforms()


def flop_of(name: str) -> float:
    """Floating-point operations for one picture, a multiply-add being two."""
    return 2e9 * get_model_weights(name)[ENTRY].meta["_ops"]


def main() -> None:
    """Write a network's random weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    unfinished = given.file.with_suffix(".part")
    save_file(get_model(given.network, weights=None).state_dict(), unfinished)
    unfinished.rename(given.file)


if __name__ == "__main__":
    main()
