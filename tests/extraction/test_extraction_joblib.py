"""What joblib does not document is there, and work goes on where it has gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import process
from importlib import import_module
from operator import attrgetter

import joblib
import pytest

from tlfeatures.extraction.chunks import _joblib
from tlfeatures.extraction.chunks._map import ask_workers, cluster_size, end_workers, local_jobs

PRIVATE = [
    ("joblib._parallel_backends", "LokyBackend", "workers outlive a killed run"),
    ("joblib._parallel_backends", "LokyBackend.configure", "workers outlive a killed run"),
    (
        "joblib._parallel_backends",
        "LokyBackend._prepare_worker_env",
        "a file of the working folder may stand in for a library in workers",
    ),
    ("joblib.parallel", "get_active_backend", "`joblib.parallel_config` is not heard"),
    ("joblib.externals.loky", "get_reusable_executor", "a command waits for its workers to end"),
    (
        "joblib.externals.loky.process_executor",
        "_MAX_MEMORY_LEAK_SIZE",
        "workers with a large network are ended as leaking",
    ),
    ("multiprocessing.resource_tracker", "ensure_running", "no workers are started"),
]


@pytest.fixture
def ended() -> Iterator[None]:
    end_workers()
    yield
    end_workers()


@pytest.mark.parametrize(("module", "name", "otherwise"), PRIVATE)
def test_each_private_name_is_there(module: str, name: str, otherwise: str) -> None:
    try:
        attrgetter(name)(import_module(module))
    except (ImportError, AttributeError):
        pytest.fail(f"joblib {joblib.__version__} has no {module}.{name} any more: {otherwise}")


def test_what_loky_says_of_killed_workers_is_an_error_of_the_standard_library() -> None:
    said = import_module("joblib.externals.loky.process_executor").TerminatedWorkerError
    assert issubclass(said, process.BrokenProcessPool), "killed workers are not noticed any more"


@pytest.mark.usefixtures("ended")
def test_a_process_of_the_pool_knows_that_it_is_one() -> None:
    assert ask_workers(2, _joblib.is_pool_process) == [True, True], "LokyProcess has another name"
    assert not _joblib.is_pool_process()


@pytest.mark.usefixtures("ended")
def test_without_the_private_backend_joblibs_own_pool_does_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_joblib, "LokyBackend", None)
    found = ask_workers(2, os.getpid)
    assert len(found) == 2
    assert os.getpid() not in found


def test_without_private_names_work_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_joblib, "find_private", lambda *_: None)
    with joblib.parallel_config("threading", n_jobs=2):
        assert (cluster_size(), local_jobs()) == (0, None)
    _joblib.end_pool()


def test_a_name_or_module_that_has_gone_is_none() -> None:
    assert _joblib.find_private("joblib", "no_such_name") is None
    assert _joblib.find_private("joblib.no_such_module", "name") is None
