"""Our own convolutions say what float64 says, and are used just where they are faster."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

from tlfeatures import machine as _machine
from tlfeatures.backbones import BackboneRequest, load_backbone
from tlfeatures.engine import Means, _faster
from tlfeatures.engine._engine import TorchEngine
from tlfeatures.engine._fuse import fuse
from tlfeatures.engine._fused import NONE, RELU, FusedConv2d, PositiveMaxPool2d
from tlfeatures.engine._opened import close_networks
from tlfeatures.engine._settings import computing
from tlfeatures.engine.kernels import _kernels
from tlfeatures.engine.kernels._kernels import are_for_here
from tlfeatures.engine.kernels._winograd import Kernels, WinogradConv2d, load_kernels, saved, suits
from tlfeatures.extraction import CNNCodes, RunOptions, _open, open_engine
from tlfeatures.extraction._open import KERNELS_S, EngineMaker, make_plan_ready
from tlfeatures.extraction.chunks._map import end_workers
from tlfeatures.extraction.planning import _plan
from tlfeatures.extraction.planning._plan import plan_run
from tlfeatures.machine import BF16_VECTORS, cpu_flags
from tlfeatures.store import CodeSpec, relative_difference, tolerance

needs_compiler = pytest.mark.skipif(
    not are_for_here() or not any(shutil.which(name) for name in _kernels.COMPILERS),
    reason="no C++ compiler is here, or no Linux on a processor with AVX2",
)
needs_bf16 = pytest.mark.skipif(
    BF16_VECTORS not in cpu_flags(), reason="this processor has no AVX-512 BF16"
)
OWN = _kernels.WINOGRAD["float32"]
HALF_TOO = ["float32", pytest.param("bf16", marks=needs_bf16)]
DIFFER = {torch.float32: 3e-6, torch.bfloat16: 3e-2}
BUILDS = [
    pytest.param(_kernels.TARGET, "float32", id="native"),
    pytest.param(("-mavx2", "-mfma"), "float32", id="avx2"),
    pytest.param(_kernels.TARGET, "bf16", marks=needs_bf16, id="bf16"),
]
SHAPE = (2, 64, 14, 14)
RUN = RunOptions(device="cpu", precision="float32")
SPECS = [CodeSpec("vgg16", "0" * 64, "classifier.5", "avg", 4096, {"side": 4})]


@pytest.fixture(scope="module", params=HALF_TOO)
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    folder = tmp_path_factory.mktemp("native")
    return build_for(_kernels.TARGET, folder, request.param)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the user's cache folder, on a machine that our convolutions are for."""
    monkeypatch.setattr(_kernels, "user_cache_dir", lambda: tmp_path / "user")
    monkeypatch.setattr(_open, "are_for_here", lambda: True)
    return tmp_path / "user"


@pytest.fixture
def on_processor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[set[str]], None]]:
    """Pretends that the processor has just these operations."""

    def pretend(flags: set[str]) -> None:
        monkeypatch.setattr(_machine, "cpu_flags", lambda: flags)
        _machine.has_bf16.cache_clear()

    yield pretend
    _machine.has_bf16.cache_clear()


def build_for(target: Sequence[str], folder: Path, precision: str = "float32") -> Kernels:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "TARGET", tuple(target))
        _kernels.build(_kernels.WINOGRAD[precision], folder / "kernels.so")
    return load_kernels(folder / "kernels.so", precision)


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
    return relative_difference(found.float().flatten(1).numpy(), wanted.flatten(1).numpy())


@needs_compiler
@pytest.mark.parametrize(("target", "precision"), BUILDS)
def test_every_width_of_vectors_says_what_float64_says(
    target: Sequence[str], precision: str, tmp_path: Path
) -> None:
    built = build_for(target, tmp_path, precision)
    for channels, filters, height, width in ((64, 48, 13, 18), (32, 96, 4, 7), (272, 64, 25, 26)):
        conv, batch = convolution(channels, filters), maps(3, channels, height, width)
        found = WinogradConv2d(conv, NONE, built)(batch)
        assert differ(found, exact(conv, batch)) < DIFFER[built.dtype]


