"""The parts of networks: every parameter once, stages where the resolution changes."""

from __future__ import annotations

import pytest
import torch

from tlfeatures.backbones import Backbone, BackboneRequest, list_backbones, load_backbone
from tlfeatures.finetuning._structure import find_structure
from tlfeatures.finetuning.recipes._parts import Structure

LEAST_SIDE = {"inception_v3": 96, "swin": 64, "maxvit": 224, "vit_h_14": 70, "vit": 64}
EXPECTED = {
    "embedded": ["conv1..layer1", "layer2", "layer3", "layer4"],
    "resnet18": ["conv1..bn1", "layer1", "layer2", "layer3", "layer4"],
    "vgg11": [
        "features.0", "features.3", "features.6..features.8", "features.11..features.13",
        "features.16..features.18",
    ],
    "squeezenet1_1": [
        "features.0", "features.3..features.4", "features.6..features.7",
        "features.9..features.12",
    ],
    "shufflenet_v2_x0_5": ["conv1", "stage2", "stage3", "stage4.0..conv5.1"],
    "regnet_y_400mf": ["stem", "trunk_output.block1.block1-0", "trunk_output.block2"],
}  # fmt: skip
N_STAGES = {
    "mobilenet_v3_small": 5, "convnext_tiny": 4, "densenet121": 5, "mobilenet_v2": 5,
    "efficientnet_b0": 5, "mnasnet0_5": 5, "swin_t": 4, "googlenet": 5, "vit_b_32": 13,
}  # fmt: skip
QUICK = ("embedded", "resnet18", "squeezenet1_1", "mobilenet_v3_small", "convnext_tiny")


def open_backbone(name: str) -> Backbone:
    family = next((family for family in LEAST_SIDE if name.startswith(family)), "")
    weights = None if name == "embedded" else "random"
    return load_backbone(BackboneRequest(name, weights, input_size=LEAST_SIDE.get(family, 64)))


def structure_of(name: str) -> Structure:
    return find_structure(open_backbone(name), 3)


def check_parts(backbone: Backbone, structure: Structure) -> None:
    """Units hold each parameter that the codes depend on, once."""
    names = [parameter for unit in structure.units for parameter in unit.parameters]
    assert len(names) == len(set(names))
    named = dict(backbone.network.named_parameters())
    backbone.network.requires_grad_(True)
    torch.manual_seed(0)
    backbone.cut(torch.rand(2, *backbone.input_shape[1:]))[0].sum().backward()
    assert {n for n, p in named.items() if p.grad is not None} == set(names)
    assert sum(unit.n_parameters for unit in structure.units) == sum(
        named[n].numel() for n in names
    )
    norms = {path for unit in structure.units for path in unit.batch_norms}
    assert norms <= dict(backbone.network.named_modules()).keys()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name in (*EXPECTED, *N_STAGES)
    ],
)
def test_parts_of_each_family(name: str) -> None:
    backbone = open_backbone(name)
    structure = find_structure(backbone, 3)
    check_parts(backbone, structure)
    names = [stage.name for stage in structure.stages]
    if name in EXPECTED:
        assert names[: len(EXPECTED[name])] == EXPECTED[name]
    else:
        assert len(names) == N_STAGES[name], names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "classifier"),
    [("mobilenet_v3_small", ["classifier.0"]),
     ("resnet18", None)],
)  # fmt: skip
def test_layers_on_vectors_are_the_classifier_part(name: str, classifier: list[str] | None) -> None:
    part = structure_of(name).classifier
    assert (None if part is None else [unit.name for unit in part.units]) == classifier


def test_an_earlier_layer_leaves_out_what_comes_after_it() -> None:
    request = BackboneRequest("resnet18", "random", layer="layer2", input_size=64)
    structure = find_structure(load_backbone(request), 2)
    assert [stage.name for stage in structure.stages] == ["conv1..bn1", "layer1", "layer2"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [facts.name for facts in list_backbones()])
def test_all_networks_have_parts(name: str) -> None:
    backbone = open_backbone(name)
    structure = find_structure(backbone, 3)
    check_parts(backbone, structure)
    assert len(structure.stages) >= 3
