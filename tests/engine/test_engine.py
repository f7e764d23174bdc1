"""The engine: settings that come back, memory that runs out, precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tlfeatures import CNNCodes, TransferClassifier, load_pictures
from tlfeatures.backbones import Backbone, BackboneRequest, load_backbone
from tlfeatures.cli._app import run
from tlfeatures.engine import _engine, _faster, _opened, _settings
from tlfeatures.engine._settings import computing, is_out_of_memory, single_threaded
from tlfeatures.errors import ExtractionError
from tlfeatures.extraction import RunOptions, open_engine
from tlfeatures.store import relative_difference

EMBEDDED = BackboneRequest("embedded")
COARSE = {"fp32_precision": "tf32", "allow_tf32": True}  # the names of torch's switches


def pixels(n: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


class Failing:
    """Raises in the place of a method."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: Any) -> Any:
        raise self.error


def test_half_precision_is_a_key_of_its_own_near_the_exact_codes(
    folder: Path, tmp_path: Path
) -> None:
    pictures = load_pictures(folder)
    exact, half = (
        CNNCodes("embedded", precision=precision, cache=tmp_path).codes(pictures)
        for precision in ("float32", "bf16")
    )
    assert exact.spec.key != half.spec.key
    a, b = np.asarray(exact, np.float64), np.asarray(half, np.float64)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() >= 0.9995
    assert np.abs(a - b).max() > 0  # it did run in half precision


def test_half_precision_is_stored_as_float16_unless_asked(folder: Path, tmp_path: Path) -> None:
    import h5py

    pictures = load_pictures(folder)[:4]
    for asked, expected in ((None, np.float16), ("float32", np.float32)):
        cache = tmp_path / str(asked)
        codes = CNNCodes("embedded", precision="bf16", store_dtype=asked, cache=cache)
        codes.transform(pictures)
        (shard,) = cache.glob("embedded-*/*.h5")
        with h5py.File(shard) as file:
            assert file["codes"].dtype == expected


def test_the_callers_settings_are_as_before(folder: Path, tmp_path: Path) -> None:
    switches = [(owner, name) for owner, name, _ in _settings._switches()]
    before = [getattr(*switch) for switch in switches]
    for owner, name in switches:
        setattr(owner, name, COARSE[name])
    torch.set_float32_matmul_precision("high")
    torch.set_default_dtype(torch.float64)
    threads = torch.get_num_threads()
    try:
        found = CNNCodes("embedded", precision="float32", cache=tmp_path).transform(folder)
        assert [getattr(*switch) for switch in switches] == [COARSE[n] for _, n in switches]
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_num_threads() == threads
        assert torch.is_grad_enabled()
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.set_default_dtype(torch.float32)
        for (owner, name), value in zip(switches, before, strict=True):
            setattr(owner, name, value)
    plain = CNNCodes("embedded", precision="float32", cache=tmp_path / "2").transform(folder)
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="before torch 2.9")
def test_switches_that_follow_the_one_above_them_still_do_afterwards() -> None:
    owners = [owner for owner, _, _ in _settings._switches()]
    before = torch.backends.fp32_precision
    torch.backends.fp32_precision = "tf32"
    try:
        follow = [owner for owner in owners if owner.fp32_precision == "tf32"]
        with computing("cpu", "float32"):
            assert {owner.fp32_precision for owner in owners} == {"ieee"}
        assert {owner.fp32_precision for owner in follow} == {"tf32"}
        torch.backends.fp32_precision = "ieee"
        assert "ieee" in {owner.fp32_precision for owner in follow}
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    finally:
        torch.backends.fp32_precision = before


def test_products_are_exact_whatever_the_process_has_set() -> None:
    a = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    wanted = a.double() @ a.double()
    torch.set_float32_matmul_precision("medium")
    try:
        with computing("cpu", "float32"):
            found = (a @ a - wanted).abs().max()
            with computing("cpu", "float32"):  # another thread's, say
                pass
            again = (a @ a - wanted).abs().max()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert found == again
    assert found < 1e-4


