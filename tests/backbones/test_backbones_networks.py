"""Networks: widths, layers, equality with torchvision, preprocessing, identity."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from tlfeatures.backbones import Backbone, BackboneRequest, Network, Preprocessing, load_backbone
from tlfeatures.backbones._preprocessing import make_preprocessing
from tlfeatures.backbones._torchvision import preset, weights_entry
from tlfeatures.errors import UnknownBackboneError, UnknownLayerError, UsageError, WeightsError

SIZES = [(500, 375), (333, 500), (224, 224), (100, 80), (257, 255), (640, 123), (37, 300)]


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "entry"),
    [("resnet50", "IMAGENET1K_V1"), ("resnet50", "IMAGENET1K_V2"), ("vgg16", None)],
)
def test_prepared_pixels_equal_the_presets(
    name: str, entry: str | None, size: tuple[int, int]
) -> None:
    picture, prep = noise(size), preset(name, entry)
    expected = weights_entry(name, entry).transforms()(picture).numpy()
    pixels = prep.prepare(picture).astype(np.float32) / 255
    found = ((pixels - np.float32(prep.mean)) / np.float32(prep.std)).transpose(2, 0, 1)
    np.testing.assert_allclose(found, expected, atol=2e-6)


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


def test_an_unknown_layer_names_near_ones() -> None:
    with pytest.raises(UnknownLayerError, match="layer4"):
        load_backbone(BackboneRequest("embedded", layer="layr4"))


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


def test_a_local_file_in_half_or_full_precision_is_the_same_weights(tmp_path: Path) -> None:
    state = load_backbone(BackboneRequest("embedded")).network.state_dict()
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(half, tmp_path / "half.safetensors")
    full = {k: v.float() if v.is_floating_point() else v for k, v in half.items()}
    torch.save(full, tmp_path / "full.pth")
    ids = {
        load_backbone(BackboneRequest("embedded", str(tmp_path / name))).weights_id
        for name in ("half.safetensors", "full.pth")
    }
    assert len(ids) == 1


def test_weights_of_another_network_are_refused_naming_parameters(tmp_path: Path) -> None:
    state = load_backbone(BackboneRequest("embedded")).network.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"missing \(.*unexpected"):
        load_backbone(BackboneRequest("squeezenet1_0", str(tmp_path / "w.safetensors")))


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path("executed").touch, ())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all" * 9])
def test_a_corrupt_weights_file_is_one_clear_error(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=str(path)):
        load_backbone(BackboneRequest("embedded", str(path)))


def test_code_in_a_pth_file_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Evil()}, "evil.pth")
    with pytest.raises(WeightsError, match="evil"):
        load_backbone(BackboneRequest("embedded", "evil.pth"))
    assert not Path("executed").exists()


def test_a_failed_download_names_three_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    with pytest.raises(WeightsError) as caught:
        load_backbone(BackboneRequest("resnet18"))
    for words in ("resnet18-f37072fd.pth", str(tmp_path), "--weights FILE", "--backbone embedded"):
        assert words in str(caught.value)


def test_importing_the_room_does_not_import_torch() -> None:
    code = "import sys, tlfeatures.backbones; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
