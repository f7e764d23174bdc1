"""Weights: files in all shapes, checkpoints, wrong networks, published entries."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from tests.backbones.conftest import noise, relative
from tlfeatures.backbones import BackboneRequest, check_before_weights, load_backbone, load_network
from tlfeatures.backbones.sources._listing import weights_place
from tlfeatures.errors import UsageError, WeightsError

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def resnet18() -> State:
    return load_network(BackboneRequest("resnet18", "random:5")).module.state_dict()


def save(state: object, path: Path) -> str:
    torch.save(state, path)
    return str(path)


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda s: s, ""),
        (lambda s: {"state_dict": s, "epoch": 12}, "checkpoint of epoch 12.*'state_dict'"),
        (lambda s: {"model": s, "optimizer": {"lr": 0.1}}, "checkpoint.*'model'"),
        (lambda s: {f"module.{k}": v for k, v in s.items()}, "prefix 'module.' removed"),
        (
            lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
            "checkpoint.*(?s:.)*prefix 'module.' removed",
        ),
        (lambda s: {f"_orig_mod.{k}": v for k, v in s.items()}, "prefix '_orig_mod.' removed"),
        (
            lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
            "prefix '_orig_mod.module.' removed",
        ),
        (
            lambda s: {"loss.weight": torch.ones(3), **{f"model.net.{k}": v for k, v in s.items()}},
            "prefix 'model.net.' removed from the names, 1 tensors without it left out",
        ),
    ],
)
def test_a_training_checkpoint_is_understood_and_said(
    wrap: object, said: str, resnet18: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(wrap(resnet18), tmp_path / "w.pth")
    with caplog.at_level(logging.INFO, "tlfeatures"):
        made = load_network(BackboneRequest("resnet18", path))
    assert made.weights_id == load_network(BackboneRequest("resnet18", "random:5")).weights_id
    if said:
        assert re.search(said, caplog.text)
    else:
        assert not caplog.text


@pytest.mark.parametrize("name", ["resnet34", "squeezenet1_0", "vgg16"])
def test_weights_of_another_network_are_told_whose_they_are(
    name: str, resnet18: State, tmp_path: Path
) -> None:
    path = save({"state_dict": resnet18}, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        load_network(BackboneRequest(name, path))
    assert "use `backbone='resnet18'`" in str(caught.value)
    assert f"not for {name}: parameters" in str(caught.value)
    assert "missing (" in str(caught.value)


def test_weights_of_no_known_network_are_said_to_be_so(tmp_path: Path) -> None:
    path = save({"blocks.0.attention": torch.ones(3, 3)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="No known network has such parameters"):
        load_network(BackboneRequest("resnet18", path))


def test_a_classifier_of_other_classes_replaces_the_networks(
    resnet18: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {**resnet18, "fc.weight": torch.ones(7, 512), "fc.bias": torch.zeros(7)}
    path = save(state, tmp_path / "w.pth")
    whole = load_backbone(BackboneRequest("resnet18", path, layer="logits"))
    assert whole.dims == (7,)
    assert "its classifier has 7 classes" in caplog.text


def test_weights_without_a_classifier_serve_the_layers_before_it(
    resnet18: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save({k: v for k, v in resnet18.items() if "fc." not in k}, tmp_path / "w.pth")
    codes = load_backbone(BackboneRequest("resnet18", path))
    expected = load_backbone(BackboneRequest("resnet18", "random:5"))
    batch = codes.preprocessing.prepare(noise((250, 250)))[None]
    assert relative(codes.codes(batch)[0], expected.codes(batch)[0]) <= 1e-6
    assert "it has no classifier" in caplog.text
    with pytest.raises(WeightsError, match=r"needs fc\.weight.*choose an earlier layer"):
        load_backbone(BackboneRequest("resnet18", path, layer="logits"))


def test_a_vision_transformers_positions_are_interpolated(tmp_path: Path) -> None:
    state = load_network(BackboneRequest("vit_b_32", "random")).module.state_dict()
    path = save(state, tmp_path / "w.pth")
    made = load_network(BackboneRequest("vit_b_32", path, input_size=320))
    assert made.module.encoder.pos_embedding.shape == (1, 101, 768)


def test_features_only_weights_refuse_the_classifier_before_any_download() -> None:
    def ask(*layers: str | None) -> None:
        check_before_weights(BackboneRequest("vgg16", "IMAGENET1K_FEATURES"), layers)

    for layer in ("fc6", "fc7", "fc8", None, "pre_logits"):
        with pytest.raises(UsageError, match=r"no usable classifier.*pool5"):
            ask(layer)
    ask("pool5")
    ask("conv5_3", "avgpool")


def test_an_entry_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(UsageError, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        load_backbone(BackboneRequest("resnet50", "IMAGENET1K_V3"))


def test_published_weights_are_loaded_from_torchvisions_folder(
    resnet18: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    entry = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    place = weights_place(entry.url)
    assert place.parent == Path(torch.hub.get_dir()) / "checkpoints"
    place.parent.mkdir(parents=True)
    torch.save(resnet18, place)
    made = load_network(BackboneRequest("resnet18"))
    assert made.weights_id == load_network(BackboneRequest("resnet18", "random:5")).weights_id
    assert made.place == "IMAGENET1K_V1"


@pytest.mark.parametrize("home", ["TORCH_HOME", "XDG_CACHE_HOME", ""])
def test_the_folder_of_weights_is_the_hubs_also_before_torch_is_imported(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if home:
        monkeypatch.setenv(home, str(tmp_path))
    expected = weights_place("https://host/a.pth")
    monkeypatch.delitem(sys.modules, "torch")
    assert weights_place("https://host/a.pth") == expected


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_weights_from_tensorflow_rescale_their_input_as_torchvision_says(
    name: str, tmp_path: Path
) -> None:
    state = load_network(BackboneRequest(name, "random")).module.state_dict()
    published = load_network(BackboneRequest(name, save(state, tmp_path / "w.pth"))).module
    assert published.transform_input
    assert not load_network(BackboneRequest(name, "random")).module.transform_input


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
@pytest.mark.parametrize("content", [b"", b"not weights at all" * 9, b"hello"])
def test_a_corrupt_weights_file_is_one_clear_error(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"{path} .*(or download or save it again|save its)"):
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
    for words in (
        "resnet18-f37072fd.pth",
        str(tmp_path),
        "`weights=FILE`",
        "`backbone='embedded'`",
    ):
        assert words in str(caught.value)


def test_the_error_itself_says_that_a_file_is_a_training_checkpoint(
    resnet18: State, tmp_path: Path
) -> None:
    path = save({"state_dict": resnet18, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"it is a training checkpoint of epoch 3.*is not for"):
        load_network(BackboneRequest("resnet34", path))


def test_a_classifier_of_other_inputs_is_left_aside(
    resnet18: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {**resnet18, "fc.weight": torch.ones(10, 1024), "fc.bias": torch.zeros(10)}
    path = save(state, tmp_path / "w.pth")
    assert load_backbone(BackboneRequest("resnet18", path)).dims == (512,)
    assert "its head is another than that of resnet18 (fc.weight" in caplog.text
    with pytest.raises(WeightsError, match=r"layer fc lies in the head"):
        load_backbone(BackboneRequest("resnet18", path, layer="logits"))


def test_names_that_are_no_text_are_no_state_dict(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no plain state dict"):
        load_network(BackboneRequest("resnet18", save({0: torch.ones(2)}, tmp_path / "w.pth")))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_input_transform_goes_with_the_normalisation_however_it_is_named(
    name: str, tmp_path: Path
) -> None:
    path = save(
        load_network(BackboneRequest(name, "random")).module.state_dict(), tmp_path / "w.pth"
    )
    entry = next(iter(torchvision.models.get_model_weights(name)))
    for words in ("torchvision", "imagenet", entry.transforms()):
        assert load_network(BackboneRequest(name, path, preprocess=words)).module.transform_input
    assert not load_network(BackboneRequest(name, path, preprocess="tf")).module.transform_input