@needs_compiler
def test_half_precision_is_compiled_on_any_processor_with_a_compiler_that_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kernels, "TARGET", ("-march=cooperlake",))
    try:
        _kernels.build(_kernels.WINOGRAD["bf16"], tmp_path / "kernels.so")
    except RuntimeError as error:
        if "march" in str(error):
            pytest.skip(f"an old compiler: {error}")
        raise
    assert (tmp_path / "kernels.so").stat().st_size > 0
    monkeypatch.setattr(_kernels, "TARGET", ("-mavx2", "-mfma"))
    with pytest.raises(RuntimeError, match="this compiler knows no AVX-512 BF16"):
        _kernels.build(_kernels.WINOGRAD["bf16"], tmp_path / "kernels.so")


@needs_compiler
def test_operations_for_another_precision_are_refused(tmp_path: Path) -> None:
    _kernels.build(OWN, tmp_path / "kernels.so")
    with pytest.raises(OSError, match="is not for bf16"):
        load_kernels(tmp_path / "kernels.so", "bf16")


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
            assert differ(found, wanted) < DIFFER[kernels.dtype]


@needs_compiler
def test_what_is_added_goes_in_before_the_activation_and_is_overwritten(kernels: Kernels) -> None:
    conv, batch = convolution(64, 64), maps(*SHAPE)
    other = maps(2, 64, 14, 14).to(kernels.dtype)
    wanted = (exact(conv, batch) + other.double()).relu()
    found = WinogradConv2d(conv, RELU, kernels)(batch, other)
    assert differ(found, wanted) < DIFFER[kernels.dtype]
    assert found.data_ptr() == other.data_ptr()


@needs_compiler
def test_other_layouts_and_types_are_taken(kernels: Kernels) -> None:
    conv, batch = convolution(64, 64), maps(*SHAPE)
    module, wanted = WinogradConv2d(conv, RELU, kernels), exact(conv, batch).relu()
    assert differ(module(batch.contiguous()), wanted) < DIFFER[kernels.dtype]
    assert differ(module(batch.double()), wanted) < DIFFER[kernels.dtype]
    added = maps(2, 64, 14, 14).contiguous()
    wanted = (exact(conv, batch) + added.double()).relu()
    assert differ(module(batch, added), wanted) < DIFFER[kernels.dtype]


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


def as_written_down(conv: nn.Conv2d, batch: torch.Tensor) -> torch.Tensor:
    """Lavin and Gray's formula in float64, its factors rounded to bfloat16; for sides of fours."""
    points = [0.0, 1.0, -1.0, 0.5, -2.0]
    others = [points[:i] + points[i + 1 :] for i in range(5)]
    scales = [
        np.prod([point - other for other in each])
        for point, each in zip(points, others, strict=True)
    ]
    B, G, A = np.zeros((6, 6)), np.zeros((6, 3)), np.zeros((4, 6))
    for i, each in enumerate([*others, points]):
        polynomial = np.poly(each)[::-1]
        B[i, : len(polynomial)] = polynomial
    for i, (point, scale) in enumerate(zip(points, scales, strict=True)):
        G[i], A[:, i] = point ** np.arange(3) / scale, point ** np.arange(4)
    G[5, 2] = A[3, 5] = 1.0
    tiles = nn.functional.pad(batch.double(), (1, 1, 1, 1)).unfold(2, 6, 4).unfold(3, 6, 4)
    factors = torch.einsum("ai,ncyxij,bj->ncyxab", torch.tensor(B), tiles, torch.tensor(B))
    weights = torch.einsum(
        "ai,kcij,bj->kcab", torch.tensor(G), conv.weight.double(), torch.tensor(G)
    )
    rounded = (each.to(torch.bfloat16).double() for each in (factors, weights))
    sums = torch.einsum("ncyxab,kcab->nkyxab", *rounded)
    made = torch.einsum("ai,nkyxij,bj->nkyaxb", torch.tensor(A), sums, torch.tensor(A))
    assert conv.bias is not None
    return made.flatten(4, 5).flatten(2, 3) + conv.bias.double()[:, None, None]


@needs_compiler
@needs_bf16
def test_half_precision_rounds_the_factors_alone(tmp_path: Path) -> None:
    conv, batch = convolution(64, 32), maps(2, 64, 8, 12).to(torch.bfloat16)
    module = WinogradConv2d(conv, NONE, build_for(_kernels.TARGET, tmp_path, "bf16"))
    assert differ(module(batch), as_written_down(conv, batch)) < 3e-3  # of what is given too
    assert differ(as_written_down(conv, batch), exact(conv, batch)) > 6e-3


