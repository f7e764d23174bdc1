"""Networks: widths, layers, equality with torchvision, preprocessing, identity."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.backbones.conftest import noise
from tlfeatures.backbones import (
    Backbone,
    BackboneRequest,
    Network,
    Preprocessing,
    load_backbone,
    load_network,
    load_preprocessing,
)
from tlfeatures.backbones._preprocessing import make_preprocessing
from tlfeatures.backbones.sources._torchvision import weights_entry
from tlfeatures.errors import UnknownBackboneError, UsageError


@pytest.fixture(scope="module")
def resnet18() -> Backbone:
    return load_backbone(BackboneRequest("resnet18", "random"))


@pytest.mark.parametrize(
    ("name", "dim"),
    [("resnet18", 512), ("resnet50", 2048), ("mobilenet_v2", 1280), ("squeezenet1_0", 512)],
)
def test_the_default_layer_has_the_width_of_the_last_layers_input(name: str, dim: int) -> None:
    assert load_backbone(BackboneRequest(name, "random")).dims == (dim,)


def test_vgg16_gives_fc7_after_relu_by_default_and_by_alias() -> None:
    backbone = load_backbone(BackboneRequest("vgg16", "random"))
    codes = backbone.codes(np.full((1, 224, 224, 3), 99, np.uint8))[0]
    assert codes.shape == (1, 4096)
    assert codes.min() >= 0
    assert backbone.layers == ("classifier.4",)


def test_codes_equal_torchvisions_own_transforms_and_forward(resnet18: Backbone) -> None:
    transforms = weights_entry("resnet18", None).transforms()
    plain = torch.nn.Sequential(*list(resnet18.network.children())[:-1], torch.nn.Flatten()).eval()
    for seed in range(50):
        side = 40 + 7 * seed
        picture = noise((side, 500 - side), seed)
        with torch.no_grad():
            expected = plain(transforms(picture)[None]).numpy()[0]
        found = resnet18.codes(resnet18.preprocessing.prepare(picture)[None])[0][0]
        assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("name", "red"),
    [("imagenet", (1 - 0.485) / 0.229), ("caffe", 255 - 123.68), ("tf", 1.0)],
)
def test_each_named_preprocessing_does_its_arithmetic(name: str, red: float) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(3)[:, :, None, None])
        network[0].bias.zero_()
    prep = make_preprocessing(name, Preprocessing(8, 8), input_size=8, resize=8)
    red_square = np.broadcast_to(np.uint8([255, 0, 0]), (1, 8, 8, 3)).copy()
    codes = Backbone(Network("toy", network.eval(), prep, "0")).codes(red_square)[0]
    channel = 2 if name == "caffe" else 0  # BGR
    assert codes[0, channel] == pytest.approx(red, abs=1e-3)


def test_crop_none_squeezes_the_whole_picture() -> None:
    half = Image.new("RGB", (400, 100), "red")
    half.paste("blue", (200, 0, 400, 100))
    prep = Preprocessing(resize=64, input_size=64, crop="none")
    pixels = prep.prepare(half)
    assert pixels.shape == (64, 64, 3)
    assert tuple(pixels[32, 2]) == (255, 0, 0)
    assert tuple(pixels[32, 61]) == (0, 0, 255)


def test_a_row_does_not_depend_on_its_batch_or_on_history(resnet18: Backbone) -> None:
    batch = np.stack([resnet18.preprocessing.prepare(noise((230, 230), i)) for i in range(6)])
    before = {k: v.clone() for k, v in resnet18.network.state_dict().items()}
    alone, together = resnet18.codes(batch[:1])[0][0], resnet18.codes(batch)[0][0]
    again = resnet18.codes(batch[:1])[0][0]
    assert np.linalg.norm(alone - together) <= 1e-5 * np.linalg.norm(alone)
    np.testing.assert_array_equal(alone, again)
    assert not any(module.training for module in resnet18.modules())
    assert all(torch.equal(v, before[k]) for k, v in resnet18.network.state_dict().items())


def test_a_module_name_means_its_last_node_and_maps_are_pooled() -> None:
    means = load_backbone(BackboneRequest("embedded", layer="layer4"))
    highest = load_backbone(BackboneRequest("embedded", layer="layer4", pooling="max"))
    flat = load_backbone(BackboneRequest("embedded", layer="layer4", pooling="flatten"))
    gem = load_backbone(BackboneRequest("embedded", layer="layer4", pooling="gem"))
    batch = means.preprocessing.prepare(noise((90, 70)))[None]
    maps = flat.codes(batch)[0].reshape(256, -1)
    np.testing.assert_allclose(means.codes(batch)[0][0], maps.mean(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(highest.codes(batch)[0][0], maps.max(1), rtol=1e-5)
    expected = (maps.clip(1e-6) ** 3).mean(1) ** (1 / 3)
    np.testing.assert_allclose(gem.codes(batch)[0][0], expected, rtol=1e-3)


@pytest.mark.parametrize(
    "request_",
    [
        BackboneRequest("embedded"),
        BackboneRequest("resnet18", "random", input_size=96),
        BackboneRequest("resnet18", "random", crop="squash", interpolation="bicubic"),
        BackboneRequest("squeezenet1_0", "random", preprocess="caffe"),
        BackboneRequest("timm:resnet10t", "random"),
    ],
    ids=lambda request: f"{request.backbone} {request.preprocess}",
)
def test_the_preprocessing_alone_is_that_of_the_loaded_network(request_: BackboneRequest) -> None:
    assert load_preprocessing(request_) == load_network(request_).preprocessing


def test_the_preprocessing_of_an_entry_needs_no_weights_and_of_an_own_network_a_word() -> None:
    assert load_preprocessing(BackboneRequest("resnet50", "IMAGENET1K_V2")).resize == 232
    assert load_preprocessing(BackboneRequest("resnet50", "absent.pth")).resize == 256
    with pytest.raises(UnknownBackboneError, match="did you mean 'resnet50'"):
        load_preprocessing(BackboneRequest("resnet5O"))
    with pytest.raises(UsageError, match=r"nothing says .* caffe or tf, in Python also a Preproc"):
        load_preprocessing(BackboneRequest("torchvision.models:resnet18"))


def test_the_resized_picture_is_what_the_crop_is_cut_from() -> None:
    resized = Preprocessing(resize=40, input_size=32).resized(noise((60, 90)))
    assert resized.size == (40, 60)
    assert Preprocessing(40, 32, crop="squash").resized(noise((60, 90))).size == (40, 40)
    assert Preprocessing(40, 32, crop="none").resized(noise((60, 90))).size == (32, 32)


def test_an_unknown_backbone_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownBackboneError, match="did you mean 'resnet50'"):
        load_backbone(BackboneRequest("resnet5O"))


@pytest.mark.parametrize("words", [{"pooling": "mean"}, {"preprocess": "keras"}, {"crop": "left"}])
def test_a_word_that_is_impossible_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="choose one of"):
        load_backbone(BackboneRequest("embedded", **words))


def test_random_weights_follow_from_their_seed_and_leave_the_generator_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = (
        load_backbone(BackboneRequest("embedded", w)).weights_id
        for w in ("random", "random:0", "random:1")
    )
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), state)


def test_importing_the_room_does_not_import_torch() -> None:
    code = "import sys, tlfeatures.backbones; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (2, 5001), (3, 999)])
def test_a_very_thin_picture_is_prepared_as_torchvision_would_in_little_memory(
    size: tuple[int, int],
) -> None:
    picture, prep = noise(size), Preprocessing(64, 56)
    whole = picture.resize(prep.resized_size(size), Image.Resampling.BILINEAR)
    left, top = round((whole.width - 56) / 2.0), round((whole.height - 56) / 2.0)
    expected = np.asarray(whole.crop((left, top, left + 56, top + 56))).astype(int)
    assert np.abs(prep.prepare(picture).astype(int) - expected).max() <= 2


def test_a_picture_a_million_times_as_long_as_wide_needs_no_gigabytes() -> None:
    assert Preprocessing(256, 224).prepare(Image.new("RGB", (1, 1_000_000))).shape == (224, 224, 3)


@pytest.mark.parametrize("words", [{"layer": ["a", "b"]}, {"layer": 3}, {"weights": 7}])
def test_words_of_another_kind_are_refused_with_the_way(words: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="give"):
        BackboneRequest("embedded", **words)
