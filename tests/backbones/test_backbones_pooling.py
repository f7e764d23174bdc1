"""Pooling has an effect, or is refused with the layer that it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tlfeatures.backbones import Backbone, BackboneRequest, load_backbone
from tlfeatures.errors import UsageError

timm = pytest.importorskip("timm")
SIDES = {"timm:vit_small_patch14_dinov2": 518}  # it takes no other
# one small network of each of timm's families with a class token, and a layer of its tokens
TOKENS = {
    "timm:vit_tiny_patch16_224": "norm",
    "timm:deit_tiny_patch16_224": "norm",
    "timm:deit_tiny_distilled_patch16_224": "norm",
    "timm:eva02_tiny_patch14_224": "blocks.11",
    "timm:vit_small_patch14_dinov2": "norm",
    "timm:vit_small_patch16_dinov3": "norm",
    "timm:cait_xxs24_224": "norm",
    "timm:xcit_nano_12_p16_224": "norm",
    "vit_b_32": "encoder.ln",
}
SLOW = set(list(TOKENS)[3:])


def opened(name: str, layer: str | None, pooling: str) -> Backbone:
    words = {"layer": layer, "pooling": pooling, "input_size": SIDES.get(name, 224)}
    return load_backbone(BackboneRequest(name, "random:0", **words))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in TOKENS],
)
def test_class_token_mean_and_both_differ(name: str) -> None:
    side = SIDES.get(name, 224)
    batch = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    found = {}
    for pooling in ("cls", "avg", "cls+avg"):
        with torch.inference_mode():
            found[pooling] = opened(name, TOKENS[name], pooling)(batch)[0].numpy()
    cls, avg, both = (found[pooling] for pooling in ("cls", "avg", "cls+avg"))
    assert cls.shape == avg.shape
    assert np.abs(cls - avg).max() > 1e-3
    np.testing.assert_allclose(both, np.concatenate([cls, avg], axis=1), atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "gem", "cls", "cls+avg"])
@pytest.mark.parametrize("name", ["resnet18", "timm:vit_small_patch16_dinov3", "embedded"])
def test_a_layer_that_gives_a_vector_refuses_what_pools_places(name: str, pooling: str) -> None:
    with pytest.raises(UsageError, match=r"gives a vector already.*leave `pooling` out"):
        opened(name, None, pooling)


def test_the_layer_that_a_pooling_is_for_is_named() -> None:
    with pytest.raises(UsageError, match="choose `layer='layer4.1'`, or"):
        opened("resnet18", None, "max")
    assert opened("resnet18", "layer4.1", "max").dims == (512,)


@pytest.mark.parametrize("pooling", ["avg", "flatten"])
def test_what_is_the_same_of_a_vector_is_taken(pooling: str) -> None:
    assert opened("resnet18", None, pooling).dims == (512,)
