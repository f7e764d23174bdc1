"""Networks of timm, against timm's own transform and forward (random weights)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tests.backbones.conftest import noise, relative
from tlfeatures.backbones import (
    BackboneRequest,
    OwnPreprocessing,
    Preprocessing,
    describe_backbone,
    load_backbone,
)
from tlfeatures.errors import UnknownBackboneError, UsageError, WeightsError

timm = pytest.importorskip("timm", reason="the extra 'timm' is not installed")

FAMILIES = (
    "resnet10t", "convnext_atto", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224", "mobilenetv3_small_050", "tf_efficientnet_b0", "ghostnet_050",
    "regnetx_002", "edgenext_xx_small", "mobilevit_xxs", "pit_ti_224", "cait_xxs24_224",
    "levit_128s", "densenet121", "hrnet_w18_small", "mixer_s32_224", "poolformer_s12",
    "eva02_tiny_patch14_224", "fastvit_t8", "repvgg_a0", "xcit_nano_12_p16_224",
    "crossvit_tiny_240", "nfnet_l0", "resnetv2_50x1_bit",
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_codes_are_those_of_timms_own_transform_and_forward(name: str) -> None:
    backbone = load_backbone(BackboneRequest(f"timm:{name}", "random"))
    network, picture = backbone.network, noise((333, 257))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    with torch.inference_mode():
        features = network.forward_features(transform(picture)[None])
        expected = network.forward_head(features, pre_logits=True).flatten(1)
    found = backbone.codes(backbone.preprocessing.prepare(picture)[None])[0]
    assert relative(found, expected) <= 1e-4
    assert not any(module.training for module in network.modules())


def test_a_layer_by_module_name_is_what_the_module_gives() -> None:
    request = BackboneRequest("timm:resnet10t", "random", layer="layer2")
    backbone = load_backbone(request, layers=("layer2", "block-1"))
    batch = backbone.preprocessing.prepare(noise((200, 200)))[None]
    heard: dict[str, torch.Tensor] = {}
    for path in ("layer2", "layer4.0"):
        backbone.network.get_submodule(path).register_forward_hook(
            lambda *call, path=path: heard.update({path: call[-1].mean((2, 3))})
        )
    found = backbone.codes(batch)
    assert relative(found[0], heard["layer2"]) <= 1e-6
    assert relative(found[1], heard["layer4.0"]) <= 1e-6


def test_tokens_are_pooled_without_the_prefix_tokens() -> None:
    name, picture = "timm:deit_tiny_distilled_patch16_224", noise((224, 224))
    answers = {}
    for pooling in ("cls", "avg", "cls+avg", "max", "flatten"):
        backbone = load_backbone(BackboneRequest(name, "random", layer="norm", pooling=pooling))
        answers[pooling] = backbone.codes(backbone.preprocessing.prepare(picture)[None])[0][0]
    tokens = answers["flatten"].reshape(198, 192)  # class, distillation, 14 x 14 places
    assert relative(answers["cls"], tokens[0]) <= 1e-6
    assert relative(answers["avg"], tokens[2:].mean(0)) <= 1e-5
    assert relative(answers["max"], tokens[2:].max(0)) <= 1e-6
    assert answers["cls+avg"].shape == (384,)
    assert relative(answers["cls+avg"][192:], answers["avg"]) <= 1e-6


def test_its_preprocessing_is_its_data_configuration() -> None:
    made = load_backbone(BackboneRequest("timm:convnext_atto", "random")).preprocessing
    config = timm.data.resolve_model_data_config(timm.create_model("convnext_atto"))
    assert isinstance(made, Preprocessing)
    assert (made.input_size, made.interpolation) == (224, "bicubic")
    assert made.resize == int(224 / config["crop_pct"])


def test_a_data_configuration_that_ours_cannot_say_uses_timms_transform() -> None:
    from tlfeatures.backbones.sources._timm import timm_preset

    network = timm.create_model("resnet10t")
    network.pretrained_cfg = {**network.pretrained_cfg, "crop_mode": "border"}
    assert isinstance(timm_preset(network), OwnPreprocessing)


def test_the_description_counts_every_parameter_once() -> None:
    made = describe_backbone(BackboneRequest("timm:vit_tiny_patch16_224"))
    network = timm.create_model("vit_tiny_patch16_224")
    assert made.totals.parameters == sum(p.numel() for p in network.parameters())
    assert sum(step.parameters for step in made.layers) == made.totals.parameters
    assert made.unused == 0


def test_an_unknown_name_or_tag_is_answered_with_near_ones() -> None:
    with pytest.raises(UnknownBackboneError, match=r"near ones are .*resnet50"):
        load_backbone(BackboneRequest("timm:resnet50x", "random"))
    with pytest.raises(UnknownBackboneError, match=r"no weights 'best' of resnet50; there are"):
        load_backbone(BackboneRequest("timm:resnet50.best"))


def test_weights_are_part_of_timms_names() -> None:
    with pytest.raises(UsageError, match="part of the name"):
        load_backbone(BackboneRequest("timm:resnet10t", "IMAGENET1K_V1"))


def test_weights_that_cannot_be_had_name_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    make = timm.create_model

    def fail(name: str, pretrained: bool = False, **more: object) -> object:
        if pretrained:
            raise OSError("no route to host\nand more")
        return make(name, **more)

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WeightsError, match=r"no route to host\); use `weights=FILE`"):
        load_backbone(BackboneRequest("timm:resnet10t"))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'tlfeatures\[timm\]'"):
        load_backbone(BackboneRequest("timm:resnet10t", "random"))


@pytest.mark.parametrize("name", ["xcit_nano_12_p16_224", "cait_xxs24_224"])
def test_before_the_class_token_joins_there_is_none(name: str) -> None:
    request = BackboneRequest(f"timm:{name}", "random", layer="blocks.3")
    with pytest.raises(UsageError, match="no class token"):
        load_backbone(BackboneRequest(f"timm:{name}", "random", layer="blocks.3", pooling="cls"))
    mean = load_backbone(request)
    flat = load_backbone(BackboneRequest(f"timm:{name}", "random", "blocks.3", "flatten"))
    flat.network.load_state_dict(mean.network.state_dict())
    batch = mean.preprocessing.prepare(noise((224, 224)))[None]
    tokens = flat.codes(batch)[0].reshape(196, -1)
    assert relative(mean.codes(batch)[0][0], tokens.mean(0)) <= 1e-5


def test_the_default_layer_and_the_head_come_of_one_pass() -> None:
    request = BackboneRequest("timm:resnet10t", "random")
    both = load_backbone(request, layers=("pre_logits", "logits"))
    batch = both.preprocessing.prepare(noise((200, 200)))[None]
    codes, logits = both.codes(batch)
    with torch.inference_mode():
        expected = both.network.fc(torch.from_numpy(codes))
    assert relative(logits, expected) <= 1e-5


def test_weights_without_a_classifier_serve_its_codes(tmp_path: Path) -> None:
    state = timm.create_model("resnet10t").state_dict()
    torch.save({k: v for k, v in state.items() if "fc." not in k}, tmp_path / "w.pth")
    request = BackboneRequest("timm:resnet10t", str(tmp_path / "w.pth"))
    assert load_backbone(request).dims == (512,)
    with pytest.raises(WeightsError, match="choose an earlier layer"):
        load_backbone(request, layers=("logits",))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("beit_base_patch16_224", marks=pytest.mark.slow),  # the smallest of its kind
        "eva02_tiny_patch14_224",
    ],
)
def test_weights_that_are_used_without_calling_their_module_are_described(name: str) -> None:
    made = describe_backbone(BackboneRequest(f"timm:{name}"))
    assert made.unused < 0.01 * made.totals.parameters