@needs_compiler
@needs_bf16
def test_flat_areas_lose_no_more_than_rounding_does(tmp_path: Path) -> None:
    conv, flat = convolution(64, 64), maps(1, 64, 1, 1).to(torch.bfloat16).expand(1, 64, 12, 12)
    module = WinogradConv2d(conv, NONE, build_for(_kernels.TARGET, tmp_path, "bf16"))
    inside = (slice(None), slice(None), slice(4, 8), slice(4, 8))  # a tile without border
    assert differ(module(flat)[inside], exact(conv, flat)[inside]) < 4e-3


@needs_compiler
def test_what_is_pooled_after_them_is_known_to_be_positive(kernels: Kernels) -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 64, 1), nn.ReLU(), convolution(64, 64), nn.ReLU(), nn.MaxPool2d(2)
    traced = fx.symbolic_trace(nn.Sequential(*layers).requires_grad_(False).eval())
    batch = maps(2, 3, 16, 16)
    fused = fuse(traced, kernels.dtype, batch[:1], 2, None, kernels)
    kinds = {type(each) for each in fused.modules()}
    assert WinogradConv2d in kinds
    assert (PositiveMaxPool2d in kinds) is (kernels.dtype == torch.bfloat16)
    assert differ(fused(batch), traced(batch)) < DIFFER[kernels.dtype]


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
    found = suits(nn.Conv2d(**given), shape, Kernels(None, 16, torch.float32))
    assert found is expected


def test_half_precision_asks_for_more_channels() -> None:
    conv, shape = convolution(32, 64), (1, 32, 16, 16)
    assert suits(conv, shape, Kernels(None, 16, torch.float32))
    assert not suits(conv, shape, Kernels(None, 16, torch.bfloat16))


def test_a_quarter_of_the_multiplications_is_left_where_sides_are_fours() -> None:
    assert saved(56, 28) == 4.0
    assert saved(7, 7) == pytest.approx(4 * 49 / 64)


@needs_compiler
@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "squeezenet1_1",
        "densenet121",
        "googlenet",
        "efficientnet_v2_s",
        "timm:resnet10t",
    ],
)
def test_networks_give_the_codes_they_gave(name: str, own_folder: Path) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm", reason="the extra 'timm' is not installed")
    _kernels.make_ready(OWN)
    request = BackboneRequest(name, "random", input_size=64)
    batch = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    with computing("cpu", "float32"):
        plain = load_backbone(request).codes(batch)[0]
    engine = open_engine(request, RUN, with_kernels=True)
    assert count_own(engine) > 0
    assert relative_difference(engine.codes(batch)[0], plain) < 1e-5


def count_own(engine: TorchEngine) -> int:
    return sum(isinstance(each, WinogradConv2d) for each in engine.backbone.cut.modules())


@needs_compiler
@needs_bf16
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_networks_in_half_precision_stay_within_its_tolerance(name: str, own_folder: Path) -> None:
    _kernels.make_ready(_kernels.WINOGRAD["bf16"])
    request = BackboneRequest(name, "random", input_size=64)
    batch = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    with computing("cpu", "float32"):
        plain = load_backbone(request).codes(batch)[0]
    engine = open_engine(request, replace(RUN, precision="bf16"), with_kernels=True)
    assert count_own(engine) > 0
    assert relative_difference(engine.codes(batch)[0], plain) < tolerance("bf16")


