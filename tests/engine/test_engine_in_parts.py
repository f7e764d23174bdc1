"""A network in two halves says what it says whole, in the memory of its small batches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

from tlfeatures.backbones import BackboneRequest
from tlfeatures.engine import CPU_BATCH, at_once_of
from tlfeatures.engine._engine import close_networks
from tlfeatures.engine._fuse import SHAPE, fuse
from tlfeatures.engine._fused import FusedLinear
from tlfeatures.engine._in_parts import InParts, in_parts
from tlfeatures.engine._interface import AT_ONCE
from tlfeatures.engine._settings import single_threaded
from tlfeatures.extraction import RunOptions, open_engine

needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="oneDNN's bf16 needs AVX-512 here",
)

PART, MOST = 2, 8
SIDE = 64
REQUEST = BackboneRequest("vgg11", "random:1", input_size=SIDE)


class Branching(nn.Module):
    """Looks twice at what lies before the halves' border, and at the pictures at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 32, 3, padding=1)
        self.narrow = nn.Conv2d(32, 4, 3, 4, 1)
        self.deep = nn.Conv2d(4, 4, 3, padding=1)
        self.linear = nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        early = self.narrow(self.wide(x).relu())
        late = self.deep(early) + early
        return [early.mean((2, 3)), self.linear(late.mean((2, 3))) + x.mean((1, 2, 3))[:, None]]


def pictures(n: int, side: int = 16) -> torch.Tensor:
    made = torch.rand((n, 3, side, side), generator=torch.Generator().manual_seed(n))
    return made.contiguous(memory_format=torch.channels_last)


def branching() -> nn.Module:
    torch.manual_seed(0)
    return Branching().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def whole() -> fx.GraphModule:
    return fuse(fx.symbolic_trace(branching()), torch.float32, pictures(1), PART)


@pytest.fixture
def halves(whole: fx.GraphModule) -> InParts:
    made = in_parts(whole, PART, MOST)
    assert isinstance(made, InParts)
    return made


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 8, 10])
def test_halves_say_what_the_whole_says(whole: fx.GraphModule, halves: InParts, n: int) -> None:
    batch = pictures(n)
    with torch.inference_mode():
        for found, wanted in zip(halves(batch), whole(batch), strict=True):
            assert found.shape == wanted.shape
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("n", "first", "linear"),
    [(1, [1], 1), (2, [2], MOST), (6, [2] * 3, MOST), (8, [2] * 4, MOST), (10, [2] * 5, 10)],
)
@needs_bf16
def test_the_first_half_sees_parts_and_linear_layers_are_filled_up(
    n: int, first: list[int], linear: int
) -> None:
    half = fuse(fx.symbolic_trace(branching()), torch.bfloat16, pictures(1), PART)
    halves = in_parts(half, PART, MOST)
    assert isinstance(halves, InParts)
    (fused,) = [each for each in halves.modules() if isinstance(each, FusedLinear)]
    seen: dict[nn.Module, list[int]] = {halves.first: [], halves.second: [], fused: []}
    for each in seen:
        each.register_forward_pre_hook(lambda each, given: seen[each].append(len(given[0])))
    with torch.inference_mode():
        found = halves(pictures(n))
    assert list(seen.values()) == [first, [n], [linear]]
    assert [len(each) for each in found] == [n, n]


@pytest.mark.parametrize("n", [2, 8])
def test_maps_are_handed_over_channels_last(halves: InParts, n: int) -> None:
    def check(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        maps = [each for each in given if each.ndim == 4]
        assert len(maps) == 2
        for each in maps:
            assert each.is_contiguous(memory_format=torch.channels_last)
            assert not each.is_contiguous()

    halves.second.register_forward_pre_hook(check)
    with torch.inference_mode():
        halves(pictures(n))


def test_no_map_of_the_second_half_takes_more_than_the_largest_of_the_first(
    halves: InParts,
) -> None:
    def sizes(network: Any) -> list[int]:
        shapes = [node.meta.get(SHAPE) for node in network.graph.nodes if node.op != "placeholder"]
        return [math.prod(shape) for shape in shapes if shape is not None]

    assert max(sizes(halves.first)) == 32 * 16 * 16
    assert 0 < max(sizes(halves.second)) * MOST <= max(sizes(halves.first)) * PART
    assert sizes(halves.first)[-1] * MOST <= max(sizes(halves.first)) * PART


def test_what_stays_large_stays_whole() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)).eval()
    fused = fuse(fx.symbolic_trace(network), torch.float32, pictures(1), PART)
    assert in_parts(fused, PART, MOST) is fused


