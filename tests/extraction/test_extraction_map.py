"""The map over chunks: in worker processes, on a cluster, with workers that are killed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
from PIL import Image

from tlfeatures import CNNCodes, load_pictures
from tlfeatures.backbones import BackboneRequest
from tlfeatures.errors import CodesMismatchError, ExtractionError, StoreError
from tlfeatures.extraction import Progress, RunOptions, extract, extract_codes
from tlfeatures.extraction.chunks import _map
from tlfeatures.extraction.chunks._map import ask_workers, chunk_sizes, cluster_size, end_workers
from tlfeatures.extraction.chunks._values import Run
from tlfeatures.extraction.chunks._worker import REST_S, do_chunk, errand_of
from tlfeatures.extraction.planning._plan import Plan
from tlfeatures.pictures import DecodeOptions, Pictures
from tlfeatures.store import CodeSpec, relative_difference, tolerance, verify_cache

SPEC = CodeSpec("fake", "0" * 64, "mean", "avg", 3, {"side": 4})


class Mean:
    """Codes are mean colours; a process with a picture of `deadly` kills itself, so many times."""

    def __init__(self, marks: Path | None = None, deadly: int = -1, times: int = 1) -> None:
        self.batch_size, self.device, self.made_with = 4, "cpu", {"fake": "1"}
        self.marks, self.deadly, self.times = marks, deadly, times

    def prepare(self, picture: Image.Image) -> Any:
        return np.asarray(picture.resize((4, 4)))

    def codes(self, batch: Any) -> list[Any]:
        if self.marks is not None and (batch == self.deadly).all((1, 2, 3)).any():
            deaths = len(list(self.marks.iterdir()))
            if deaths < self.times:
                (self.marks / f"{deaths}-{os.getpid()}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return [batch.astype(np.float32).mean((1, 2))]


class Maker:
    """Makes the same engine in any process."""

    def __init__(self, **words: Any) -> None:
        self.words = words

    def __call__(self, specs: Sequence[CodeSpec]) -> Mean:
        assert list(specs) == [SPEC]
        return Mean(**self.words)


def two_workers(n: int, specs: Sequence[CodeSpec]) -> Plan:
    return Plan(n_workers=2, is_mapped=True, batch_size=4, most=8)


@pytest.fixture
def greys(tmp_path: Path) -> Pictures:
    """Forty pictures of one grey value each, with one that is bad and one copy."""
    (tmp_path / "p").mkdir()
    paths = []
    for i in range(40):
        path = tmp_path / "p" / f"{i:02}.png"
        Image.new("RGB", (8, 8), (i, i, i)).save(path)
        paths.append(str(path))
    Path(paths[7]).write_bytes(b"no picture")
    return Pictures([*paths, paths[3]])


def check(done: Any) -> None:
    assert (done.given, done.computed, done.cached, len(done.bad)) == (41, 39, 1, 1)
    expected = [*(i for i in range(40) if i != 7), 3]
    assert np.asarray(done.codes)[:, 0].tolist() == expected


def test_workers_give_what_one_process_gives(greys: Pictures, tmp_path: Path) -> None:
    heard: list[Progress] = []
    done = extract_codes(
        greys, [SPEC], Maker(), cache=tmp_path / "c", plan_for=two_workers, progress=heard.append
    )[0]
    check(done)
    assert done.n_jobs == 2
    assert [p.done for p in heard] == sorted(p.done for p in heard)
    assert heard[-1].done == heard[-1].total == 40
    assert done.bad[0][1] == "not a picture in a known format"
    again = extract_codes(greys, [SPEC], Maker(), cache=tmp_path / "c", plan_for=two_workers)[0]
    assert (again.computed, again.remembered) == (0, 1)
    assert not verify_cache(tmp_path / "c").problems


def test_a_killed_worker_loses_nothing(
    greys: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "marks").mkdir()
    maker = Maker(marks=tmp_path / "marks", deadly=20)
    done = extract_codes(greys, [SPEC], maker, cache=tmp_path / "c", plan_for=two_workers)[0]
    assert len(list((tmp_path / "marks").iterdir())) == 1
    assert "a worker process was killed" in caplog.text
    assert np.asarray(done.codes)[:, 0].tolist() == [*(i for i in range(40) if i != 7), 3]
    assert not verify_cache(tmp_path / "c").problems


def test_workers_killed_again_and_again_end_the_run_and_keep_its_rows(
    greys: Pictures, tmp_path: Path
) -> None:
    (tmp_path / "marks").mkdir()
    maker = Maker(marks=tmp_path / "marks", deadly=38, times=9)
    with pytest.raises(ExtractionError, match=r"were killed.*`n_jobs=1`"):
        extract_codes(greys, [SPEC], maker, cache=tmp_path / "c", plan_for=two_workers)
    done = extract_codes(greys, [SPEC], Maker(), cache=tmp_path / "c")[0]
    assert done.cached >= 24
    assert np.asarray(done.codes)[:, 0].tolist() == [*(i for i in range(40) if i != 7), 3]


class Dying:
    """Does one thing, then says what a pool says whose worker was killed."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, jobs: Any) -> Any:
        (i, _, _) = next(iter(jobs))[1]
        yield i, i
        raise self.error


