"""Hooked networks as graphs of operations: what they give, and what stays a module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

from tests.backbones.conftest import noise, relative
from tlfeatures.backbones import Backbone, BackboneRequest, Preprocessing, load_backbone, trace_cut
from tlfeatures.backbones.layers._hooked import HookedLayers

SMALL = Preprocessing(input_size=32, resize=32)


class Choosing(nn.Module):
    """What it does depends on the values that it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) if x.sum() > 0 else -self.fc(x)


class Remembering(nn.Module):
    """Keeps what it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, torch.Tensor] = {}
        self.scale = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._assert(x.ndim == 2, "rows")
        key = str(x.device)
        if key not in self.kept:
            self.kept[key] = self.scale * 2
        return x * self.kept[key]


class Partly(nn.Module):
    """Two parts that can be traced around one that cannot."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 8, 3)
            self.block = nn.Sequential(nn.Linear(8, 8), Choosing(8), nn.ReLU())
            self.remember, self.head = Remembering(), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.remember(self.block(self.conv(x).mean((2, 3)))))


def cut_of(*layers: str, pooling: str = "avg") -> nn.Module:
    batch = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return HookedLayers(Partly().eval(), batch).cut(layers, pooling)


def kinds_of(traced: fx.GraphModule) -> list[str]:
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    return [type(traced.get_submodule(str(node.target))).__name__ for node in calls]


def differ(cut: nn.Module, traced: fx.GraphModule) -> float:
    batch = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted, found = cut(batch), traced(batch)
    return max(relative(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("layers", "kinds"),
    [
        (("pre_logits",), ["Conv2d", "Linear", "Choosing", "ReLU"]),
        (("conv",), ["Conv2d"]),
        (("block.1",), ["Conv2d", "Linear", "Choosing"]),
        (("block.0", "block"), ["Conv2d", "Linear", "Choosing", "ReLU"]),
        (("head", "conv", "block.2"), ["Conv2d", "Linear", "Choosing", "ReLU", "Linear"]),
    ],
)
def test_what_depends_on_values_stays_a_module(layers: tuple[str, ...], kinds: list[str]) -> None:
    cut = cut_of(*layers)
    traced = trace_cut(cut)
    assert kinds_of(traced) == kinds
    assert differ(cut, traced) < 1e-6
    whole = {each.data_ptr() for each in cut.parameters()}
    assert {each.data_ptr() for each in traced.parameters()} <= whole


@pytest.mark.parametrize("pooling", ["max", "gem", "flatten"])
def test_maps_are_pooled_as_they_arise(pooling: str) -> None:
    cut = cut_of("conv", pooling=pooling)
    assert differ(cut, trace_cut(cut)) < 1e-6


def test_a_layer_inside_of_what_depends_on_values_cannot_be_had() -> None:
    with pytest.raises(fx.proxy.TraceError, match="a layer is inside of network"):
        trace_cut(cut_of("block.1.fc"))


def test_the_network_itself_remembers_nothing_of_it() -> None:
    cut = cut_of("pre_logits")
    network: Any = cut.get_submodule("network")
    network.remember.kept.clear()
    traced = trace_cut(cut)
    assert network.remember.kept == {}
    assert not any(node.target is torch._assert for node in traced.graph.nodes)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("layer", ["pre_logits", "block", "conv"])
def test_hooks_of_the_users_own_are_called_by_modules_alone(layer: str) -> None:
    cut, seen = cut_of(layer), list[type]()
    network: Any = cut.get_submodule("network")
    network.conv.register_forward_hook(lambda _, given, made: seen.append(type(made)))
    network.block.register_forward_pre_hook(lambda _, given: seen.append(type(given[0])))
    network.block.register_forward_hook(lambda _, given, made: made + 1)
    traced = trace_cut(cut)
    assert seen == []
    assert differ(cut, traced) < 1e-6
    assert set(seen) == {torch.Tensor}


def load(name: str, layers: tuple[str, ...]) -> Backbone:
    return load_backbone(BackboneRequest(f"timm:{name}", "random", layer=layers[0]), layers=layers)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet10t", ("pre_logits", "layer2", "layer2.0.act1", "fc")),
        ("vit_tiny_patch16_224", ("norm", "blocks.3", "pre_logits")),
        ("mobilevit_xxs", ("stages.1", "pre_logits", "stages.4.1")),
    ],
)
def test_layers_of_timms_networks_in_one_pass(name: str, layers: tuple[str, ...]) -> None:
    pytest.importorskip("timm", reason="the extra 'timm' is not installed")
    backbone = load(name, layers)
    batch = np.stack([backbone.preprocessing.prepare(noise((300, 260), each)) for each in (1, 2)])
    wanted = backbone.codes(batch)
    backbone.cut = trace_cut(backbone.cut)
    for found, each in zip(backbone.codes(batch), wanted, strict=True):
        assert relative(found, each) < 1e-6