@pytest.mark.parametrize(
    ("flags", "are_taken"),
    [
        ({"avx2", "fma", "avx512_bf16"}, True),
        ({"avx2", "fma", "avx512_bf16", "amx_bf16"}, False),  # far faster than they are
        ({"avx2", "fma"}, False),
    ],
)
def test_half_precision_takes_them_where_vectors_alone_multiply_it(
    flags: set[str],
    are_taken: bool,
    tmp_path: Path,
    own_folder: Path,
    on_processor: Callable[[set[str]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []
    on_processor(flags)
    monkeypatch.setattr(_open, "make_ready", made.append)
    maker = maker_of(tmp_path, "bf16")
    plan = make_plan_ready(3000, SPECS, maker)
    own = _kernels.WINOGRAD["bf16"]
    assert [each for each in made if each != _kernels.RESIZING] == ([own] if are_taken else [])
    assert ("Winograd" in plan.chosen[-1]) is are_taken
    assert _kernels.winograd_pays("float32")
    assert not _kernels.winograd_pays("fp16")


def test_half_precision_needs_wide_convolutions_to_pay(
    tmp_path: Path, own_folder: Path, on_processor: Callable[[set[str]], None]
) -> None:
    on_processor({"avx2", "fma", "avx512_bf16"})
    maker = maker_of(tmp_path, "bf16")
    narrow = replace(maker, request=BackboneRequest("densenet121"))  # 32 filters each
    assert plan_run(100_000, narrow.request, narrow.run).kernels_save_s == 0.0
    assert plan_run(100_000, maker.request, maker.run).kernels_save_s > KERNELS_S


@needs_compiler
def test_a_network_that_would_say_something_else_runs_without_them(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _kernels.make_ready(OWN)
    request = BackboneRequest("resnet18", "random", input_size=64)
    monkeypatch.setattr(_faster, "ROWS_AGREE", 0.0)
    close_networks()
    engine = open_engine(request, RUN, with_kernels=True)
    close_networks()
    assert "runs without our convolutions" in caplog.text
    assert count_own(engine) == 0
    assert any(isinstance(each, FusedConv2d) for each in engine.backbone.cut.modules())


class Shared(nn.Module):
    """Adds to each picture's map the same one, which has no picture in it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 3, padding=1)
        self.place = nn.Conv2d(64, 64, 3, padding=1)
        self.map = nn.Parameter(torch.randn(1, 64, 12, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.conv(self.first(x)) + self.place(self.map)
        return made


@needs_compiler
def test_what_is_the_same_for_all_pictures_is_not_written_over(kernels: Kernels) -> None:
    torch.manual_seed(0)
    traced = fx.symbolic_trace(Shared().requires_grad_(False).eval())
    batch = maps(3, 3, 12, 12)
    for own in (None, kernels):
        fused = fuse(traced, kernels.dtype, batch[:1], 3, None, own)
        kinds = [type(each) for each in fused.modules()]
        assert kinds.count(WinogradConv2d) == (0 if own is None else 2)
        with computing("cpu", "float32"):
            assert differ(fused(batch), traced(batch)) < DIFFER[kernels.dtype]


@needs_compiler
def test_another_shape_is_not_added(kernels: Kernels) -> None:
    module = WinogradConv2d(convolution(64, 64), RELU, kernels)
    with pytest.raises(RuntimeError, match="added to"):
        module(maps(*SHAPE), maps(1, 64, 14, 14))


def maker_of(root: Path, precision: str = "float32") -> EngineMaker:
    run = RunOptions(root, device="cpu", precision=precision, n_jobs=2)
    return EngineMaker(BackboneRequest("vgg16"), run, {})


@needs_compiler
def test_many_pictures_pay_for_compiling_and_the_next_run_finds_it(
    tmp_path: Path, own_folder: Path
) -> None:
    few = make_plan_ready(20, SPECS, maker_of(tmp_path))
    assert few.make_engine is None
    assert _kernels.find_kept(OWN) is None
    many = make_plan_ready(2000, SPECS, maker_of(tmp_path))
    path = _kernels.find_kept(OWN)
    assert path is not None
    assert many.chosen[-1].startswith("convolutions of 3 x 3 by Winograd's method")
    assert many.make_engine == replace(maker_of(tmp_path), with_kernels=True)
    before = path.stat().st_ino
    few = make_plan_ready(20, SPECS, maker_of(tmp_path))
    assert few.chosen[-1] == many.chosen[-1]
    assert path.stat().st_ino == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("", "no C++ compiler is here"),
        ("false", "false fails: exit status 1"),
        ('c++ "', "CXX is no command"),
        ("/no/such/c++", "the C++ compiler /no/such/c++ cannot be run (No such file"),
    ],
)
def test_without_a_compiler_one_line_says_so_and_the_run_goes_on(
    compiler: str,
    reason: str,
    tmp_path: Path,
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(_kernels, "COMPILERS", ("no-such-compiler",))
    with caplog.at_level(logging.WARNING):
        plan = make_plan_ready(2000, SPECS, maker_of(tmp_path))
    assert len(caplog.records) == 1
    assert reason in caplog.text
    assert plan.chosen[-1].startswith(f"convolutions not compiled: {reason}")
    assert plan.make_engine is None
    assert list(own_folder.glob("kernels/*")) == []


def test_a_compiler_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: Any, **words: Any) -> None:
        raise subprocess.TimeoutExpired(command, words["timeout"])

    monkeypatch.setenv("CXX", "g++")
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(RuntimeError, match="takes more than 120 s"):
        _kernels.build(OWN, tmp_path / "kernels.so")


@needs_compiler
def test_a_damaged_file_is_made_anew_or_not_used(
    own_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _kernels.own_path(OWN)
    path.write_bytes(b"no library")
    backbone = load_backbone(BackboneRequest("embedded"))
    assert count_own(TorchEngine(backbone, Means(kernels=path))) == 0  # a worker goes on without
    assert f"{path} cannot be used" in caplog.text
    _kernels.make_ready(OWN)
    assert load_kernels(path, "float32").lanes in (8, 16)


def test_other_systems_and_processors_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kernels, "cpu_flags", lambda: {"fma", "avx"})
    assert not are_for_here()
    plan = make_plan_ready(2000, SPECS, maker_of(tmp_path))
    assert plan.kernels_save_s > KERNELS_S
    assert not any("convolutions" in each for each in plan.chosen)
    assert plan.make_engine is None


def test_on_a_cluster_workers_take_their_own_and_nothing_is_compiled_here(
    tmp_path: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (_open, _plan):
        monkeypatch.setattr(module, "cluster_size", lambda: 2)
    monkeypatch.setattr(_plan, "winograd_pays", lambda precision: False)  # here
    for precision in ("float32", "bf16"):
        maker = maker_of(tmp_path, precision)
        plan = make_plan_ready(2000, SPECS, maker)
        assert plan.chosen[-1].endswith("where a worker has them compiled")
        assert plan.make_engine is not None
        assert plan.make_engine == replace(maker, with_kernels=True)
    assert not own_folder.exists()


@pytest.mark.parametrize("pays", [True, False])
def test_a_worker_takes_them_where_its_own_processor_gains(
    pays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def engine(*_: Any, with_kernels: bool, **__: Any) -> Any:
        asked.append(with_kernels)
        return SimpleNamespace(specs=SPECS)

    monkeypatch.setattr(_open, "winograd_pays", lambda precision: pays)
    monkeypatch.setattr(_open, "open_engine", engine)
    maker = replace(maker_of(tmp_path, "bf16"), names={SPECS[0]: None}, with_kernels=True)
    maker(SPECS)
    assert asked == [pays]


def test_without_a_folder_of_the_users_nothing_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_kernels, "user_cache_dir", lambda: Path("~/.cache"))
    monkeypatch.setattr(_open, "are_for_here", lambda: True)
    monkeypatch.setattr(_kernels.tempfile, "gettempdir", lambda: str(tmp_path / "open"))
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert _kernels.find_kept(OWN) is None
    plan = make_plan_ready(2000, SPECS, maker_of(tmp_path))
    assert "no folder for them is the user's alone" in plan.chosen[-1]
    assert plan.make_engine is None


@needs_compiler
def test_workers_use_what_this_process_compiled(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_open, "KERNELS_S", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    words: dict[str, Any] = {"weights": "random", "input_size": 64, "precision": "float32"}
    words |= {"device": "cpu", "n_jobs": 2, "batch_size": 4}
    own = CNNCodes("resnet18", cache=tmp_path / "own", **words)
    usual = CNNCodes("resnet18", cache=tmp_path / "usual", kernels="off", **words)
    end_workers()  # new ones see where the user's folder is now
    try:
        done = own.extract(folder)
        assert any("Winograd" in said for said in done.chosen)
        assert "convolutions" in done.kernels
        assert usual.extract(folder).kernels == ()
        found, wanted = own.transform(folder), usual.transform(folder)
    finally:
        end_workers()
    assert relative_difference(found, wanted) < 1e-5
    assert not np.array_equal(found, wanted)
