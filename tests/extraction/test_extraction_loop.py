"""The loop over batches, with an engine of ten lines and no torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlfeatures.errors import StoreError
from tlfeatures.extraction import Progress, _extract, _look_up, extract_codes
from tlfeatures.extraction.chunks import _batch, _chunk
from tlfeatures.extraction.chunks._chunk import iter_ahead
from tlfeatures.extraction.planning._plan import Plan
from tlfeatures.pictures import DecodeOptions, Pictures, content_digest, row_key
from tlfeatures.store import CodeCache, CodeSpec, ShardWriter


class FakeEngine:
    """Codes are mean colours; counts its calls."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.specs = (CodeSpec("fake", "0" * 64, "mean", "avg", 3, {"side": 4}),)
        self.batch_size, self.device, self.made_with = 4, "cpu", {"fake": "1"}
        self.shapes: list[tuple[int, ...]] = []
        self.stop_at = stop_at

    def prepare(self, picture: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.asarray(picture.resize((4, 4)))

    def codes(self, batch: np.ndarray[Any, Any]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        self.shapes.append(batch.shape)
        if len(self.shapes) == self.stop_at:
            raise KeyboardInterrupt
        return [batch.astype(np.float32).mean((1, 2))]


def grey(value: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (value, value, value))


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    found = []
    for i in range(10):
        grey(10 * i).save(tmp_path / f"{i}.png")
        found.append(str(tmp_path / f"{i}.png"))
    return found


def run(pictures: Pictures, cache: Path, engine: FakeEngine | None = None, **more: Any) -> Any:
    engine = engine or FakeEngine()
    return extract_codes(pictures, engine.specs, lambda _: engine, cache=cache, **more)[0]


def test_every_batch_has_the_fixed_size_and_there_are_ceil_n_over_size(
    paths: list[str], tmp_path: Path
) -> None:
    engine = FakeEngine()
    done = run(Pictures(paths), tmp_path / "c", engine)
    assert engine.shapes == [(3, 4, 4, 3), *[(4, 4, 4, 3)] * 3]  # the probes come first
    np.testing.assert_array_equal(np.asarray(done.codes)[:, 0], np.arange(10) * 10)


def test_a_second_run_needs_no_engine(paths: list[str], tmp_path: Path) -> None:
    run(Pictures(paths), tmp_path / "c")

    def never(_: object) -> FakeEngine:
        raise AssertionError("nothing was to be computed")

    specs = FakeEngine().specs
    done = extract_codes(Pictures(paths), specs, never, cache=tmp_path / "c")[0]
    assert (done.given, done.computed, done.cached) == (10, 0, 10)


@pytest.mark.parametrize("bad_rows", [[0], [5], [9], [0, 1, 2, 3], list(range(10))])
def test_bad_pictures_are_named_and_the_others_keep_their_labels(
    paths: list[str], tmp_path: Path, bad_rows: list[int]
) -> None:
    for i in bad_rows:
        Path(paths[i]).write_bytes(b"text %d" % i)
    labels, groups = [f"label {i}" for i in range(10)], [f"group {i}" for i in range(10)]
    done = run(Pictures(paths, labels, groups=groups), tmp_path / "c")
    assert [path for path, _ in done.bad] == [paths[i] for i in bad_rows]
    assert done.given == done.computed + done.cached + len(done.bad)
    kept = [i for i in range(10) if i not in bad_rows]
    assert list(done.codes.labels or []) == [labels[i] for i in kept]
    assert done.pictures.paths == [paths[i] for i in kept]
    assert done.pictures.groups.tolist() == [groups[i] for i in kept]
    assert np.asarray(done.codes)[:, 0].tolist() == [10.0 * i for i in kept]


def test_a_picture_without_numbers_is_a_bad_one_and_ends_nothing(
    paths: list[str], tmp_path: Path
) -> None:
    """As 0/0 of a picture of one colour, in a network or a preprocessing of one's own."""

    class Divides(FakeEngine):
        def codes(self, batch: Any) -> Any:
            (made,) = super().codes(batch)
            made[made[:, 0] == 50] = np.nan
            return [made]

    done = run(Pictures(paths), tmp_path / "c", Divides())
    assert [path for path, _ in done.bad] == [paths[5]]
    assert done.bad[0][1].startswith("the network gives NaN or infinity for it")
    assert (done.given, done.computed, done.cached) == (10, 9, 0)
    again = run(Pictures(paths), tmp_path / "c")  # another engine may do better: it is tried anew
    assert (again.computed, again.cached, again.bad) == (1, 9, [])


def test_probes_are_written_again_in_later_chunks_too(paths: list[str], tmp_path: Path) -> None:
    engine = FakeEngine()
    (spec,) = engine.specs
    job = _chunk.Run(
        token="one", cache=tmp_path / "c", specs=engine.specs, make_engine=lambda _: engine,
        options=DecodeOptions(), n_threads=1,
    )  # fmt: skip
    rows = [
        _chunk.Row(row_key(content_digest(path), DecodeOptions()), path, path, (0,))
        for path in paths
    ]
    _chunk.extract_chunk(job, rows[:5])
    shutil.rmtree(CodeCache(tmp_path / "c", spec).folder)
    _chunk.extract_chunk(job, rows[5:])
    assert CodeCache(tmp_path / "c", spec).read_probes() is not None
    _chunk.forget_engine(job)


def test_digests_found_before_a_kill_are_known_afterwards(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlfeatures.store.memory._file_memo._FRESH_NS", -(10**18))
    digest, seen = _look_up.content_digest, []

    def stops(item: Any) -> bytes:
        seen.append(item)
        if item == paths[7]:
            raise KeyboardInterrupt
        return digest(item)

    monkeypatch.setattr(_look_up, "content_digest", stops)
    monkeypatch.setattr(_look_up, "HASHERS", 1)
    with pytest.raises(KeyboardInterrupt):
        run(Pictures(paths), tmp_path / "c")
    seen.clear()
    paths_then, paths[7] = list(paths), paths[0]  # nothing stops this time
    monkeypatch.setattr(_look_up, "REMEMBER_EVERY_S", 0.0)
    run(Pictures(paths_then[:7] + paths_then[8:]), tmp_path / "c")
    assert seen == paths_then[8:]


def test_copies_are_computed_once_and_counted_as_cached(paths: list[str], tmp_path: Path) -> None:
    done = run(Pictures([paths[1], paths[1], paths[2], paths[1]]), tmp_path / "c")
    assert (done.computed, done.cached) == (2, 2)
    assert np.asarray(done.codes)[:, 0].tolist() == [10, 10, 20, 10]


def test_an_interrupted_run_keeps_its_rows_and_the_next_one_goes_on(
    paths: list[str], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Pictures(paths), tmp_path / "c", FakeEngine(stop_at=4))
    done = run(Pictures(paths), tmp_path / "c")
    assert (done.computed, done.cached) == (2, 8)


def test_pictures_in_memory_are_coded_and_not_changed(tmp_path: Path) -> None:
    array, picture = np.full((8, 8, 3), 7, np.uint8), grey(30)
    done = run(Pictures([array, picture]), tmp_path / "c")
    assert np.asarray(done.codes)[:, 0].tolist() == [7, 30]
    assert (array == 7).all()
    assert picture.size == (8, 8)


def test_a_missing_file_is_a_bad_picture_with_the_systems_reason(tmp_path: Path) -> None:
    done = run(Pictures([str(tmp_path / "no.png")]), tmp_path / "c")
    assert "No such file" in done.bad[0][1]
    assert not len(done.pictures)


def test_progress_ends_at_the_total_with_a_rate(paths: list[str], tmp_path: Path) -> None:
    heard: list[Progress] = []
    run(Pictures(paths), tmp_path / "c", progress=heard.append)
    assert [p.done for p in heard] == [4, 8, 10]
    assert heard[-1].seconds_left == 0
    assert heard[0].images_per_s > 0


@pytest.mark.parametrize("bad_rows", [[8, 9], [9], list(range(10)), [0, 3]])
def test_progress_ends_at_the_total_though_the_last_pictures_are_bad(
    paths: list[str], tmp_path: Path, bad_rows: list[int]
) -> None:
    for i in bad_rows:
        Path(paths[i]).write_bytes(b"text %d" % i)
    heard: list[Progress] = []
    run(Pictures(paths), tmp_path / "c", progress=heard.append)
    done = [p.done for p in heard]
    assert done == sorted(set(done))
    assert done[-1] == heard[-1].total == 10


def in_threads(n: int, specs: Any) -> Plan:
    """This process, with threads that decode and write."""
    return Plan(n_threads=2, batch_size=4, most=n)


class Clock:
    """Stands in for the module `time`: nothing takes time but what is said to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter

    def taking(self, seconds: float, call: Any) -> Any:
        def slow(*arguments: Any) -> Any:
            self.now += seconds
            return call(*arguments)

        return slow


def test_the_rate_and_what_was_waited_for_are_the_clocks(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine pictures of 2 s each and a bad one, three batches of 5 s, each written in 1 s."""
    clock, engine = Clock(), FakeEngine()
    for module in (_chunk, _extract, _look_up):
        monkeypatch.setattr(module, "time", clock)
    engine.prepare = clock.taking(2, engine.prepare)  # type: ignore[method-assign]
    engine.codes = clock.taking(5, engine.codes)  # type: ignore[method-assign]
    monkeypatch.setattr(ShardWriter, "append", clock.taking(1, ShardWriter.append))
    Path(paths[3]).write_bytes(b"text")
    began = clock.now - 4  # opening the network, say
    done = run(Pictures(paths), tmp_path / "c", engine, plan_for=alone, began=began)
    assert done.wait == {"decode": 9 * 2, "network": 3 * 5, "write": 3 * 1}
    assert done.seconds["extract"] == 18 + 15 + 3
    assert done.seconds["start"] == 4 + 3 * 2 + 5  # the probes
    assert done.seconds["total"] == 4 + 3 * 2 + 5 + 18 + 15 + 3
    assert done.images_per_s == 9 / 36


def alone(n: int, specs: Any) -> Plan:
    """This process, in one thread."""
    return Plan(n_threads=1, batch_size=4, most=n)


@pytest.mark.parametrize("is_short", [False, True])
def test_batches_for_a_gpu_lie_in_pinned_memory_as_far_as_there_is_some(
    is_short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    pinned = []

    def pin(self: torch.Tensor) -> torch.Tensor:
        if is_short:
            raise RuntimeError("CUDA error: out of memory")
        pinned.append(self.shape)
        return self

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    engine = FakeEngine()
    pixels = [np.full((4, 4, 3), i, np.uint8) for i in range(3)]
    assert isinstance(_batch.stack_padded(engine, pixels), np.ndarray)
    engine.device = "cuda"
    batch = _batch.stack_padded(engine, pixels)
    assert batch[:, 0, 0, 0].tolist() == [0, 1, 2, 2]
    assert pinned == [] if is_short else [(4, 4, 4, 3)]


def test_the_network_goes_on_while_rows_are_written(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the last ones no rows are written before the network has been asked again."""
    asked_again = threading.Semaphore(0)
    written: list[int] = []
    append = ShardWriter.append

    class Asked(FakeEngine):
        def codes(self, batch: Any) -> Any:
            if len(self.shapes) >= 2:  # the probes and the first batch
                asked_again.release()
            return super().codes(batch)

    def wait_and_append(self: ShardWriter, keys: Any, codes: Any) -> None:
        is_last = sum(written) + len(keys) == len(paths)
        assert is_last or asked_again.acquire(timeout=10)
        written.append(len(keys))
        append(self, keys, codes)

    monkeypatch.setattr(ShardWriter, "append", wait_and_append)
    done = run(Pictures(paths), tmp_path / "c", Asked(), plan_for=in_threads)
    assert (done.computed, written) == (10, [4, 4, 2])
    np.testing.assert_array_equal(np.asarray(done.codes)[:, 0], np.arange(10) * 10)


def test_the_next_batch_is_gathered_while_the_network_works(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network gets no batch but the last one done before the batch after it is stacked."""
    stacked, stack_padded = threading.Semaphore(0), _chunk.stack_padded
    due = iter([0, 2, 1, 0])  # batches stacked since the last call: of the probes, three batches

    def stack_and_say(*arguments: Any) -> Any:
        made = stack_padded(*arguments)
        stacked.release()
        return made

    class Waits(FakeEngine):
        def codes(self, batch: Any) -> Any:
            assert all(stacked.acquire(timeout=10) for _ in range(next(due)))
            return super().codes(batch)

    monkeypatch.setattr(_chunk, "stack_padded", stack_and_say)
    done = run(Pictures(paths), tmp_path / "c", Waits(), plan_for=in_threads)
    assert done.computed == 10
    np.testing.assert_array_equal(np.asarray(done.codes)[:, 0], np.arange(10) * 10)


def test_what_fails_in_the_network_ends_the_run_and_keeps_what_is_done(
    paths: list[str], tmp_path: Path
) -> None:
    class Fails(FakeEngine):
        def codes(self, batch: Any) -> Any:
            if len(self.shapes) == 3:  # the probes and two batches
                raise StoreError("no more")
            return super().codes(batch)

    with pytest.raises(StoreError, match="no more"):
        run(Pictures(paths), tmp_path / "c", Fails(), plan_for=in_threads)
    assert run(Pictures(paths), tmp_path / "c").cached == 8


def test_what_fails_in_writing_ends_the_run(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(ShardWriter, "append", fail)
    with pytest.raises(StoreError, match="the disk is full"):
        run(Pictures(paths), tmp_path / "c", plan_for=in_threads)


def test_work_never_runs_further_ahead_than_allowed() -> None:
    begun: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        for i, value in enumerate(iter_ahead(pool, lambda x: begun.append(x) or x, range(50), 5)):
            assert value == i
            assert len(begun) <= i + 5


def test_a_cached_run_imports_neither_torch_nor_scikit_learn(folder: Path, cache: Path) -> None:
    code = (
        "import sys\n"
        "from tlfeatures.backbones import BackboneRequest\n"
        "from tlfeatures.extraction import RunOptions, extract\n"
        "from tlfeatures.pictures import load_pictures\n"
        f"run = RunOptions(cache={str(cache)!r})\n"
        f"done = extract(load_pictures({str(folder)!r}), BackboneRequest('embedded'), run)\n"
        "print(done.computed, 'torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    for _ in range(2):
        words = [sys.executable, "-c", code]
        answer = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert answer.split() == ["0", "False", "False"]