def test_workers_killed_now_and_then_do_not_end_a_long_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = contextlib.nullcontext(Dying(BrokenProcessPool()))
    monkeypatch.setattr(_map, "_workers", lambda n: pool)
    waiting: Any = dict.fromkeys(range(9))
    errand: Any = None
    assert list(_map._map_again(errand, waiting, 2)) == list(range(9))
    assert len(caplog.records) == 9


def test_what_dask_says_of_killed_workers_is_said_in_our_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    KilledWorker = type("KilledWorker", (Exception,), {})
    pool = contextlib.nullcontext(Dying(KilledWorker()))
    monkeypatch.setattr(_map, "_workers", lambda n: pool)
    waiting: Any = dict.fromkeys(range(9))
    errand: Any = None
    with pytest.raises(ExtractionError, match=r"cluster were killed.*more memory for each"):
        list(_map._map_again(errand, waiting, 2))


def test_what_a_worker_refuses_is_refused_here(greys: Pictures, tmp_path: Path) -> None:
    extract_codes(greys[:4], [SPEC], Maker(), cache=tmp_path / "c")

    class Other(Mean):
        def codes(self, batch: Any) -> list[Any]:
            return [codes + 50 for codes in super().codes(batch)]

    with pytest.raises(CodesMismatchError, match="other codes of the probe pictures"):
        extract_codes(greys, [SPEC], lambda _: Other(), cache=tmp_path / "c", plan_for=two_workers)


class Talkative(Maker):
    """Logs and warns when it is opened, once in each process."""

    def __call__(self, specs: Sequence[CodeSpec]) -> Mean:
        talk("soon")
        return super().__call__(specs)


def talk(when: str) -> int:
    logging.getLogger("tlfeatures.backbones").warning("a note about %s", "weights")
    logging.getLogger("tlfeatures.extraction").info("a detail")
    warnings.warn(f"changes {when}", FutureWarning, stacklevel=1)
    return os.getpid()


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    return sorted((r.name, r.levelname, r.getMessage()) for r in caplog.records)


def what_is_said(when: str) -> list[tuple[str, str, str]]:
    return [
        ("tlfeatures", "WARNING", f"FutureWarning: changes {when}"),
        ("tlfeatures.backbones", "WARNING", "a note about weights"),
        ("tlfeatures.extraction", "INFO", "a detail"),
    ]


def test_what_workers_log_is_logged_here_once(
    greys: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="tlfeatures"):
        extract_codes(greys, [SPEC], Talkative(), cache=tmp_path / "c", plan_for=two_workers)
    assert said(caplog) == what_is_said("soon")


def test_what_workers_log_when_they_are_asked_is_logged_here_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="tlfeatures"):
        assert os.getpid() not in ask_workers(2, partial(talk, "later"))
    assert said(caplog) == what_is_said("later")


