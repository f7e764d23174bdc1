"""All 80 networks of torchvision, against torchvision's own words; a tenth of them in a usual run.

One network of a family runs always, the others by `make torture`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import get_model_weights, list_models

from tests.backbones.conftest import AWKWARD_SIZES, noise, relative
from tlfeatures.backbones import (
    Backbone,
    BackboneRequest,
    describe_backbone,
    gflop_of,
    is_depthwise,
    licence_note,
    list_backbones,
    load_backbone,
    load_network,
    share_3x3_of,
    stands_bf16,
)
from tlfeatures.backbones._network import normalise
from tlfeatures.backbones.sources._torchvision import preset

NAMES = list_models(module=torchvision.models)
ALWAYS = {
    "resnet18", "squeezenet1_1", "mobilenet_v3_small", "densenet121", "googlenet", "swin_v2_t",
    "vit_b_32", "regnet_y_400mf", "shufflenet_v2_x0_5", "vgg11_bn", "mnasnet0_5",
}  # fmt: skip
FACTS = {facts.name: facts for facts in list_backbones()}


def a_tenth_always(names: list[str]) -> list[Any]:
    return [pytest.param(n, marks=() if n in ALWAYS else pytest.mark.slow) for n in names]


every_network = pytest.mark.parametrize("name", a_tenth_always(NAMES))


def input_of_the_last_layer(network: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """What torchvision's own forward hands to its last layer with weights."""
    heard: list[torch.Tensor] = []
    layers = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    hook = layers[-1].register_forward_pre_hook(lambda _, given: heard.append(given[0].clone()))
    with torch.inference_mode():
        network(batch)
    hook.remove()
    return heard[0].mean((2, 3)) if heard[0].ndim == 4 else heard[0]


@pytest.mark.filterwarnings("ignore:The inception_v3|GoogleNet::FutureWarning")
@every_network
def test_codes_equal_torchvisions_own_forward_up_to_its_last_layer(name: str) -> None:
    backbone = load_backbone(BackboneRequest(name, "random:1"))
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    transforms = next(iter(get_model_weights(name))).transforms()
    pictures = [noise((300, 411), 0), noise((260, 250), 1)]
    expected = input_of_the_last_layer(
        backbone.network, torch.stack([transforms(picture) for picture in pictures])
    )
    prepared = [backbone.preprocessing.prepare(picture) for picture in pictures]
    for row, pixels in zip(expected, prepared, strict=True):
        found = backbone.codes(pixels[None])[0]
        assert found.shape == (1, FACTS[name].dim)
        assert relative(found[0], row) <= 1e-4


@every_network
def test_the_description_adds_up_to_the_networks_own_parameters(name: str) -> None:
    network = load_network(BackboneRequest(name, "random")).module
    total = sum(p.numel() for p in network.parameters())
    made = describe_backbone(BackboneRequest(name))
    assert made.totals.parameters == total
    assert sum(step.parameters for step in made.layers) + made.unused == total
    assert made.totals.values == sum(step.values for step in made.layers)
    assert made.dim == FACTS[name].dim
    assert made.default_layer == FACTS[name].layer
    assert {"block-1", "block-2"} <= set(made.aliases)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        pytest.param(name, entry.name, marks=() if name in ALWAYS else pytest.mark.slow)
        for name in NAMES
        for entry in get_model_weights(name)
    ],
)
def test_the_preset_of_every_weights_entry_is_that_of_its_transforms(name: str, entry: str) -> None:
    ours, theirs = preset(name, entry), get_model_weights(name)[entry].transforms()
    for seed, size in enumerate(AWKWARD_SIZES):
        picture = noise(size, seed)
        found = normalise(torch.from_numpy(ours.prepare(picture)[None]), ours)[0]
        torch.testing.assert_close(found, theirs(picture), rtol=0, atol=1e-6)


def test_the_table_in_the_package_says_what_torchvision_says() -> None:
    assert [facts.name for facts in list_backbones()] == ["embedded", *NAMES]
    for name in NAMES:
        entries = get_model_weights(name)
        found = {entry.name: entry for entry in FACTS[name].entries}
        assert set(found) == {entry.name for entry in entries}
        assert FACTS[name].entries[0].name == (
            "IMAGENET1K_V1" if "IMAGENET1K_V1" in found else next(iter(entries)).name
        )
        for entry in entries:
            facts, meta = found[entry.name], entry.meta
            top1 = meta["_metrics"]["ImageNet-1K"]["acc@1"]
            assert facts.parameters == meta["num_params"]
            assert (facts.gflop, facts.size_mb) == (meta["_ops"], meta["_file_size"])
            assert facts.top1 is None or facts.top1 == pytest.approx(top1 / 100, abs=1e-5)
            assert (facts.top1 is None) == (top1 != top1)
            assert facts.file == entry.url.rpartition("/")[2]
            assert facts.input_size == entry.transforms().crop_size[0]
            assert facts.licence == ("swag" if "SWAG" in entry.name else "imagenet")