def test_single_threaded_gives_the_threads_back_even_after_an_error() -> None:
    before = torch.get_num_threads()

    def work() -> None:
        with single_threaded():
            assert torch.get_num_threads() == 1
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        work()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_the_codes_are_the_same(
    error: RuntimeError,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    engine = open_engine(EMBEDDED, RunOptions(tmp_path, precision="float32", batch_size=12))
    wanted = engine.codes(pixels(12))[0]
    codes, sizes = Backbone.codes, []

    def short(self: Backbone, batch: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise error
        return codes(self, batch)

    monkeypatch.setattr(Backbone, "codes", short)
    monkeypatch.setattr(engine, "batch_size", 12)
    found = engine.codes(pixels(12))[0]
    assert relative_difference(found, wanted) < 1e-5
    assert engine.batch_size == 3
    assert "going on with batches of 3" in caplog.text
    assert sizes == [12, 6, 3, 3, 6, 3, 3]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("cannot allocate 40 GiB")],
)
def test_memory_too_short_for_one_picture_is_an_error_of_one_line(
    error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setattr(_opened, "_open", {})
    monkeypatch.setattr(Backbone, "codes", Failing(error))
    words = ["extract", str(folder), "--backbone", "embedded", "--cache", str(tmp_path)]
    assert run([*words, "--jobs", "1", "--precision", "float32"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == (
        "error: memory of device cpu is too short for one picture in embedded; end what else uses "
        "it, or take a smaller network or input size."
    )


def test_short_memory_is_not_taken_for_a_network_that_knows_no_half_precision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_opened, "_open", {})
    monkeypatch.setattr(_engine, "faster_cut", lambda *_: None)  # a fused one has been run already
    monkeypatch.setattr(Backbone, "codes", Failing(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(ExtractionError, match="too short for one picture in embedded"):
        open_engine(EMBEDDED, RunOptions(tmp_path, precision="bf16"))


def test_the_batch_size_follows_from_what_a_few_pictures_take_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first eight pictures take 8 x 3 MiB above what the network holds; 1 GiB is free."""
    engine = open_engine(EMBEDDED, RunOptions(tmp_path, precision="float32"))
    computed, codes = [], engine.codes
    answers = {
        "empty_cache": None,
        "reset_peak_memory_stats": None,
        "memory_allocated": 100 << 20,
        "max_memory_allocated": 124 << 20,
        "mem_get_info": (1 << 30, 80 << 30),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    monkeypatch.setattr(engine, "codes", lambda batch: computed.append(batch.shape) or codes(batch))
    assert engine._fitting_batch() == 128  # the power of two below 512 / 3
    assert computed == [(8, 64, 64, 3)]


def test_the_network_is_loaded_once_for_many_calls(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_opened, "_open", {})
    loaded, load = [], _opened.load_network
    monkeypatch.setattr(
        _opened, "load_network", lambda *given, **more: loaded.append(1) or load(*given, **more)
    )
    codes = CNNCodes("embedded", precision="float32", cache=tmp_path)
    for picture in load_pictures(folder).items[:3]:
        assert codes.transform([picture]).shape == (1, 256)
    assert len(loaded) == 1


def test_a_network_that_loses_its_fused_operations_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: Any) -> Any:
        raise NotImplementedError("mkldnn is not here\nsecond line")

    monkeypatch.setattr(_opened, "_open", {})
    monkeypatch.setattr(_faster, "fuse", missing)
    _faster._say_unfused.cache_clear()
    open_engine(EMBEDDED, RunOptions(tmp_path, precision="float32", device="cpu"))
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said == ["embedded runs unfused, which is slower: mkldnn is not here"]


def test_a_model_says_which_precision_it_was_fitted_on_and_takes_another(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = load_pictures(folder)
    codes = CNNCodes("embedded", precision="bf16", cache=tmp_path)
    path = (
        TransferClassifier(codes, head="logistic")
        .fit(pictures, pictures.labels)
        .save(tmp_path / "m")
    )
    with caplog.at_level("INFO"):
        model = TransferClassifier.load(path, cache=tmp_path, precision="float32")
    assert "was fitted on codes of precision bf16, these are of float32" in caplog.text
    assert (model.predict(pictures) == pictures.labels).mean() > 0.9


def test_a_model_of_exact_codes_is_used_with_exact_codes(folder: Path, tmp_path: Path) -> None:
    pictures = load_pictures(folder)
    codes = CNNCodes("embedded", precision="float32", cache=tmp_path)
    fitted = TransferClassifier(codes, head="logistic").fit(pictures, pictures.labels)
    model = TransferClassifier.load(fitted.save(tmp_path / "m"), cache=tmp_path)
    assert model.codes_.spec_.precision == "float32"
    np.testing.assert_array_equal(model.predict_proba(pictures), fitted.predict_proba(pictures))


def test_a_model_is_used_with_the_decoding_of_its_fit_and_says_so(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = load_pictures(folder)
    codes = CNNCodes("embedded", decode="fast", cache=tmp_path)
    path = TransferClassifier(codes, head="logistic").fit(pictures).save(tmp_path / "m")
    words = f"{path} was fitted on codes of decode fast: it is used so, not with exact"
    for asked, expected in (({}, []), ({"decode": "fast"}, []), ({"decode": "exact"}, [words])):
        caplog.clear()
        model = TransferClassifier.load(path, cache=tmp_path, **asked)
        assert model.codes_.decode == "fast"
        assert [r.getMessage() for r in caplog.records] == expected


def test_large_jpegs_decoded_fast_are_near_the_exact_codes_under_another_key(
    tmp_path: Path, folder: Path
) -> None:
    from PIL import Image

    (tmp_path / "p").mkdir()
    for path in sorted(folder.rglob("*.png"))[::6]:
        large = Image.open(path).resize((1600, 1400), Image.Resampling.BICUBIC)
        large.save(tmp_path / "p" / f"{path.parent.name}{path.stem}.jpg", quality=92)
    pictures = load_pictures(tmp_path / "p")
    exact, fast = (
        CNNCodes("embedded", decode=decode, precision="float32", cache=tmp_path).codes(pictures)
        for decode in ("exact", "fast")
    )
    assert exact.spec.decode != fast.spec.decode
    difference = relative_difference(np.asarray(fast), np.asarray(exact))
    assert 0 < difference < 0.1


def test_the_command_line_says_what_it_chose(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["extract", str(folder), "--backbone", "embedded", "--cache", str(tmp_path)]
    assert run([*words, "--precision", "float32", "--kernels", "off", "--jobs", "1"]) == 0
    said = capsys.readouterr().err
    off = "kernels off, as asked: no operations of our own"
    assert f"float32 on cpu; in this process; {off}; batches of 16" in said
    assert "network" in said
    assert "decoding" in said
    assert run([*words, "--precision", "float32", "--store-dtype", "float16"]) == 2
    assert "--store-dtype float16 is for codes of half precision" in capsys.readouterr().err


def test_numbers_beyond_fp16_are_computed_in_float32_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    engine = open_engine(EMBEDDED, RunOptions(tmp_path, precision="float32"))
    wanted = engine.codes(pixels(3))[0]
    codes = Backbone.codes

    def narrow(self: Backbone, batch: Any) -> Any:
        made = codes(self, batch)[0]
        if torch.is_autocast_enabled("cpu"):
            made[1] = np.inf
        return [made]

    monkeypatch.setattr(Backbone, "codes", narrow)
    monkeypatch.setattr(engine, "precision", "fp16")
    _engine._say_overflow.cache_clear()
    for _ in range(2):
        np.testing.assert_array_equal(engine.codes(pixels(3))[0], wanted)
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(said) == 1
    assert said[0].startswith("numbers of embedded leave the range of fp16; batches where they do")


def test_only_bf16_rounds_normalised_pixels_too_coarsely() -> None:
    cut = load_backbone(EMBEDDED).cut
    for precision, kept in (("float32", True), ("fp16", True), ("bf16", False)):
        assert (_faster.exact_enough(cut, precision) is cut) == kept


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_says_that_memory_is_short(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected
