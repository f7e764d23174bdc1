"""What is chosen for a machine, and that the words say why."""

from __future__ import annotations

import subprocess
import sys

import joblib
import pytest

from tlfeatures import machine as _machine
from tlfeatures.backbones import BackboneRequest
from tlfeatures.engine._engine import batch_size_for
from tlfeatures.engine.kernels import _kernels
from tlfeatures.errors import UsageError
from tlfeatures.extraction import RunOptions
from tlfeatures.extraction.planning import _plan
from tlfeatures.extraction.planning._options import settle
from tlfeatures.extraction.planning._plan import KERNELS_S, make_plan, pays_off
from tlfeatures.machine import resolve_precision

INTEL = "flags\t: fpu avx2 avx512f avx512_bf16 amx_tile\n"


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plan, "n_cores", lambda: 4)
    monkeypatch.setattr(_plan, "is_worker", lambda: False)


def plan(n: int, backbone: str = "resnet50", device: str = "cpu", **more: object) -> _plan.Plan:
    return make_plan(n, backbone, device, "float32", batch_size=16, **more)  # type: ignore[arg-type]


@pytest.mark.usefixtures("four_cores")
def test_few_pictures_stay_here_and_many_get_a_process_a_core() -> None:
    few, many = plan(50), plan(20_000)
    assert (few.n_workers, few.n_threads) == (1, 4)
    assert "longer than it saves" in few.chosen[1]
    assert (many.n_workers, many.n_threads) == (4, 1)
    assert "one a core" in many.chosen[1]
    assert plan(20_000, "embedded").n_workers == 4
    assert plan(1_000, "embedded").n_workers == 1
    assert plan(1_000, "vgg16").n_workers == 4


@pytest.mark.usefixtures("four_cores")
def test_the_users_number_of_jobs_is_taken_and_no_process_is_without_work() -> None:
    assert plan(50, n_jobs=3).n_workers == 3
    assert plan(20_000, n_jobs=1).n_workers == 1
    assert plan(20, n_jobs=8).n_workers == 2
    with joblib.parallel_config(n_jobs=2):
        assert plan(50).n_workers == 2
    with joblib.parallel_config("threading", n_jobs=8):
        assert plan(20_000).n_workers == 1


@pytest.mark.usefixtures("four_cores")
def test_negative_jobs_count_from_all_cores_as_in_scikit_learn() -> None:
    for n_jobs in (-1, -2):
        assert plan(20_000, n_jobs=n_jobs).n_workers == joblib.effective_n_jobs(n_jobs)
        assert plan(20_000, device="cuda", n_jobs=n_jobs).n_threads == max(
            1, joblib.cpu_count() + 1 + n_jobs
        )
    assert plan(20_000, n_jobs=-10_000).n_workers == 1
    with pytest.raises(UsageError, match=r"n_jobs is 0; .* -1 for all cores"):
        RunOptions(n_jobs=0)


def test_a_worker_of_somebody_elses_pool_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plan, "n_cores", lambda: 4)
    monkeypatch.setattr(_plan, "is_worker", lambda: True)
    assert plan(20_000).n_workers == 1


@pytest.mark.usefixtures("four_cores")
def test_a_gpu_is_one_process_with_decoder_threads() -> None:
    chosen = plan(20_000, device="cuda")
    assert (chosen.n_workers, chosen.n_threads, chosen.most) == (1, 4, 20_000)
    assert plan(20_000, device="cuda", n_jobs=9).n_threads == 9
    assert _plan.UNTRIED in chosen.chosen
    assert _plan.UNTRIED not in plan(20_000).chosen


def test_chunks_are_about_four_seconds_of_a_core() -> None:
    small, large = (plan(50_000, name, n_jobs=2).most for name in ("resnet18", "vgg16"))
    assert small > 2 * large >= 2 * 16


def test_starting_processes_pays_only_for_long_work() -> None:
    assert not pays_off(10.0, 2)
    assert pays_off(100.0, 2)
    assert not pays_off(100.0, 64)  # so many are done in two seconds anyway


