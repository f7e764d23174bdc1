"""What is asked of the network itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tlfeatures.advice import _network
from tlfeatures.advice._network import (
    batch_norm_distance,
    find_depths,
    prepare_batch,
    seconds_a_picture,
)
from tlfeatures.backbones import BackboneRequest, Network, load_network
from tlfeatures.extraction import CNNCodes
from tlfeatures.pictures import load_pictures


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
    assert depths.output is None
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
    assert depths.published == pytest.approx(0.58092)
    assert (depths.output, depths.own_size) == ("flatten", 224)
    save_file(squeezenet1_0(num_classes=7).state_dict(), file)
    depths = find_depths(load_network(request), request)
    assert (depths.output, depths.published) == (None, None)
    assert "1,000 classes" in depths.missing["confidence"]


def test_an_own_network_has_no_published_accuracy() -> None:
    own = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    request = BackboneRequest(own, preprocess="imagenet")
    depths = find_depths(load_network(request), request)
    assert len(depths.layers) == 1
    assert set(depths.missing) == {"confidence", "depth"}


def test_batch_norms_that_get_what_they_expect_are_near() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(2)
    norm.running_mean, norm.running_var = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0])
    network = nn.Sequential(norm).eval()
    mean = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    assert batch_norm_distance(network, mean.expand(3, 2, 5, 5)) == pytest.approx(0.0)
    shifted = mean + torch.tensor([2.0, 6.0]).view(1, 2, 1, 1)
    found = batch_norm_distance(network, shifted.expand(3, 2, 5, 5))
    assert found == pytest.approx((1 + 2) / 2, abs=1e-4)


def test_only_the_first_batch_norms_are_computed() -> None:
    class Forbidden(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("the rest of the network was computed")

    network = nn.Sequential(*[nn.BatchNorm2d(3) for _ in range(3)], Forbidden(), nn.BatchNorm2d(3))
    assert batch_norm_distance(network.eval(), torch.zeros(2, 3, 4, 4)) == pytest.approx(0.0)
    assert batch_norm_distance(nn.Sequential(nn.ReLU()), torch.zeros(2, 3, 4, 4)) is None


def test_timing_a_step_leaves_the_network_as_it_was(folder: Any) -> None:
    network = load_network(BackboneRequest("embedded"))
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    batch = prepare_batch(network, load_pictures(folder)[:2], CNNCodes("embedded"))
    seconds = seconds_a_picture(network, batch)
    assert set(seconds) == {"codes", "last-blocks", "full"}
    assert all(value > 0 for value in seconds.values())
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(p.requires_grad or p.grad is not None for p in network.module.parameters())


def test_weights_that_a_saved_model_brought_along_have_no_published_accuracy() -> None:
    network, request = opened("squeezenet1_0")
    depths = find_depths(network, replace(request, weights=None), is_carried=True)
    assert (depths.output, depths.published) == (None, None)
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
