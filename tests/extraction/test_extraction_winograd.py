"""Our own convolutions say what float64 says, and are used just where they are faster."""

from __future__ import annotations

import logging
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tlfeatures.backbones import BackboneRequest, load_backbone
from tlfeatures.extraction import CNNCodes, RunOptions, _kernels, _open, open_engine
from tlfeatures.extraction._engine import Means, TorchEngine
from tlfeatures.extraction._fused import NONE, RELU
from tlfeatures.extraction._open import plan_and_compile
from tlfeatures.extraction._settings import computing
from tlfeatures.extraction._winograd import (
    Kernels,
    WinogradConv2d,
    load_kernels,
    saved,
    suits,
)
from tlfeatures.store import CodeSpec, relative_difference

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in _kernels.COMPILERS), reason="no C++ compiler is here"
)
IS_X86 = platform.machine() == "x86_64"
TARGETS = [_kernels.TARGET, *([("-mavx2", "-mfma"), ("-msse2",)] if IS_X86 else [])]
SHAPE = (2, 64, 14, 14)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return build_for(_kernels.TARGET, tmp_path_factory.mktemp("native"))


def build_for(target: Sequence[str], folder: Path) -> Kernels:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "TARGET", tuple(target))
        path = _kernels.path_of(folder)
        _kernels.build(path)
    found = load_kernels(path)
    assert found is not None
    return found


def convolution(channels: int, filters: int, padding: int = 1, **words: Any) -> nn.Conv2d:
    torch.manual_seed(channels + filters)
    return nn.Conv2d(channels, filters, 3, padding=padding, **words).requires_grad_(False)