def test_workers_that_are_ended_are_gone_and_others_take_their_place() -> None:
    before = set(ask_workers(2, os.getpid))
    end_workers()
    assert not any(is_running(pid) for pid in before)
    assert not before & set(ask_workers(2, os.getpid))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_quiet_silences_the_workers_too(folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    import tlfeatures.backbones

    own = Path(tlfeatures.backbones.__file__).parent / "embedded.safetensors"
    state = {k: v for k, v in load_file(own).items() if not k.startswith("fc.")}
    save_file(state, tmp_path / "headless.safetensors")
    words = ["extract", folder, "--backbone", "embedded", "--cache", tmp_path / "c", "--jobs", "2"]
    words += ["--weights", tmp_path / "headless.safetensors"]
    command = [sys.executable, "-m", "tlfeatures", *map(str, words)]
    quiet, loud = (
        subprocess.run([*command, *more], capture_output=True, text=True, check=True).stderr
        for more in (["--quiet"], ["--exif", "off"])
    )
    assert quiet == ""
    assert loud.count("it has no classifier") == 1
    assert "note: " in next(line for line in loud.splitlines() if "no classifier" in line)


class Heavy(Maker):
    """Makes engines of 200 MB; says in a file what its process has in memory then."""

    def __call__(self, specs: Sequence[CodeSpec]) -> Mean:
        engine = Mean()
        engine.weights = np.ones(25_000_000)  # type: ignore[attr-defined]
        pid = str(os.getpid())
        (self.words["marks"] / pid).write_text(str(resident(pid)))
        return engine


def resident(pid: str) -> float:
    """Memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_workers_stay_but_let_go_of_their_engines_when_a_run_is_over(
    greys: Pictures, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    more = {"plan_for": two_workers, "cache": tmp_path / "c"}
    extract_codes(greys[:20], [SPEC], Heavy(marks=marks), **more)
    time.sleep(1.5 * REST_S)
    for mark in marks.iterdir():
        assert resident(mark.name) < float(mark.read_text()) - 150
    extract_codes(greys, [SPEC], Heavy(marks=marks), **more)
    assert len(list(marks.iterdir())) <= 2  # no process was started anew


class Large(Maker):
    """Of four megabytes; leaves a mark wherever it is unpacked."""

    def __init__(self, marks: Path) -> None:
        super().__init__()
        self.marks, self.weights = marks, np.random.default_rng(0).random(500_000)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        (self.marks / f"{os.getpid()}-{time.time_ns()}").touch()


def test_a_network_is_sent_once_to_each_worker_not_with_every_chunk(
    greys: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks, sizes = tmp_path / "marks", []
    marks.mkdir()
    send = _map.delayed

    def weigh(function: Any) -> Any:
        def call(*given: Any) -> Any:
            sizes.append(len(cloudpickle.dumps(given)))
            return send(function)(*given)

        return call

    monkeypatch.setattr(_map, "delayed", weigh)
    extract_codes(greys, [SPEC], Large(marks), cache=tmp_path / "c", plan_for=two_workers)
    pids = [path.name.partition("-")[0] for path in marks.iterdir()]
    assert len(pids) == len(set(pids)) <= 2 < len(sizes)
    assert max(sizes) < 10_000
    assert not [path for path in (tmp_path / "c").iterdir() if path.suffix == ".run"]


class Hostile:
    """What unpickling it does is seen."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_what_others_lay_down_for_workers_is_not_unpickled(tmp_path: Path) -> None:
    run = Run("token", (SPEC,), Maker(), tmp_path / "c", DecodeOptions())
    with errand_of(run) as errand:
        errand.path.write_bytes(cloudpickle.dumps(Hostile(tmp_path / "mark")))
        with pytest.raises(StoreError, match="not what this run has written"):
            do_chunk(0, errand, [])
    assert not (tmp_path / "mark").exists()


def test_what_a_worker_is_sent_must_be_what_was_written(tmp_path: Path) -> None:
    run = Run("token", (SPEC,), Maker(), tmp_path / "c", DecodeOptions())
    with errand_of(run) as errand:
        errand.path.write_bytes(errand.path.read_bytes() + b"more")
        with pytest.raises(StoreError, match="not what this run has written"):
            do_chunk(0, errand, [])
    with pytest.raises(StoreError, match="under this path by all machines"):
        do_chunk(0, errand, [])


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    """A local cluster of two worker processes."""
    distributed = pytest.importorskip("distributed", reason="needs the extra 'distributed'")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(tmp_path),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_dask_cluster_runs_the_same_function_and_a_killed_worker_loses_nothing(
    greys: Pictures, tmp_path: Path, client: Any
) -> None:
    (tmp_path / "marks").mkdir()
    maker = Maker(marks=tmp_path / "marks", deadly=20)
    pids = set(client.run(os.getpid).values())
    with joblib.parallel_config(backend="dask"):
        assert cluster_size() == 2
        done = extract_codes(greys, [SPEC], maker, cache=tmp_path / "c", plan_for=two_workers)[0]
    assert len(list((tmp_path / "marks").iterdir())) == 1
    assert np.asarray(done.codes)[:, 0].tolist() == [*(i for i in range(40) if i != 7), 3]
    assert not verify_cache(tmp_path / "c").problems
    pid = int(next((tmp_path / "marks").iterdir()).name.partition("-")[2])
    assert pid in pids
    assert pid not in client.run(os.getpid).values()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_dask_cluster_runs_a_real_network(folder: Path, tmp_path: Path, client: Any) -> None:
    pictures = load_pictures(folder)
    with joblib.parallel_config(backend="dask"):
        far = CNNCodes("embedded", cache=tmp_path / "far").extract(pictures)
    here = CNNCodes("embedded", cache=tmp_path / "here").extract(pictures)
    assert (far.computed, far.n_jobs, here.n_jobs) == (36, 2, 1)
    assert "joblib's backend" in " ".join(far.chosen)
    precision = far.codes.spec.precision
    allowed = 1e-5 if precision == "float32" else tolerance(precision)
    assert relative_difference(np.asarray(far.codes), np.asarray(here.codes)) < allowed


def test_processes_that_were_asked_for_give_the_codes_of_one(folder: Path, tmp_path: Path) -> None:
    pictures, request = load_pictures(folder), BackboneRequest("embedded")
    one, two = (
        extract(pictures, request, RunOptions(tmp_path / str(n), precision="float32", n_jobs=n))
        for n in (1, 2)
    )
    assert (one.n_jobs, two.n_jobs, two.computed) == (1, 2, 36)
    assert relative_difference(np.asarray(two.codes), np.asarray(one.codes)) < 1e-5


def test_all_cores_are_asked_for_with_minus_one(folder: Path, tmp_path: Path) -> None:
    done = CNNCodes("embedded", n_jobs=-1, batch_size=4, cache=tmp_path).extract(folder)
    assert done.computed == 36
    assert done.n_jobs == min(9, joblib.cpu_count())


@pytest.mark.parametrize("n", [1, 15, 16, 17, 500, 2000, 100_000])
@pytest.mark.parametrize("n_workers", [1, 2, 64])
def test_chunks_add_up_shrink_and_are_whole_batches(n: int, n_workers: int) -> None:
    sizes = chunk_sizes(n, n_workers, batch_size=16, most=160)
    assert sum(sizes) == n
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) <= 160
    assert all(size % 16 == 0 for size in sizes[:-1])
    if n > 500 * n_workers:
        assert sizes[-2] <= 32  # the workers end within two batches of each other