@pytest.mark.usefixtures("four_cores")
def test_own_operations_are_for_many_pictures_of_networks_full_of_3x3(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (
        plan(20_000, "vgg16").kernels_save_s > plan(20_000, "resnet50").kernels_save_s > KERNELS_S
    )
    assert 0 < plan(100, "resnet18", n_jobs=2).kernels_save_s < KERNELS_S
    assert plan(20_000, "vit_b_16").kernels_save_s == 0  # has no convolutions of 3 x 3
    known, namesake = plan(20_000, "resnet18"), plan(20_000, "timm:resnet18.a1_in1k")
    assert known.kernels_save_s == namesake.kernels_save_s > 0
    assert plan(20_000, "timm:resnet10t").kernels_save_s == 0  # not known
    assert plan(20_000, "vgg16", n_jobs=1).kernels_save_s == 0  # one process of several threads
    assert plan(20_000, "vgg16", kernels="off").kernels_save_s == 0
    assert plan(20_000, "vgg16", device="cuda").kernels_save_s == 0
    for has_vectors_alone in (False, True):  # AMX multiplies faster than they save
        monkeypatch.setattr(_kernels, "has_bf16_vectors_alone", lambda it=has_vectors_alone: it)
        in_bf16 = make_plan(20_000, "vgg16", "cpu", "bf16", batch_size=16)
        assert (in_bf16.kernels_save_s > 0) is has_vectors_alone
    assert make_plan(20_000, None, "cpu", "float32", batch_size=16, n_jobs=2).kernels_save_s == 0


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(INTEL, "bf16"), ("flags\t: fpu avx2 avx512f\n", "float32"), ("", "float32")],
)
def test_auto_is_half_precision_only_where_the_processor_multiplies_in_it(
    flags: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_machine.platform, "system", lambda: "Linux")
    monkeypatch.setattr(_machine.Path, "read_text", lambda *_, **__: flags)
    _machine.has_bf16.cache_clear()
    try:
        assert resolve_precision("auto", "cpu") == expected
        assert resolve_precision("float32", "cpu") == "float32"
        assert resolve_precision("bf16", "cpu") == "bf16"
    finally:
        _machine.has_bf16.cache_clear()


@pytest.mark.parametrize(
    ("backbone", "asked", "expected"),
    [
        ("resnet18", "auto", "bf16"),
        ("mobilenet_v2", "auto", "float32"),
        ("mobilenet_v2", "bf16", "bf16"),
        ("convnext_tiny", "auto", "float32"),
        ("timm:resnet18.a1_in1k", "auto", "bf16"),
        ("timm:efficientnet_b0", "auto", "float32"),
        ("timm:resnet10t", "auto", "float32"),
        ("timm:resnet10t", "bf16", "bf16"),
    ],
)
def test_bf16_is_not_chosen_where_it_is_too_coarse(
    backbone: str, asked: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_machine, "has_bf16", lambda: True)
    run = RunOptions(device="cpu", precision=asked)
    assert settle(run, BackboneRequest(backbone)).precision == expected


def test_the_words_say_why_a_network_runs_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plan, "has_bf16", lambda: True)
    for name in ("mobilenet_v2", "timm:efficientnet_b0"):
        assert "too coarse" in plan(10, name).chosen[0]
    assert plan(10, "resnet18").chosen[0] == "float32 on cpu"
    assert "is not known" in plan(10, "timm:resnet10t").chosen[0]


def test_impossible_words_are_refused() -> None:
    with pytest.raises(UsageError, match="fp16 is for GPUs"):
        resolve_precision("fp16", "cpu")
    with pytest.raises(UsageError, match="precision 'int8' is unknown; choose one of auto"):
        RunOptions(precision="int8")
    with pytest.raises(UsageError, match="kernels 'auto' is unknown; choose one of on, off"):
        RunOptions(kernels="auto")
    with pytest.raises(UsageError, match="`store_dtype` float16 is for codes of half precision"):
        RunOptions(precision="float32", store_dtype="float16").settled()


def test_auto_finds_the_cpu_without_torch_where_nothing_looks_like_a_gpu() -> None:
    code = (
        "import sys\n"
        "from tlfeatures import machine\n"
        "from tlfeatures.extraction import RunOptions\n"
        "machine._may_have_gpu = lambda: False\n"
        "assert RunOptions(precision='float32').settled().device == 'cpu'\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_batch_on_a_gpu_fits_half_its_free_memory() -> None:
    assert batch_size_for(free=80 << 30, a_picture=40 << 20) == 512
    assert batch_size_for(free=4 << 30, a_picture=40 << 20) == 32
    assert batch_size_for(free=1 << 20, a_picture=40 << 20) == 1
