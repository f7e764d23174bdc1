"""Where weights are from, in words."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from tlfeatures.backbones import (
    CARRIED,
    TUNED,
    BackboneRequest,
    CarriedWeights,
    describe_weights,
    list_backbones,
)


@pytest.mark.parametrize(
    ("backbone", "weights", "words"),
    [
        ("resnet50", None, "entry IMAGENET1K_V1"),
        ("resnet50", "IMAGENET1K_V2", "entry IMAGENET1K_V2"),
        ("resnet50", "random", "random control: untrained weights of seed 0"),
        ("embedded", "random:7", "random control: untrained weights of seed 7"),
        ("my.module:make", "random:7", "random control: untrained weights of seed 7"),
        ("embedded", None, "the embedded network's own weights"),
        ("timm:vit_tiny.augreg", None, "timm's weights of vit_tiny.augreg"),
        ("my.module:make", None, "one's own network, with the weights that it came with"),
        (object(), None, "one's own network, with the weights that it came with"),
        ("of_a_newer_torchvision", None, "entry that is torchvision's default"),
    ],
)
def test_the_weights_are_said_in_words(backbone: Any, weights: str | None, words: str) -> None:
    assert describe_weights(BackboneRequest(backbone, weights)) == words


@pytest.mark.parametrize("backbone", ["resnet18", "embedded", "timm:resnet18", "my.module:make"])
def test_a_file_is_said_with_its_whole_path(backbone: str, tmp_path: Path) -> None:
    for name in (str(tmp_path / "mine.pth"), "mine.safetensors", "folder/of/mine"):
        words = describe_weights(BackboneRequest(backbone, name))
        assert words == f"weights file {Path(name).absolute()}"


def test_every_published_network_has_a_default_entry() -> None:
    for facts in list_backbones()[1:]:
        assert describe_weights(BackboneRequest(facts.name)) == f"entry {facts.entries[0].name}"


def test_weights_that_a_model_brings_along_are_not_taken_for_the_words() -> None:
    plain, random = BackboneRequest("resnet18"), BackboneRequest("resnet18", "random:3")
    tuned = pickle.loads(pickle.dumps(CarriedWeights({}, TUNED)))
    assert describe_weights(plain, tuned) == f"{TUNED}, made from entry IMAGENET1K_V1"
    assert (
        describe_weights(plain, CarriedWeights({})) == f"{CARRIED}, made from entry IMAGENET1K_V1"
    )
    assert describe_weights(plain, {}) == f"{CARRIED}, made from entry IMAGENET1K_V1"
    assert describe_weights(random, tuned) == f"{TUNED}, made from untrained weights of seed 3"