@pytest.fixture
def one_thread() -> Any:
    with single_threaded():
        yield


def noise(n: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.usefixtures("one_thread")
@needs_bf16
def test_rows_have_the_same_bits_among_any_number_of_batches() -> None:
    engine = open_engine(REQUEST, RunOptions(device="cpu", precision="bf16"), ["features", None])
    assert (engine.batch_size, engine.at_once) == (CPU_BATCH, AT_ONCE)
    assert isinstance(engine.backbone.cut, InParts)
    batch = noise(AT_ONCE)
    whole = open_engine(
        REQUEST, RunOptions(device="cpu", precision="float32"), ["features", None]
    ).codes(batch[:CPU_BATCH])
    turned = list[Any]()
    for exact, *found in zip(
        whole, engine.codes(batch), engine.codes(batch[: 3 * CPU_BATCH]),
        engine.codes(batch[:CPU_BATCH]), strict=True,
    ):  # fmt: skip
        rows = [each[:CPU_BATCH].tobytes() for each in found]
        assert rows[0] == rows[1] == rows[2]
        turned.append(found[0][::-1])
        assert [len(each) for each in found] == [AT_ONCE, 3 * CPU_BATCH, CPU_BATCH]
        products = (exact * found[0][:CPU_BATCH]).sum(1)
        norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(found[0][:CPU_BATCH], axis=1)
        assert (products / norms).min() > 0.9995
    for found, wanted in zip(engine.codes(batch[::-1].copy()), turned, strict=True):
        np.testing.assert_array_equal(found, wanted)  # wherever it stands


@pytest.mark.usefixtures("one_thread")
@needs_bf16
def test_where_memory_is_short_a_batch_is_taken_at_once_from_then_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_networks()
    engine = open_engine(REQUEST, RunOptions(device="cpu", precision="bf16"))
    batch, codes, seen = noise(AT_ONCE), engine.backbone.codes, list[int]()
    wanted = engine.codes(batch)[0]

    def fail_of_many(batch: Any) -> Any:
        seen.append(len(batch))
        if len(batch) > CPU_BATCH:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return codes(batch)

    monkeypatch.setattr(engine.backbone, "codes", fail_of_many)
    np.testing.assert_array_equal(engine.codes(batch)[0], wanted)
    assert seen == [64, 16, 48, 16, 32, 16, 16]
    assert (engine.batch_size, engine.at_once) == (CPU_BATCH, CPU_BATCH)
    assert caplog.text.count("memory is short; going on with 16 pictures at once") == 1
    close_networks()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("run", "request_", "at_once"),
    [
        (RunOptions(device="cpu", precision="bf16", batch_size=8), REQUEST, 8),
        (RunOptions(device="cpu", precision="bf16", batch_size=16), REQUEST, AT_ONCE),
        (RunOptions(device="cpu", precision="float32"), REQUEST, CPU_BATCH),
        (RunOptions(device="cpu", precision="bf16"), replace(REQUEST, layer="features.0"), 16),
        (
            RunOptions(device="cpu", precision="bf16"),
            BackboneRequest("resnet18", "random:1", input_size=SIDE),
            CPU_BATCH,
        ),
    ],
)
@needs_bf16
def test_who_takes_a_batch_at_once(
    run: RunOptions, request_: BackboneRequest, at_once: int
) -> None:
    assert open_engine(request_, run).at_once == at_once


@needs_bf16
def test_several_threads_take_a_batch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunOptions(device="cpu", precision="bf16")
    with single_threaded():
        assert open_engine(REQUEST, run).at_once == AT_ONCE
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert open_engine(REQUEST, run).at_once == CPU_BATCH


def test_a_network_of_ones_own_stays_whole_whatever_its_name() -> None:
    assert at_once_of("vgg16", "bf16") == AT_ONCE
    assert at_once_of("vggface.Net", "bf16") == CPU_BATCH