def test_relative_paths_are_those_of_the_caller_whatever_the_workers_folder(
    greys: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):  # the second time the workers are still in the first folder
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        for i in range(12):
            Image.new("RGB", (8, 8), (i + 50 * (name == "b"),) * 3).save(f"{i}.png")
        pictures = Pictures([f"{i}.png" for i in range(12)])
        done = extract_codes(pictures, [SPEC], Maker(), cache="c", plan_for=two_workers)[0]
        assert done.computed == 12
        assert np.asarray(done.codes)[0, 0] == 50 * (name == "b")


def test_pictures_in_memory_keep_their_orientation_on_the_way_to_a_worker(tmp_path: Path) -> None:
    y, x = np.mgrid[:8, :8].astype(np.uint8)
    picture = Image.fromarray(np.stack([x * 9, y * 9, x], 2))
    picture.getexif()[0x0112] = 6

    class Corner(Mean):
        def codes(self, batch: Any) -> list[Any]:
            return [batch[:, 0, 0].astype(np.float32)]

    one, two = (
        extract_codes(
            Pictures([picture] * 1), [SPEC], lambda _: Corner(), cache=tmp_path / name, **more
        )[0]
        for name, more in (("1", {}), ("2", {"plan_for": two_workers}))
    )
    np.testing.assert_array_equal(np.asarray(one.codes), np.asarray(two.codes))
    assert one.codes.keys == two.codes.keys


def test_a_network_that_knows_only_float32_is_told_so_or_run_in_it(
    folder: Path, tmp_path: Path
) -> None:
    import torch
    from torch import nn

    from tlfeatures.errors import UsageError

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.from_numpy(self.conv(x).detach().numpy() * 2))

    words = {"backbone": Own(), "preprocess": "imagenet", "input_size": 32, "layer": "last"}
    found = CNNCodes(**words, cache=tmp_path).extract(folder)
    assert found.codes.spec.precision == "float32"
    assert found.computed == 36
    with pytest.raises(UsageError, match="use `precision='float32'`"):
        CNNCodes(**words, precision="bf16", cache=tmp_path).extract(folder)
