"""Layers by node, module and alias; maps and tokens become codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.backbones.conftest import noise, relative
from tlfeatures.backbones import Backbone, BackboneRequest, Network, load_backbone, load_network
from tlfeatures.errors import UnknownLayerError, UsageError


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    names = ("alexnet", "vgg11_bn", "resnet18", "squeezenet1_1", "googlenet", "swin_t", "vit_b_32")
    return {name: load_network(BackboneRequest(name, "random")) for name in names}


@pytest.mark.parametrize(
    ("name", "alias", "layer", "width"),
    [
        ("alexnet", "fc6", "classifier.2", 4096),  # after ReLU
        ("alexnet", "fc7", "classifier.5", 4096),
        ("alexnet", "fc8", "classifier.6", 1000),
        ("alexnet", "conv5", "features.11", 256),
        ("alexnet", "pool5", "features.12", 256),
        ("vgg11_bn", "conv5_2", "features.27", 512),  # after batch norm and ReLU
        ("vgg11_bn", "pool5", "features.28", 512),
        ("vgg11_bn", "fc7", "classifier.4", 4096),
        ("vgg11_bn", "block-1", "features.28", 512),
        ("resnet18", "avgpool", "avgpool", 512),
        ("resnet18", "pool5", "avgpool", 512),
        ("resnet18", "conv4_x", "layer3.1.relu_1", 256),
        ("resnet18", "layer1", "layer1.1.relu_1", 64),
        ("resnet18", "layer2", "layer2.1.relu_1", 128),
        ("resnet18", "layer3", "layer3.1.relu_1", 256),
        ("resnet18", "layer4", "layer4.1.relu_1", 512),
        ("resnet18", "block-2", "layer4.0.relu_1", 512),
        ("resnet18", "pre_logits", "flatten", 512),
        ("resnet18", "logits", "fc", 1000),
        ("squeezenet1_1", "fire9", "features.12.cat", 512),
        ("squeezenet1_1", "pre_logits", "features.12.cat", 512),
        ("googlenet", "pool5", "avgpool", 1024),
        ("googlenet", "block-1", "inception5b.cat", 1024),
        ("swin_t", "block-1", "features.7.1.add_1", 768),
        ("vit_b_32", "block-12", "encoder.layers.encoder_layer_0.add_1", 768),
    ],
)
def test_the_fields_names_mean_the_fields_layers(
    networks: dict[str, Network], name: str, alias: str, layer: str, width: int
) -> None:
    backbone = Backbone(networks[name], [alias])
    assert backbone.layers == (layer,)
    assert backbone.dims == (width,)


@pytest.mark.parametrize(
    ("name", "aliases"),
    [
        ("alexnet", ["conv1", "conv5", "fc6", "fc7"]),
        ("vgg11_bn", ["conv1_1", "conv5_2", "fc6", "fc7"]),
        ("resnet18", ["layer1", "conv5_x", "block-1"]),
    ],
)
def test_aliases_after_relu_are_never_negative(
    networks: dict[str, Network], name: str, aliases: list[str]
) -> None:
    backbone = Backbone(networks[name], aliases)
    batch = backbone.preprocessing.prepare(noise((300, 300)))[None]
    for codes in backbone.codes(batch):
        assert codes.min() >= 0 < codes.max()


def test_a_layer_before_its_relu_keeps_its_signs(networks: dict[str, Network]) -> None:
    # The ReLU that follows works in place and must not reach back.
    before, after = "classifier.1", "fc6"
    both = Backbone(networks["alexnet"], [before, after])
    batch = both.preprocessing.prepare(noise((300, 300)))[None]
    raw, positive = both.codes(batch)
    assert raw.min() < 0
    np.testing.assert_allclose(raw.clip(0), positive)


def test_one_layer_by_two_names_is_computed_once(networks: dict[str, Network]) -> None:
    backbone = Backbone(networks["resnet18"], ["pool5", "avgpool", "layer4"])
    assert len(backbone.cut(networks["resnet18"].example())) == 2
    codes = backbone.codes(backbone.preprocessing.prepare(noise((300, 300)))[None])
    np.testing.assert_array_equal(codes[0], codes[1])


def test_tokens_of_a_vision_transformer_are_class_mean_or_both(
    networks: dict[str, Network],
) -> None:
    network, layer = networks["vit_b_32"], "encoder.ln"
    found = {}
    for pooling in ("cls", "avg", "cls+avg", "flatten"):
        backbone = Backbone(network, [layer], pooling)
        found[pooling] = backbone.codes(backbone.preprocessing.prepare(noise((300, 300)))[None])[0]
    tokens = found["flatten"].reshape(50, 768)  # the class token and 7 x 7 places
    assert relative(found["cls"][0], tokens[0]) <= 1e-6
    assert relative(found["avg"][0], tokens[1:].mean(0)) <= 1e-5
    np.testing.assert_array_equal(
        found["cls+avg"], np.concatenate([found["cls"], found["avg"]], axis=1)
    )


def test_maps_with_channels_last_are_pooled_over_places(networks: dict[str, Network]) -> None:
    flat = Backbone(networks["swin_t"], ["block-1"], "flatten")
    mean = Backbone(networks["swin_t"], ["block-1"])
    batch = mean.preprocessing.prepare(noise((300, 300)))[None]
    maps = flat.codes(batch)[0].reshape(7, 7, 768)
    assert relative(mean.codes(batch)[0][0], maps.mean((0, 1))) <= 1e-5


@pytest.mark.parametrize("pooling", ["cls", "cls+avg"])
def test_a_layer_without_class_token_says_so(networks: dict[str, Network], pooling: str) -> None:
    with pytest.raises(UsageError, match="has no class token, which pooling"):
        Backbone(networks["resnet18"], ["layer4"], pooling)


def test_a_layer_that_gives_no_tensor_is_refused(networks: dict[str, Network]) -> None:
    name = next(n for n in networks["vit_b_32"].layers.names if n.endswith("self_attention"))
    with pytest.raises(UsageError, match="no tensor; choose another layer"):
        Backbone(networks["vit_b_32"], [name])


def test_an_unknown_layer_names_near_ones_and_where_all_are(networks: dict[str, Network]) -> None:
    with pytest.raises(UnknownLayerError, match=r"near ones are .*fc7.*backbones describe"):
        Backbone(networks["alexnet"], ["fc77"])


def test_a_picture_too_small_for_the_network_is_said_with_a_way_out() -> None:
    request = BackboneRequest("vgg11_bn", "random", input_size=16)
    with pytest.raises(UsageError, match=r"\(3, 16, 16\).*check `input_size`"):
        load_backbone(request)


def test_a_picture_that_patches_do_not_divide_is_said_with_a_way_out() -> None:
    with pytest.raises(UsageError, match=r"vit_b_16 takes no pictures of 100 pixels.*, 16\."):
        load_backbone(BackboneRequest("vit_b_16", "random", input_size=100))


def test_a_vision_transformer_takes_another_picture_size() -> None:
    backbone = load_backbone(BackboneRequest("vit_b_32", "random", input_size=96))
    codes = backbone.codes(backbone.preprocessing.prepare(noise((300, 300)))[None])[0]
    assert codes.shape == (1, 768)
    assert torch.is_inference_mode_enabled() is False