@pytest.mark.parametrize(
    ("backbone", "weights", "said"),
    [
        ("resnet50", None, "weights IMAGENET1K_V1 of resnet50: trained on ImageNet"),
        ("resnet50", "IMAGENET1K_V2", "weights IMAGENET1K_V2 of resnet50: trained on ImageNet"),
        ("vit_b_16", "IMAGENET1K_SWAG_LINEAR_V1", "CC-BY-NC"),
        ("embedded", None, None),
        ("resnet50", "my.pth", None),
        ("resnet50", "random", None),
        ("timm:resnet50", None, None),
    ],
)
def test_the_licence_is_that_of_the_weights_entry(
    backbone: str, weights: str | None, said: str | None
) -> None:
    note = licence_note(backbone, weights)
    assert (said is None and note is None) or (note is not None and said in note)


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_five_layers_in_one_pass_are_those_of_five_passes(name: str) -> None:
    layers = {
        "vgg16": ("pool1", "conv3_3", "pool5", "fc6", "fc7"),
        "resnet50": ("conv2_x", "layer2", "block-2", "layer4", "avgpool"),
    }[name]
    network = load_network(BackboneRequest(name, "random"))
    batch = network.preprocessing.prepare(noise((300, 280)))[None]
    for layer, found in zip(layers, Backbone(network, layers).codes(batch), strict=True):
        alone = Backbone(network, [layer])
        assert relative(found, alone.codes(batch)[0]) <= 1e-6


def test_nothing_is_computed_after_the_last_layer_asked_for() -> None:
    backbone = load_backbone(BackboneRequest("resnet18", "random"), layers=("layer1", "layer2"))
    heard: list[str] = []
    for path, module in backbone.cut.named_modules():
        module.register_forward_hook(lambda *_, path=path: heard.append(path))
    backbone.codes(backbone.preprocessing.prepare(noise((224, 224)))[None])
    assert "layer2.1.conv2" in heard
    assert not any(path.startswith(("layer3", "layer4", "fc")) for path in heard)


def vgg16_products() -> tuple[int, int]:
    """Multiply-adds in 3 x 3 convolutions but the first, and in all: table 1 of the VGG paper."""
    widths = [(64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56)]
    widths += [(256, 256, 56)] * 2 + [(256, 512, 28)] + [(512, 512, 28)] * 2 + [(512, 512, 14)] * 3
    convs = sum(9 * a * b * side**2 for a, b, side in widths)
    return convs, convs + 27 * 64 * 224**2 + 25088 * 4096 + 4096 * 4096 + 4096 * 1000


def resnet18_products() -> tuple[int, int]:
    """The same, stride 1 alone: table 1 of the ResNet paper, projections where maps shrink."""
    convs, rest = 4 * 9 * 64**2 * 56**2, 3 * 49 * 64 * 112**2 + 512 * 1000
    for width, side in ((128, 28), (256, 14), (512, 7)):
        convs += 3 * 9 * width**2 * side**2
        rest += (9 + 1) * width // 2 * width * side**2
    return convs, convs + rest


@pytest.mark.parametrize(
    ("name", "products"), [("vgg16", vgg16_products()), ("resnet18", resnet18_products())]
)
def test_shares_of_3x3_convolutions_are_those_of_the_papers(
    name: str, products: tuple[int, int]
) -> None:
    convs, total = products
    for is_wide in (False, True):  # all have 64 channels and more
        assert share_3x3_of(name, is_wide=is_wide) == pytest.approx(convs / total, abs=5e-4)
    assert gflop_of(name) == pytest.approx(total / 1e9, abs=6e-3)


def test_timms_networks_are_reckoned_with_as_their_namesakes_alone() -> None:
    assert gflop_of("timm:resnet50.a1_in1k") == gflop_of("timm:resnet50") == gflop_of("resnet50")
    assert share_3x3_of("timm:vgg16") == share_3x3_of("vgg16") > 0.9
    assert (gflop_of("timm:resnet10t"), share_3x3_of("timm:resnet10t")) == (None, 0.0)
    names = ("resnet50.a1_in1k", "efficientnet_b0", "vit_small_patch16_224")
    assert [stands_bf16(f"timm:{name}") for name in names] == [True, False, False]
    assert [is_depthwise(f"timm:{name}") for name in names] == [False, True, False]
    assert gflop_of(torchvision.models.resnet18) is None
