"""What is asked of the network itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tlfeatures.advice import _network
from tlfeatures.advice._network import find_depths, seconds_per_picture
from tlfeatures.backbones import BackboneRequest, Network, load_network


@pytest.fixture(scope="module")
def embedded() -> Network:
    return load_network(BackboneRequest("embedded"))


def opened(name: str, **words: Any) -> tuple[Network, BackboneRequest]:
    request = BackboneRequest(name, weights="random", **words)
    return load_network(request), request


def test_the_embedded_network_is_probed_at_its_blocks(embedded: Network) -> None:
    depths = find_depths(embedded, BackboneRequest("embedded"))
    assert depths.layers == ("layer1.relu2", "layer2.relu2", "layer3.relu2", "flatten")
    assert depths.depths[-1] == 1.0
    assert list(depths.depths) == sorted(depths.depths)
    assert depths.facts is None
    assert "confidence" in depths.missing


@pytest.mark.parametrize(
    ("asked", "layers"),
    [
        ("layer3", ("layer1.relu2", "layer2.relu2", "layer3.relu2")),
        ("layer2.relu2", ("layer1.relu2", "layer2.relu2")),
        ("fc", ("layer1.relu2", "layer2.relu2", "layer3.relu2", "fc")),
    ],
)
def test_depths_end_at_the_layer_asked_for(
    embedded: Network, asked: str, layers: tuple[str, ...]
) -> None:
    whole = find_depths(embedded, BackboneRequest("embedded"))
    depths = find_depths(embedded, BackboneRequest("embedded", layer=asked))
    assert depths.layers == layers
    known = dict(zip(whole.layers, whole.depths, strict=True))
    assert depths.depths == tuple(known.get(layer, 1.0) for layer in layers)


def test_before_the_first_block_there_is_nothing_to_compare_with(embedded: Network) -> None:
    depths = find_depths(embedded, BackboneRequest("embedded", layer="conv1"))
    assert depths.layers == ("conv1",)
    assert "before conv1" in depths.missing["depth"]


@pytest.mark.parametrize(
    ("name", "n"), [("resnet18", 5), ("squeezenet1_0", 5), ("alexnet", 4), ("mobilenet_v2", 5)]
)
def test_about_five_depths_spread_over_the_network(name: str, n: int) -> None:
    network, request = opened(name)
    depths = find_depths(network, request)
    assert len(depths.layers) == n
    assert depths.depths[0] < 0.45
    assert depths.missing["confidence"].startswith("random weights")


def test_the_head_of_imagenet_is_known_by_its_outputs(tmp_path: Any) -> None:
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_0

    file = tmp_path / "w.safetensors"
    save_file(squeezenet1_0().state_dict(), file)
    request = BackboneRequest("squeezenet1_0", weights=str(file))
    depths = find_depths(load_network(request), request)
    assert depths.output == "flatten"
    assert depths.facts is not None
    assert depths.facts.top1 == pytest.approx(0.58092)
    assert depths.facts.input_size == 224
    save_file(squeezenet1_0(num_classes=7).state_dict(), file)
    depths = find_depths(load_network(request), request)
    assert depths.facts is None
    assert "1,000 classes" in depths.missing["confidence"]


def test_an_own_network_has_no_published_accuracy() -> None:
    own = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    request = BackboneRequest(own, preprocess="imagenet")
    depths = find_depths(load_network(request), request)
    assert len(depths.layers) == 1
    assert set(depths.missing) == {"confidence", "depth"}


def test_timing_a_step_leaves_the_network_as_it_was() -> None:
    network = load_network(BackboneRequest("embedded"))
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    seconds = seconds_per_picture(network)
    assert set(seconds) == {"codes", "last-blocks", "full"}
    assert all(value > 0 for value in seconds.values())
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(p.requires_grad or p.grad is not None for p in network.module.parameters())


def test_weights_that_a_saved_model_brought_along_have_no_published_accuracy() -> None:
    network, request = opened("squeezenet1_0")
    depths = find_depths(network, replace(request, weights=None), is_carried=True)
    assert depths.facts is None
    assert "saved model" in depths.missing["confidence"]


def test_the_clock_starts_when_a_gpu_has_done_what_it_was_given_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def clock() -> float:
        done.append("clock")
        return 0.0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("wait"))
    monkeypatch.setattr(_network.time, "perf_counter", clock)
    _network._timed(lambda: done.append("call"))
    assert done == ["call", "wait", "clock", "call", "wait", "clock"]