def maps(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    made = torch.randn(*shape, generator=generator, dtype=torch.float32)
    return made.contiguous(memory_format=torch.channels_last)


def exact(conv: nn.Conv2d, batch: torch.Tensor) -> torch.Tensor:
    """In float64, directly."""
    bias = None if conv.bias is None else conv.bias.double()
    return nn.functional.conv2d(
        batch.double(), conv.weight.double(), bias, conv.stride, conv.padding
    )


def differ(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return relative_difference(found.flatten(1).numpy(), wanted.flatten(1).numpy())


@needs_compiler
@pytest.mark.parametrize("target", TARGETS, ids=" ".join)
def test_every_width_of_vectors_says_what_float64_says(
    target: Sequence[str], tmp_path: Path
) -> None:
    built = build_for(target, tmp_path)
    for channels, filters, height, width in ((64, 48, 13, 18), (32, 96, 4, 7), (272, 64, 9, 9)):
        conv, batch = convolution(channels, filters), maps(3, channels, height, width)
        assert differ(WinogradConv2d(conv, NONE, built)(batch), exact(conv, batch)) < 3e-6


@needs_compiler
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("n", [1, 2, 11])  # 11: more tiles than go through at a time
def test_borders_biases_and_activations(kernels: Kernels, n: int, padding: int) -> None:
    for activation in (NONE, RELU):
        for has_bias in (True, False):
            conv = convolution(32, 64, padding, bias=has_bias)
            batch = maps(n, 32, 15, 10)
            found = WinogradConv2d(conv, activation, kernels)(batch)
            wanted = exact(conv, batch)
            if activation == RELU:
                wanted = wanted.relu()
            assert found.shape == wanted.shape
            assert found.is_contiguous(memory_format=torch.channels_last)
            assert differ(found, wanted) < 3e-6


@needs_compiler
def test_what_is_added_goes_in_before_the_activation_and_is_overwritten(kernels: Kernels) -> None:
    conv, batch, other = convolution(64, 64), maps(*SHAPE), maps(2, 64, 14, 14)
    wanted = (exact(conv, batch) + other.double()).relu()
    found = WinogradConv2d(conv, RELU, kernels)(batch, other)
    assert differ(found, wanted) < 3e-6
    assert found.data_ptr() == other.data_ptr()


@needs_compiler
def test_other_layouts_and_types_are_taken(kernels: Kernels) -> None:
    conv, batch = convolution(64, 64), maps(*SHAPE)
    module, wanted = WinogradConv2d(conv, RELU, kernels), exact(conv, batch).relu()
    assert differ(module(batch.contiguous()), wanted) < 3e-6
    assert differ(module(batch.double()), wanted) < 3e-6
    added = maps(2, 64, 14, 14).contiguous()
    wanted = (exact(conv, batch) + added.double()).relu()
    assert differ(module(batch, added), wanted) < 3e-6


@needs_compiler
def test_a_picture_has_the_same_bits_in_every_batch(kernels: Kernels) -> None:
    module, batch = WinogradConv2d(convolution(64, 64), RELU, kernels), maps(9, 64, 14, 14)
    together = module(batch)
    assert all(torch.equal(module(batch[i : i + 1])[0], together[i]) for i in range(len(batch)))


@needs_compiler
def test_numbers_that_are_none_stay_so(kernels: Kernels) -> None:
    batch = maps(*SHAPE)
    batch[1, 3, 5, 5] = torch.nan
    found = WinogradConv2d(convolution(64, 64), RELU, kernels)(batch)
    assert not found[0].isnan().any()
    assert found[1, :, 4:7, 4:7].isnan().all()


@pytest.mark.parametrize(
    ("words", "shape", "expected"),
    [
        ({}, SHAPE, True),
        ({"padding": 0}, (1, 64, 34, 35), True),
        ({"padding": 2}, SHAPE, False),
        ({"padding": (0, 1)}, SHAPE, False),
        ({"stride": 2}, SHAPE, False),
        ({"dilation": 2}, SHAPE, False),
        ({"groups": 2}, SHAPE, False),
        ({"kernel_size": (3, 1)}, SHAPE, False),
        ({"in_channels": 16}, SHAPE, False),
        ({"out_channels": 72}, SHAPE, False),  # no whole vectors
        ({}, (1, 64, 1, 1), False),  # most of a tile would be border
        ({"padding": 0}, (1, 64, 2, 2), False),
    ],
)
def test_only_convolutions_that_become_faster_are_taken(
    words: dict[str, Any], shape: tuple[int, ...], expected: bool
) -> None:
    given = {"in_channels": 64, "out_channels": 64, "kernel_size": 3, "padding": 1, **words}
    found = suits(nn.Conv2d(**given), shape, Kernels(None, 16))
    assert found is expected


def test_a_quarter_of_the_multiplications_is_left_where_sides_are_fours() -> None:
    assert saved(56, 28) == 4.0
    assert saved(7, 7) == pytest.approx(4 * 49 / 64)


@needs_compiler
@pytest.mark.parametrize(
    "name", ["resnet18", "vgg11_bn", "densenet121", "googlenet", "efficientnet_v2_s"]
)
def test_networks_give_the_codes_they_gave(name: str, tmp_path: Path) -> None:
    path = _kernels.path_of(tmp_path)
    _kernels.build(path)
    request = BackboneRequest(name, "random", input_size=64)
    batch = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    with computing("cpu", "float32"):
        plain = load_backbone(request).codes(batch)[0]
    engine = TorchEngine(load_backbone(request), Means(kernels=path))
    assert count_own(engine) > 0
    assert relative_difference(engine.codes(batch)[0], plain) < 1e-5


def count_own(engine: TorchEngine) -> int:
    return sum(isinstance(each, WinogradConv2d) for each in engine.backbone.cut.modules())


@needs_compiler
def test_half_precision_is_left_to_the_processors_own_operations(tmp_path: Path) -> None:
    path = _kernels.path_of(tmp_path)
    _kernels.build(path)
    backbone = load_backbone(BackboneRequest("resnet18", "random", input_size=64))
    assert count_own(TorchEngine(backbone, Means(precision="bf16", kernels=path))) == 0


@needs_compiler
@pytest.mark.parametrize(
    ("word", "n_threads", "is_used"), [("auto", 1, True), ("off", 1, False), ("auto", 2, False)]
)
def test_what_the_cache_folder_keeps_is_used_by_processes_of_one_thread(
    word: str, n_threads: int, is_used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunOptions(tmp_path, device="cpu", precision="float32", compile=word)
    request = BackboneRequest("resnet18", "random", input_size=64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    assert count_own(open_engine(request, run)) == 0
    _kernels.build(_kernels.path_of(tmp_path))
    assert (count_own(open_engine(request, run)) > 0) is is_used


def maker_of(root: Path) -> Any:
    run = RunOptions(root, device="cpu", precision="float32", n_jobs=2)
    return SimpleNamespace(request=BackboneRequest("vgg16"), run=run)


SPECS = [CodeSpec("vgg16", "0" * 64, "classifier.5", "avg", 4096, {"side": 4})]


@needs_compiler
def test_many_pictures_pay_for_compiling_and_the_next_run_finds_it(tmp_path: Path) -> None:
    few = plan_and_compile(20, SPECS, maker_of(tmp_path))
    assert "Winograd" not in few.chosen[-1]
    assert _kernels.find_kept(tmp_path) is None
    many = plan_and_compile(2000, SPECS, maker_of(tmp_path))
    path = _kernels.find_kept(tmp_path)
    assert path is not None
    assert many.chosen[-1].startswith("convolutions of 3 x 3 by Winograd's method")
    before = path.stat().st_mtime_ns
    few = plan_and_compile(20, SPECS, maker_of(tmp_path))
    assert few.chosen[-1] == many.chosen[-1]
    assert path.stat().st_mtime_ns == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("compiler", "reason"), [("", "no C++ compiler is here"), ("false", "false fails")]
)
def test_without_a_compiler_one_line_says_so_and_the_run_goes_on(
    compiler: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(_kernels, "COMPILERS", ("no-such-compiler",))
    with caplog.at_level(logging.WARNING):
        plan = plan_and_compile(2000, SPECS, maker_of(tmp_path))
    assert len(caplog.records) == 1
    assert reason in caplog.text
    assert plan.chosen[-1].startswith(f"not compiled: {reason}")
    assert list(tmp_path.glob("compiled/*")) == []


def test_a_compiler_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: Any, **words: Any) -> None:
        raise subprocess.TimeoutExpired(command, words["timeout"])

    monkeypatch.setenv("CXX", "g++")
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(RuntimeError, match="takes more than 120 s"):
        _kernels.build(_kernels.path_of(tmp_path))


def test_a_damaged_file_is_named_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _kernels.path_of(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"no library")
    assert load_kernels(path) is None
    assert f"{path} cannot be used" in caplog.text
    backbone = load_backbone(BackboneRequest("embedded"))
    assert count_own(TorchEngine(backbone, Means(kernels=path))) == 0  # goes on without


@needs_compiler
def test_workers_use_what_this_process_compiled(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_open, "KERNELS_S", 0.0)
    words: dict[str, Any] = {"weights": "random", "input_size": 64, "precision": "float32"}
    words |= {"device": "cpu", "n_jobs": 2, "batch_size": 4}
    own = CNNCodes("resnet18", cache=tmp_path / "own", **words)
    assert any("Winograd" in said for said in own.extract(folder).chosen)
    usual = CNNCodes("resnet18", cache=tmp_path / "usual", compile="off", **words)
    found, wanted = own.transform(folder), usual.transform(folder)
    assert relative_difference(found, wanted) < 1e-5
    assert not np.array_equal(found, wanted)
