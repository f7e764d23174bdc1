"""Our own resizing gives the bytes that Pillow gives, or leaves the picture to it."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from tlfeatures.backbones import BackboneRequest, Preprocessing, load_backbone
from tlfeatures.engine import Means, TorchEngine
from tlfeatures.engine.kernels import _kernels, _resize
from tlfeatures.engine.kernels._kernels import RESIZING, are_for_here
from tlfeatures.engine.kernels._pillow import (
    MOST_IN_ONE_PIECE,
    PILLOW_HANDS_OUT,
    pictures_in_one_piece,
)
from tlfeatures.engine.kernels._resize import Resizer, kept_resizer, open_resizer, suits
from tlfeatures.extraction import CNNCodes, RunOptions, _open, open_engine
from tlfeatures.extraction._open import EngineMaker, make_plan_ready
from tlfeatures.extraction.chunks._chunk import extract_chunk
from tlfeatures.extraction.chunks._map import ask_workers, end_workers
from tlfeatures.extraction.chunks._values import Row, Run
from tlfeatures.extraction.planning._plan import RESIZING_S, make_plan
from tlfeatures.pictures import DecodeOptions, content_digest, row_key
from tlfeatures.store import CodeSpec

CORE: Any = Image.core  # type: ignore[attr-defined]
needs_pillow = pytest.mark.skipif(
    not PILLOW_HANDS_OUT, reason="Pillow before 11.3 does not hand out its memory, or not rightly"
)
needs_compiler = pytest.mark.skipif(
    not PILLOW_HANDS_OUT
    or not are_for_here()
    or not any(shutil.which(name) for name in _kernels.COMPILERS),
    reason="no C++ compiler is here, or no Linux on a processor with AVX2, or an old Pillow",
)
TARGETS = [_kernels.TARGET, ("-mavx2", "-mfma")]
USUAL = Preprocessing(256, 224)


def specs_of(how: dict[str, Any]) -> list[CodeSpec]:
    return [CodeSpec("resnet18", "0" * 64, "avgpool", "avg", 512, how)]


SPECS = specs_of(USUAL.to_json())


@pytest.fixture(scope="module", params=TARGETS, ids=" ".join)
def resizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Resizer:
    path = tmp_path_factory.mktemp("resizing") / "resizing.so"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "TARGET", tuple(request.param))
        _kernels.build(RESIZING, path)
    found = open_resizer(path)
    assert found is not None
    return found


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the user's cache folder, on a machine that our operations are for."""
    monkeypatch.setattr(_kernels, "user_cache_dir", lambda: tmp_path / "user")
    monkeypatch.setattr(_open, "are_for_here", lambda: True)
    return tmp_path / "user"


@pytest.fixture(autouse=True)
def resizing_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No convolutions of our own in bf16, as where AMX multiplies faster."""
    monkeypatch.setattr(_kernels, "has_bf16_vectors_alone", lambda: False)


def noise(width: int, height: int) -> Image.Image:
    """Colours at random, with black and white areas where sums go beyond the range."""
    random = np.random.default_rng(width * 10_000 + height)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 3] = np.where(pixels[: height // 3] > 127, 255, 0)
    return Image.fromarray(pixels)


def check(resizer: Resizer, picture: Image.Image, how: Preprocessing) -> bool:
    """Compare with Pillow; False if the picture was left to it."""
    made = resizer.prepare(picture, how)
    if made is None:
        return False
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, how.prepare(picture))
    return True


@needs_compiler
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("crop", ["center", "squash", "none"])
def test_the_bytes_are_pillows(resizer: Resizer, crop: str, interpolation: str) -> None:
    random, n_own = np.random.default_rng(0), 0
    for _ in range(60):
        width, height = (int(side) for side in random.integers(1, 400, 2))
        resize = int(random.integers(1, 300))
        side = int(random.integers(1, resize + 1))
        how = Preprocessing(resize, side, crop=crop, interpolation=interpolation)
        n_own += check(resizer, noise(width, height), how)
    assert n_own > 20


@needs_compiler
@pytest.mark.parametrize("size", [(500, 375), (375, 500), (640, 480), (256, 256), (224, 224)])
def test_usual_photographs_are_ours(resizer: Resizer, size: tuple[int, int]) -> None:
    assert check(resizer, noise(*size), USUAL)
    assert check(resizer, noise(*size), Preprocessing(232, 224))
    assert check(resizer, noise(*size), Preprocessing(384, 384, interpolation="bicubic"))


@needs_compiler
@pytest.mark.parametrize(
    ("picture", "how"),
    [
        (noise(50, 40), Preprocessing(32, 28, interpolation="nearest")),
        (noise(50, 40), Preprocessing(32, 40)),  # the crop is larger than what it is cut from
        (noise(2, 800), Preprocessing(4, 4)),  # so thin that only the middle is resized
        (noise(30, 300), Preprocessing(20, 20, crop="none")),  # Pillow 13: across first
    ],
)
def test_other_cases_are_left_to_pillow(
    resizer: Resizer, picture: Image.Image, how: Preprocessing
) -> None:
    assert resizer.prepare(picture, how) is None


@needs_compiler
def test_a_large_picture_is_ours_when_it_lies_in_one_piece(resizer: Resizer) -> None:
    def large() -> Image.Image:
        return Image.linear_gradient("L").resize((2100, 2050)).convert("RGB")

    assert resizer.prepare(large(), USUAL) is None
    with pictures_in_one_piece():
        assert check(resizer, large(), USUAL)


@needs_pillow
def test_pillows_setting_comes_back_after_the_last_user() -> None:
    before = CORE.get_use_block_allocator()
    with pictures_in_one_piece():
        with pytest.raises(KeyError), pictures_in_one_piece():
            raise KeyError
        assert CORE.get_use_block_allocator() == 1
    assert CORE.get_use_block_allocator() == before


@needs_compiler
def test_threads_do_not_disturb_each_other(resizer: Resizer) -> None:
    pictures = [noise(300 + i, 280) for i in range(8)]
    wanted = [USUAL.prepare(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: resizer.prepare(pictures[i % 8], USUAL), range(64)))
    for i, made in enumerate(found):
        np.testing.assert_array_equal(made, wanted[i % 8])


def test_an_old_pillow_does_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_resize, "PILLOW_HANDS_OUT", False)
    assert Resizer(None).prepare(noise(50, 40), Preprocessing(32, 28)) is None


@needs_pillow
@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_only_rgb_is_taken(mode: str) -> None:
    assert Resizer(None).prepare(noise(50, 40).convert(mode), Preprocessing(32, 28)) is None


@needs_compiler
def test_pictures_are_freed_again(resizer: Resizer) -> None:
    """Pillow 11.2 kept each picture that it had handed out."""
    picture = noise(1000, 900)
    for _ in range(3):
        resizer.prepare(picture.copy(), USUAL)
    before = resident_mb()
    for _ in range(60):  # 216 MB
        assert resizer.prepare(picture.copy(), USUAL) is not None
    assert resident_mb() - before < 60


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@needs_pillow
def test_pillows_setting_outlives_users_that_overlap() -> None:
    before = CORE.get_use_block_allocator()
    both, is_out = threading.Barrier(2, timeout=10), threading.Event()

    def stay() -> int:
        with pictures_in_one_piece():
            both.wait()
            assert is_out.wait(10)
            return int(CORE.get_use_block_allocator())

    def leave() -> None:
        with pictures_in_one_piece():
            both.wait()
        is_out.set()

    with ThreadPoolExecutor(2) as pool:
        staying, leaving = pool.submit(stay), pool.submit(leave)
        leaving.result()
        assert staying.result() == 1
    assert CORE.get_use_block_allocator() == before


@needs_compiler
@pytest.mark.parametrize(
    ("limit", "own_limit", "item", "expected"),
    [
        (None, 90_000_000, "file", True),
        (2**29 - 1, 90_000_000, "file", True),
        (2**29, 90_000_000, "file", False),
        (None, 2**28, "file", False),
        (None, None, "file", False),
        (None, 90_000_000, "memory", False),
    ],
)
def test_pictures_lie_in_one_piece_unless_there_may_be_some_of_two_gigabytes(
    limit: int | None,
    own_limit: int | None,
    item: str,
    expected: bool,
    tmp_path: Path,
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of which one piece cannot be had."""
    _kernels.make_ready(RESIZING)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", own_limit)
    seen = []

    class Watched(TorchEngine):
        def prepare(self, picture: Image.Image) -> Any:
            seen.append(CORE.get_use_block_allocator())
            return super().prepare(picture)

    engine = Watched(load_backbone(BackboneRequest("embedded")), Means(batch_size=4))
    engine.resizer = kept_resizer()
    options, path = DecodeOptions(max_pixels=limit), str(tmp_path / "noise.png")
    noise(60, 50).save(path)
    given = path if item == "file" else noise(60, 50)
    key = row_key(content_digest(given), options)
    run = Run(str(tmp_path), engine.specs, lambda specs: engine, tmp_path / "cache", options)
    done = extract_chunk(run, [Row(key, given, "noise", (0,))])
    assert done.computed == [1]
    assert bool(seen[-1]) is expected


@needs_pillow
def test_one_piece_has_its_bounds() -> None:
    """The memory is not touched."""
    with pictures_in_one_piece():
        with pytest.raises(MemoryError):
            CORE.new("RGB", (32768, (MOST_IN_ONE_PIECE + 1) // 32768))
        CORE.new("RGB", (32768, (MOST_IN_ONE_PIECE + 1) // 32768 - 1))


@needs_compiler
@pytest.mark.parametrize(
    "wrong",
    [
        {"bilinear": 1, "bicubic": 1, "lanczos": 2},
        {"bilinear": 0, "bicubic": 1, "lanczos": 1},
        {"bilinear": 0, "bicubic": 1, "lanczos": 2, "hamming": 0},  # of which nothing is known
    ],
)
def test_what_gives_other_bytes_is_not_used(
    wrong: dict[str, int],
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _kernels.make_ready(RESIZING)
    monkeypatch.setattr(_resize, "FILTERS", wrong)
    assert kept_resizer() is None
    plan = make_plan_ready(20, SPECS, maker_of(own_folder.parent))
    assert "pictures resized by Pillow, as our own routine cannot be used here" in plan.chosen
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == [
        "pictures are resized by Pillow"
    ]


@needs_compiler
def test_another_order_of_passes_would_be_seen(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kernels.make_ready(RESIZING)

    def later(old: tuple[int, int], new: tuple[int, int]) -> bool:
        return old[1] > new[1] and old[1] - new[1] > 2.2 * (old[0] - new[0])

    monkeypatch.setattr(_resize, "_is_across_first", later)
    assert (kept_resizer() is None) is (int(PIL.__version__.partition(".")[0]) >= 13)


@needs_compiler
def test_a_damaged_file_is_not_used_until_it_is_made_anew(
    own_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _kernels.own_path(RESIZING)
    path.write_bytes(b"no library")
    assert kept_resizer() is None
    assert kept_resizer() is None
    assert caplog.text.count(f"{path} cannot be used") == 1
    path.unlink()
    _kernels.make_ready(RESIZING)
    assert kept_resizer() is not None


def test_both_libraries_have_files_of_their_own() -> None:
    assert _kernels.file_name(RESIZING) != _kernels.file_name(_kernels.WINOGRAD["float32"])


def maker_of(root: Path, **words: Any) -> EngineMaker:
    run = RunOptions(root, device="cpu", precision="bf16", n_jobs=2, **words)
    return EngineMaker(BackboneRequest("resnet18"), run, {})


def test_the_plan_weighs_pictures_and_who_decodes_them() -> None:
    def saved(n: int, device: str = "cpu", **words: Any) -> float:
        return make_plan(n, "resnet18", device, "bf16", batch_size=16, **words).resizing_saves_s

    assert 0 < saved(10) < RESIZING_S < saved(10_000, n_jobs=2)
    assert saved(10_000, n_jobs=2) > saved(10_000, n_jobs=4)
    assert saved(10_000, kernels="off") == 0
    # Beside a GPU's network: the more it waits for the decoders.
    assert saved(10_000, "cuda", n_jobs=1) > 0
    slow = make_plan(10_000, "vit_h_14", "cuda", "fp16", batch_size=16, n_jobs=16)
    assert slow.resizing_saves_s == 0
    assert make_plan(10_000, None, "cpu", "bf16", batch_size=16).resizing_saves_s == 0


@needs_compiler
def test_many_pictures_pay_for_compiling_and_the_next_run_finds_it(
    tmp_path: Path, own_folder: Path
) -> None:
    said = "pictures resized by our own routine, compiled for this processor"
    few = make_plan_ready(20, SPECS, maker_of(tmp_path))
    assert (few.make_engine, own_folder.exists()) == (None, False)
    many = make_plan_ready(20_000, SPECS, maker_of(tmp_path))
    assert said in many.chosen
    assert many.make_engine.with_resizing  # type: ignore[union-attr]
    assert many.compile_s > 0
    assert said in make_plan_ready(20, SPECS, maker_of(tmp_path)).chosen
    off = make_plan_ready(20_000, SPECS, maker_of(tmp_path, kernels="off"))
    assert said not in off.chosen


@pytest.mark.parametrize("compiler", ["false", 'c++ "', "/no/such/c++"])
def test_without_a_compiler_the_summary_says_so(
    compiler: str,
    tmp_path: Path,
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(_open, "PILLOW_HANDS_OUT", True)
    with caplog.at_level(logging.WARNING):
        plan = make_plan_ready(20_000, SPECS, maker_of(tmp_path))
    assert any(each.startswith("pictures resized by Pillow, our own") for each in plan.chosen)
    assert caplog.records == []  # the codes are the same, and nearly as soon
    assert not plan.make_engine.with_resizing  # type: ignore[union-attr]
    assert list(own_folder.glob("kernels/*")) == []


@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(256, 224, interpolation="nearest").to_json(),
        Preprocessing(200, 224).to_json(),  # padded with black
        {"function": "mine"},
    ],
)
def test_nothing_is_compiled_for_pictures_that_would_be_left_to_pillow(
    how: dict[str, Any], tmp_path: Path, own_folder: Path
) -> None:
    plan = make_plan_ready(20_000, specs_of(how), maker_of(tmp_path))
    assert plan.make_engine is None
    assert not any("resized" in each for each in plan.chosen)
    assert not own_folder.exists()
    assert not suits(how)


@pytest.mark.parametrize("change", ["processor", "pillow"])
def test_other_machines_do_without(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if change == "processor":
        monkeypatch.setattr(_kernels, "cpu_flags", lambda: {"fma", "avx"})
    else:
        monkeypatch.setattr(_open, "PILLOW_HANDS_OUT", False)
    plan = make_plan_ready(20_000, SPECS, maker_of(tmp_path))
    assert plan.make_engine is None
    assert not any("resized" in each for each in plan.chosen)


@needs_compiler
def test_on_a_cluster_workers_take_their_own(
    tmp_path: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_open, "cluster_size", lambda: 2)
    plan = make_plan_ready(2000, SPECS, maker_of(tmp_path))
    assert plan.make_engine.with_resizing  # type: ignore[union-attr]
    assert not own_folder.exists()


@needs_compiler
def test_an_engine_prepares_the_same_with_and_without(own_folder: Path) -> None:
    _kernels.make_ready(RESIZING)
    request = BackboneRequest("embedded")
    run = RunOptions(device="cpu", precision="float32")
    engine = open_engine(request, run, with_resizing=True)
    assert engine.resizer is not None
    pictures = [noise(70, 50), noise(50, 70), noise(3, 900)]
    assert engine.resizer.prepare(pictures[0], engine.backbone.preprocessing) is not None
    found = [engine.prepare(picture) for picture in pictures]
    assert open_engine(request, run).resizer is engine.resizer
    assert open_engine(request, run, with_resizing=False).resizer is None
    for picture, made in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(made, engine.backbone.preprocessing.prepare(picture))


def counted(call: Callable[..., Any], given: list[bool]) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        made = call(*arguments)
        given.append(made is not None)
        return made

    return wrapped


@needs_compiler
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_codes_are_bit_for_bit_those_of_pillow(
    n_jobs: int, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    _kernels.make_ready(RESIZING)
    assert kept_resizer() is not None
    given: list[bool] = []
    monkeypatch.setattr(Resizer, "prepare", counted(Resizer.prepare, given))
    words: dict[str, Any] = {"device": "cpu", "precision": "float32", "batch_size": 4}
    words["n_jobs"] = n_jobs
    own = CNNCodes("embedded", cache=tmp_path / "own", **words)
    usual = CNNCodes("embedded", cache=tmp_path / "usual", kernels="off", **words)
    end_workers()  # new ones see where the user's folder is now
    try:
        done = own.extract(folder)
        assert any("our own routine" in said for said in done.chosen)
        assert done.kernels == ("resizing",)
        if n_jobs == 1:
            assert given
            assert all(given)
        else:
            assert any(ask_workers(2, has_opened_resizer))  # one may have had no work
        without = usual.extract(folder)
        assert (without.computed, without.kernels) == (36, ())
        assert "kernels off, as asked: no operations of our own" in without.chosen
        found, wanted = own.transform(folder), usual.transform(folder)
    finally:
        end_workers()
    np.testing.assert_array_equal(found, wanted)


def has_opened_resizer() -> bool:
    return any(_resize._opened.values())


def test_words_for_the_compiler_keep_products_apart() -> None:
    """Weights are rounded as Pillow's are."""
    flags: Sequence[str] = _kernels._flags(RESIZING)
    assert "-ffp-contract=off" in flags
    assert "-ffp-contract=fast" not in flags
