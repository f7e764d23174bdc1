"""Each recipe, recorded epoch by epoch and tensor by tensor, against its source's numbers.

The expected rates are written out here by hand, from the documents, for a ResNet-18 and a VGG-11.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import VGG, ResNet
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers

from tlfeatures.backbones import Backbone, BackboneRequest, load_backbone
from tlfeatures.errors import UsageError
from tlfeatures.finetuning import RECIPES, EpochRow
from tlfeatures.finetuning._data import LabelledPictures
from tlfeatures.finetuning._structure import find_structure
from tlfeatures.finetuning.recipes._parts import HEAD
from tlfeatures.finetuning.recipes._plan import group_rates, make_plan
from tlfeatures.finetuning.recipes._recipes import make_recipe
from tlfeatures.finetuning.recipes._schedules import SCHEDULES
from tlfeatures.finetuning.training._net import TuningNet, make_net
from tlfeatures.finetuning.training._network import FineTuneNet
from tlfeatures.finetuning.training._train import Training, train
from tlfeatures.pictures import DecodeOptions

RESNET = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
FEATURES = (0, 3, 6, 8, 11, 13, 16, 18)  # convolutions of VGG-11 among its 21 feature modules
# module i of 21: (i x 1e-4 + (21 - i) x 1e-7) / 21
BY_MODULE_OF_21 = (1e-7, 1.4371428571e-5, 2.8642857143e-5, 3.8157142857e-5, 5.2428571429e-5,
                   6.1942857143e-5, 7.6214285714e-5, 8.5728571429e-5)  # fmt: skip
# the guide's own: vgg16_bn, modules with parameters among 44, rounded to four digits
GUIDE_VGG16_BN = {
    0: 1.000e-7, 1: 2.370e-6, 3: 6.911e-6, 4: 9.182e-6, 7: 1.599e-5, 8: 1.826e-5,
    10: 2.280e-5, 11: 2.507e-5, 14: 3.189e-5, 15: 3.416e-5, 17: 3.870e-5, 18: 4.097e-5,
    20: 4.551e-5, 21: 4.778e-5, 24: 5.459e-5, 25: 5.686e-5, 27: 6.140e-5, 28: 6.367e-5,
    30: 6.821e-5, 31: 7.048e-5, 34: 7.730e-5, 35: 7.957e-5, 37: 8.411e-5, 38: 8.638e-5,
    40: 9.092e-5, 41: 9.319e-5,
}  # fmt: skip
ALL = dict.fromkeys(RESNET, 1e-4)
ULMFIT = [{}, *[
    {part: 1e-3 / 2.6 ** (j + 1) for j, part in enumerate(reversed(RESNET[-i:]))}
    for i in (1, 2, 3, 4)
]]  # fmt: skip
STEM_TOO = {"conv1": 1e-3 / 2.6**5, "bn1": 1e-3 / 2.6**5}
# (network, epochs asked for) and, an epoch: the rates of the parts, that of the new layer
EXPECTED: dict[str, tuple[str, int, list[tuple[dict[str, float], float]]]] = {
    "head": ("resnet18", 1, [({}, 1e-3)]),
    "classifier": (
        "vgg11", 1, [({"classifier.0": 1e-4, "classifier.3": 1e-4}, 1e-3)]
    ),
    "last-blocks": ("resnet18", 1, [({"layer4": 1e-4}, 1e-3)]),
    "backwards": ("resnet18", 6, [
        ({}, 1e-3),
        ({"layer4": 1e-4}, 1e-3),
        ({"layer3": 1e-4, "layer4": 1e-4}, 1e-3),
        (dict.fromkeys(RESNET[3:], 1e-4), 1e-3),
        (dict.fromkeys(RESNET[2:], 1e-4), 1e-3),
        (ALL, 1e-3),
    ]),
    "full": ("resnet18", 1, [(dict.fromkeys(RESNET, 3e-5), 3e-4)]),
    "scratch": ("resnet18", 1, [(dict.fromkeys(RESNET, 0.05), 0.05)]),
    "teh-A": ("resnet18", 1, [(dict.fromkeys(RESNET, 1e-1), 1e-1)]),
    "teh-B": ("resnet18", 1, [(dict.fromkeys(RESNET, 1e-1), 1e-1)]),
    "teh-C": ("resnet18", 1, [(ALL, 1e-1)]),
    "teh-D": ("resnet18", 1, [(
        {"conv1": 1e-4, "layer1": 1e-4, "layer2": 1e-4, "layer3": 1e-3, "layer4": 1e-3}, 1e-1
    )]),
    "cs231n": ("resnet18", 1, [(dict.fromkeys(RESNET[2:], 1e-3), 1e-2)]),
    "guide-vgg": ("vgg11", 3, [
        ({}, 1e-3),
        ({}, 1e-3),
        (
            dict(zip((f"features.{i}" for i in FEATURES), BY_MODULE_OF_21, strict=True))
            | {"classifier.0": 1e-4, "classifier.3": 1e-4},
            1e-4,
        ),
    ]),
    "guide-resnet": ("resnet18", 3, [
        ({}, 1e-3),
        ({}, 1e-3),
        ({part: 1e-4 / 3**i for i, part in enumerate(reversed(RESNET), start=1)}, 1e-4),
    ]),
    "ulmfit": ("resnet18", 6, [
        *[(rates, 1e-3) for rates in ULMFIT], (ULMFIT[-1] | STEM_TOO, 1e-3)
    ]),
    "l2sp": ("resnet18", 1, [(dict.fromkeys(RESNET, 5e-3), 5e-3)]),
    "hard-sharing": ("resnet18", 1, [(dict.fromkeys(RESNET, 3e-5), 3e-4)]),
}  # fmt: skip
# the sources' words on the rest: optimiser, momentum, Nesterov, weight decay, start, epochs
SETTINGS = {
    "teh-A": ("sgd", 0.9, False, 5e-4, "random", True, [100], {"constant"}),
    "teh-B": ("sgd", 0.9, False, 5e-4, "random", False, [100], {"constant"}),
    "teh-C": ("sgd", 0.9, False, 5e-4, "random", False, [100], {"constant"}),
    "teh-D": ("sgd", 0.9, False, 5e-4, "random", False, [100], {"constant"}),
    "guide-resnet": ("adam", 0.9, False, 0.0, "random", False, [16, 8], {"constant"}),
    "ulmfit": ("adamw", 0.9, False, 0.01, "probe", False, [1, 1, 1, 1, 1, 6],
               {"slanted-triangle"}),
}  # fmt: skip


@dataclass
class Epoch:
    """What an epoch did to each tensor."""

    rates: dict[str, float]
    trained: set[str]
    moved: set[str]
    statistics_moved: set[str]


@dataclass
class Recorder:
    """Compares the network with what it was at the end of the epoch before."""

    net: TuningNet | None = None
    epochs: list[Epoch] = field(default_factory=list)
    before: dict[str, torch.Tensor] = field(default_factory=dict)

    def __call__(self, row: object) -> None:
        if not isinstance(row, EpochRow):
            return
        assert self.net is not None
        module = self.net.module_
        state = {k: v.detach().clone() for k, v in module.state_dict().items()}
        names = {id(p): name for name, p in module.named_parameters()}
        if self.before:
            moved = {k for k, v in state.items() if not torch.equal(v, self.before[k])}
            self.epochs.append(
                Epoch(
                    {
                        names[id(p)]: group["peak"]
                        for group in self.net.optimizer_.param_groups
                        for p in group["params"]
                    },
                    {name for name, p in module.named_parameters() if p.requires_grad},
                    {k for k in moved if k in names.values()},
                    {k for k in moved if "running_" in k},
                )
            )
        self.before = state


def tiny_resnet() -> nn.Module:
    """A ResNet-18 by names and shapes, a hundredth of its size.

    No fewer than eight channels: oneDNN's gradients of four write past their memory on AVX2.
    """
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)
    network.inplanes = 8
    network.conv1, network.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
    for i, width in enumerate((8, 8, 8, 16), start=1):
        layer = network._make_layer(BasicBlock, width, 2, stride=1 if i == 1 else 2)
        setattr(network, f"layer{i}", layer)
    network.fc = nn.Linear(16, 5)
    return network


def tiny_vgg() -> nn.Module:
    """A VGG-11 by names and shapes, a thousandth of its size."""
    plan = [8, "M", 8, "M", 8, 8, "M", 8, 8, "M", 8, 8, "M"]
    network = VGG(make_layers(plan), num_classes=5, init_weights=False)
    network.features[18] = nn.Conv2d(8, 2, 3, padding=1)
    network.classifier = nn.Sequential(
        nn.Linear(2 * 49, 8), nn.ReLU(True), nn.Dropout(0.1), nn.Linear(8, 8), nn.ReLU(True),
        nn.Dropout(0.1), nn.Linear(8, 5),
    )  # fmt: skip
    return network


def tiny_vgg16_bn() -> nn.Module:
    """A VGG16 with batch norms by names and shapes, a thousandth of its size."""
    plan = [8, 8, "M", 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M"]
    network = VGG(make_layers(plan, batch_norm=True), num_classes=5, init_weights=False)
    network.classifier = nn.Sequential(
        nn.Linear(8 * 49, 8), nn.ReLU(True), nn.Dropout(0.1), nn.Linear(8, 8), nn.ReLU(True),
        nn.Dropout(0.1), nn.Linear(8, 5),
    )  # fmt: skip
    return network


TINY = {"resnet18": tiny_resnet, "vgg11": tiny_vgg, "vgg16_bn": tiny_vgg16_bn}


def open_network(name: str) -> Backbone:
    made = TINY.get(name, name)
    return load_backbone(BackboneRequest(made, "random:1", input_size=64, preprocess="imagenet"))


def record(name: str) -> tuple[list[Epoch], Backbone]:
    network, epochs, _ = EXPECTED[name]
    recipe = make_recipe(name)
    backbone = open_network(network)
    structure = find_structure(backbone, 2)
    rng = np.random.default_rng(0)
    items = list(rng.integers(0, 256, (8, 72, 72, 3), dtype=np.uint8))
    data = LabelledPictures(items, np.arange(8) % 2, backbone.preprocessing, DecodeOptions())
    torch.manual_seed(0)
    module = FineTuneNet(backbone, (2,), 1.0)
    net = make_net(
        module, recipe, structure, (2,), data, batch_size=4, batch_norms=recipe.batch_norms
    )
    recorder = Recorder(net)
    phases = recipe.phases(structure, epochs=epochs)
    train(net, Training(phases, data, data, 4, None, False, 0, None, recorder))
    return recorder.epochs, backbone


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_what_each_epoch_trains_is_what_the_documents_say(name: str) -> None:
    epochs, backbone = record(name)
    expected = EXPECTED[name][2]
    assert len(epochs) == len(expected)
    parameters = dict(backbone.network.named_parameters())
    unused = {n for n in parameters if n.startswith(("fc.", "classifier.6."))}
    for found, (rates, head) in zip(epochs, expected, strict=True):
        wanted = {
            f"network.{parameter}": rate
            for parameter in parameters.keys() - unused
            for part, rate in rates.items()
            if parameter.startswith(f"{part}.")
        } | {"head.weight": head, "head.bias": head}
        assert found.rates == pytest.approx(wanted, rel=1e-9)
        assert found.trained == set(wanted)
        assert found.moved <= set(wanted)
        still = {n for n in wanted if n not in found.moved}
        assert all(n.endswith("bias") or "downsample" in n for n in still), still
        norms = {
            path
            for path, module in backbone.network.named_modules()
            if isinstance(module, torch.nn.BatchNorm2d)
        }
        is_moving = name == "scratch" or name.startswith(("teh-", "guide-"))
        norms = norms if is_moving else set()
        moving = {p for p in norms if any(p == part or p.startswith(f"{part}.") for part in rates)}
        if name == "teh-D":
            moving.add("bn1")  # in no group of the slide's code: weights fixed, statistics not
        assert {k.removeprefix("network.").rpartition(".")[0] for k in found.statistics_moved} == (
            moving
        )


def test_the_guides_rates_of_a_vgg16_module_by_module() -> None:
    structure = find_structure(open_network("vgg16_bn"), 102)
    rates = make_recipe("guide-vgg").phases(structure)[1].rates
    features = {int(k.split(".")[1]): v for k, v in rates.items() if k.startswith("features.")}
    assert features == pytest.approx(GUIDE_VGG16_BN, rel=5e-4, abs=0)
    others = {k: v for k, v in rates.items() if not k.startswith("features.")}
    assert others == {"classifier.0": 1e-4, "classifier.3": 1e-4, HEAD: 1e-4}


def test_the_original_rate_of_a_network_without_batch_norms_is_a_tenth() -> None:
    (phase,) = make_recipe("cs231n").phases(find_structure(open_network("vgg11"), 2))
    assert phase.rates == pytest.approx(
        {f"features.{i}": 1e-4 for i in FEATURES[1:]}
        | {"classifier.0": 1e-3, "classifier.3": 1e-3, HEAD: 1e-3}
    )


def test_what_is_shown_of_an_epoch_are_the_groups_of_the_plan() -> None:
    structure = find_structure(open_network("resnet18"), 2)
    (phase,) = make_recipe("teh-D").phases(structure)
    low, high = 1e-4, 1e-3
    assert group_rates(phase, structure) == pytest.approx(
        {"conv1": low, "bn1": 0, "layer1": low, "layer2": low, "layer3": high, "layer4": high,
         HEAD: 1e-1}
    )  # fmt: skip


@pytest.mark.parametrize("batch_norms", ["moving", "frozen"])
def test_the_plan_says_of_what_is_left_out_whether_its_statistics_move(batch_norms: str) -> None:
    recipe = make_recipe("teh-D")
    structure = find_structure(open_network("resnet18"), 2)
    plan = make_plan(
        recipe, recipe.phases(structure), structure, batch_norms=batch_norms, augmentation="none"
    )
    (group,) = [each for each in plan.phases[0].groups if each.name == "bn1"]
    assert group.batch_norms == batch_norms
    assert group.note.startswith("not trained")
    assert ("statistics" in group.note) == (batch_norms == "moving")


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_rest_of_the_documents_settings(name: str) -> None:
    recipe = make_recipe(name)
    phases = recipe.phases(find_structure(open_network("resnet18"), 2))
    assert (
        recipe.optimizer,
        recipe.momentum,
        recipe.is_nesterov,
        recipe.weight_decay,
        recipe.head_start,
        recipe.is_scratch,
        [phase.n_epochs for phase in phases],
        {phase.schedule for phase in phases},
    ) == SETTINGS[name]


def test_no_two_recipes_are_the_same() -> None:
    """Two recipes that differ only in name would be one."""
    seen: dict[object, str] = {}
    structures = [find_structure(open_network(n), 2) for n in ("resnet18", "vgg11")]
    for name, recipe in RECIPES.items():
        phases = [str(recipe.phases(s)) for s in structures if not recipe.misfit(s)]
        key = (
            *phases, recipe.optimizer, recipe.weight_decay, recipe.head_start, recipe.is_scratch,
            recipe.l2sp, recipe.stops_unfreezing, recipe.is_shared,
        )  # fmt: skip
        assert key not in seen, f"{name} is {seen.get(key)}"
        seen[key] = name


@pytest.mark.parametrize(
    ("name", "network", "words"),
    [
        ("guide-vgg", "resnet18", "does not fit .*: it goes by the modules of a VGG's.*"
         "those that do: .*guide-resnet"),
        ("guide-resnet", "vgg11", "those that do: .*guide-vgg"),
        ("teh-D", "squeezenet1_1", "here are 4"),
        ("classifier", "resnet18", "it would be 'head'"),
    ],
)  # fmt: skip
def test_a_recipe_that_does_not_fit_says_which_do(name: str, network: str, words: str) -> None:
    structure = find_structure(open_network(network), 2)
    with pytest.raises(UsageError, match=words):
        make_recipe(name).phases(structure)


def test_impossible_options_are_refused() -> None:
    structure = find_structure(open_network("resnet18"), 2)
    with pytest.raises(UsageError, match="did you mean 'ulmfit'"):
        make_recipe("ulmfitt")
    with pytest.raises(UsageError, match="has 5 blocks, 6 were asked for"):
        make_recipe("last-blocks").phases(structure, n_blocks=6)
    with pytest.raises(UsageError, match="3 epochs are fewer than the recipe's 6 phases"):
        make_recipe("ulmfit").phases(structure, epochs=3)
    with pytest.raises(UsageError, match="`lr` is 0"):
        make_recipe("full").phases(structure, lr=0.0)


def test_rates_keep_their_proportions() -> None:
    structure = find_structure(open_network("resnet18"), 2)
    rates = make_recipe("teh-D").phases(structure, lr=1e-2)[0].rates
    assert rates[HEAD] == pytest.approx(1e-2)
    assert rates["layer4.1"] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("constant", {0: 1, 0.5: 1, 1: 1}),
        ("cosine", {0: 1, 0.5: 0.5, 1: 0}),
        ("one-cycle", {0: 0.04, 0.3: 1, 0.15: 0.52, 1: 4e-6}),
        ("slanted-triangle", {0: 1 / 32, 0.1: 1, 0.55: 0.515625, 1: 1 / 32}),
    ],
)
def test_schedules_at_points_reckoned_by_hand(name: str, points: dict[float, float]) -> None:
    schedule: Callable[[float], float] = SCHEDULES[name]
    assert [schedule(t) for t in points] == pytest.approx(list(points.values()), abs=1e-9)
