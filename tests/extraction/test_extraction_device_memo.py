"""Where a GPU may be, a cached run trusts what an earlier one found; one that computes does not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlfeatures import CNNCodes, backbones, load_pictures
from tlfeatures import machine as _machine
from tlfeatures.backbones import BackboneRequest
from tlfeatures.extraction import RunOptions, _resolve, extract, resolve
from tlfeatures.extraction.planning import _options
from tlfeatures.store import AnswerMemo, SpecMemo, cache_info

EMBEDDED = BackboneRequest("embedded")


@pytest.fixture(autouse=True)
def signs_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is everywhere passes for a driver's, so that torch must be asked."""
    monkeypatch.setattr(_machine, "GPU_SIGNS", (sys.executable,))


@pytest.fixture
def mistaken(folder: Path, tmp_path: Path) -> Path:
    """A cache that remembers a GPU here, and the spec and some rows computed on it."""
    here = extract(load_pictures(folder)[:4], EMBEDDED, RunOptions(tmp_path, device="cpu"))
    there = replace(here.codes.spec, precision="fp16")
    words = RunOptions(tmp_path, device="cuda", precision="fp16")
    SpecMemo(tmp_path).put(_resolve._words(EMBEDDED, words), there)
    remember(tmp_path, "cuda", "cpu")
    return tmp_path


def remember(cache: Path, *found: str) -> None:
    AnswerMemo(cache).put(_options._of_devices(), {"devices": list(found)})


def devices(cache: Path) -> Any:
    return _options._remembered_devices(RunOptions(cache))


def test_a_cached_run_imports_no_torch_though_a_gpu_may_be_here(
    folder: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from tlfeatures.cli._app import run\n"
        "from tlfeatures import machine\n"
        "machine.GPU_SIGNS = (sys.executable,)\n"
        f"words = ['extract', {str(folder)!r}, '--backbone', 'embedded', '--jobs', '1']\n"
        f"assert run([*words, '--cache', {str(tmp_path)!r}]) == 0\n"
        "print('torch' in sys.modules)"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        for _ in range(2)
    )
    assert "36 computed" in first.stdout
    assert "36 cached" in second.stdout
    assert (first.stdout.split()[-1], second.stdout.split()[-1]) == ("True", "False")


def test_what_was_remembered_wrongly_is_corrected_and_no_row_gets_a_wrong_key(
    folder: Path, mistaken: Path
) -> None:
    done = extract(load_pictures(folder), EMBEDDED, RunOptions(mistaken))
    assert (done.computed, done.cached, done.device) == (32, 4, "cpu")
    assert done.codes.spec == resolve(EMBEDDED, RunOptions(mistaken, device="cpu")).specs[0]
    assert len(cache_info(mistaken)) == 1
    assert devices(mistaken) == ("cpu",)


def test_a_query_is_not_computed_with_another_precision_than_its_spec(
    folder: Path, mistaken: Path
) -> None:
    codes = CNNCodes("embedded", cache=mistaken)
    path = load_pictures(folder).paths[-1]
    found = codes.query([path])
    assert codes.spec_.precision != "fp16"
    np.testing.assert_array_equal(
        found, CNNCodes("embedded", device="cpu", cache=mistaken).query([path])
    )


def test_a_fitted_extractor_says_which_codes_it_gave(folder: Path, mistaken: Path) -> None:
    codes = CNNCodes("embedded", cache=mistaken).fit([])
    assert codes.spec_.precision == "fp16"  # as remembered
    codes.transform(load_pictures(folder))
    assert codes.spec_ == resolve(EMBEDDED, RunOptions(mistaken, device="cpu")).specs[0]


def test_a_device_that_was_not_here_is_looked_for_again(tmp_path: Path) -> None:
    remember(tmp_path, "cpu")
    assert _options.recall(RunOptions(tmp_path, device="cuda"), EMBEDDED) is None
    assert _options.recall(RunOptions(tmp_path), EMBEDDED).device == "cpu"


def test_other_signs_are_another_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(tmp_path, "cuda", "cpu")
    for path in (tmp_path / "memo").iterdir():
        assert path.name.startswith("answer-")
    assert devices(tmp_path) == ("cuda", "cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices(tmp_path) is None
    monkeypatch.undo()
    assert devices(tmp_path) is None  # no sign of a GPU


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"answer": {"devices": []}}', '{"answer": {"devices": [3]}}'],
)
def test_a_damaged_memory_says_nothing(tmp_path: Path, text: str) -> None:
    remember(tmp_path, "cpu")
    (path,) = (tmp_path / "memo").iterdir()
    path.write_text(text)
    assert devices(tmp_path) is None


def test_weights_replaced_while_they_are_read_are_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the new file would be known by the old one's spec for good."""
    weights = tmp_path / "best.safetensors"
    weights.write_bytes((Path(backbones.__file__).parent / "embedded.safetensors").read_bytes())
    request = BackboneRequest("embedded", str(weights))
    run = RunOptions(tmp_path / "c")
    find = _resolve._find_specs

    def replaced_meanwhile(*given: Any) -> Any:
        found = find(*given)
        os.utime(weights, (1, 1))
        return found

    def remembered() -> Any:
        settled = resolve(request, run).run
        return _resolve._remembered(resolve(request, run).request, (None,), settled, None)

    monkeypatch.setattr(_resolve, "_find_specs", replaced_meanwhile)
    (spec,) = resolve(request, run).specs
    assert remembered() is None
    monkeypatch.setattr(_resolve, "_find_specs", find)
    assert resolve(request, run).specs == (spec,)
    assert remembered() == [spec]
