"""A model file's words are whoever made it: they lead to no import unless that is allowed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlfeatures import CNNCodes, TransferClassifier, load_pictures
from tlfeatures.classification import SavedModel, predict_saved
from tlfeatures.cli._app import run
from tlfeatures.errors import ModelFileError, TlfeaturesError
from tlfeatures.extraction import RunOptions, end_workers
from tlfeatures.modelfile import read_model_file, write_model_file

STRANGER = """
import pathlib
import torch
from torch import nn

pathlib.Path(__file__).with_name("has_run").touch()


def make():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                         nn.Flatten(), nn.Linear(32, 2))
"""
ALLOWED = re.compile(r"[^\n]*'stranger:make'[^\n]*runs code[^\n]*--trust-code[^\n]*trust_code=True")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a stranger's module in it."""
    (tmp_path / "stranger.py").write_text(STRANGER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def fitted(folder: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codes = CNNCodes("embedded", cache=cache, precision="float32")
    model = TransferClassifier(codes, head="knn").fit(load_pictures(folder))
    return model.save(tmp_path_factory.mktemp("model") / "m.model", with_weights=True)


def asking_for(fitted: Path, path: Path, **words: Any) -> Path:
    """The same model, its words about the network changed."""
    tensors, facts = read_model_file(fitted)
    return write_model_file(path, tensors, {**facts, "request": {**facts["request"], **words}})


@pytest.mark.parametrize("load", [SavedModel.load, TransferClassifier.load])
@pytest.mark.parametrize("weights", [None, "weights.pth"])
def test_a_network_that_a_file_names_is_not_imported(
    load: Callable[..., Any], weights: str | None, fitted: Path, elsewhere: Path
) -> None:
    model = asking_for(fitted, elsewhere / "m.model", backbone="stranger:make")
    with pytest.raises(ModelFileError, match=ALLOWED):
        load(model, weights=weights)
    assert not (elsewhere / "has_run").exists()


@pytest.mark.parametrize("verb", ["predict"])
@pytest.mark.parametrize("backbone", ["stranger:make", "stranger:make.__call__", " stranger:make"])
def test_the_command_line_refuses_it_in_one_line(
    verb: str,
    backbone: str,
    fitted: Path,
    elsewhere: Path,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = asking_for(fitted, elsewhere / "m.model", backbone=backbone)
    assert run([verb, str(model), str(folder), "--cache", str(elsewhere / "c")]) == 1
    said = capfd.readouterr().err.strip()
    assert said.count("\n") == 0
    assert repr(backbone) in said
    assert "--trust-code" in said
    assert not (elsewhere / "has_run").exists()


@pytest.mark.parametrize(
    "words",
    [
        {"backbone": ["stranger", "make"]},
        {"backbone": {"stranger": "make"}},
        {"backbone": None},
        {"preprocess": ["stranger:make"]},
        {"preprocess": {"resize": 32, "input_size": 32}},
        {"preprocess": "stranger:make"},
        {"backbone": "timm:hf-hub:stranger/net"},
        {"backbone": "timm:local-dir:."},
        {"backbone": "timm:resnet18.hf-hub:stranger/net"},
        {"backbone": "hf-hub:stranger/net"},
        {"backbone": "stranger"},
        {"layer": "stranger:make"},
    ],
    ids=str,
)
def test_no_other_word_of_a_file_leads_to_code_either(
    words: dict[str, Any], fitted: Path, elsewhere: Path, folder: Path
) -> None:
    model = asking_for(fitted, elsewhere / "m.model", **words)
    with pytest.raises(TlfeaturesError):
        predict_saved(SavedModel.load(model), load_pictures(folder), RunOptions(elsewhere / "c"))
    assert not (elsewhere / "has_run").exists()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_network_of_ones_own_is_loaded_where_that_is_allowed(
    n_jobs: int, elsewhere: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    end_workers()  # those of other tests have another search path
    pictures = load_pictures(folder)
    words: dict[str, Any] = {"preprocess": "imagenet", "input_size": 64}
    codes = CNNCodes("stranger:make", cache=elsewhere / "c", n_jobs=n_jobs, **words)
    fitted = TransferClassifier(codes, head="knn").fit(pictures)
    model, wanted = fitted.save(elsewhere / "m.model"), fitted.predict(pictures)
    fresh = RunOptions(elsewhere / "fresh", n_jobs=n_jobs)
    found = predict_saved(SavedModel.load(model, trust_code=True), pictures, fresh)
    np.testing.assert_array_equal([p.label for p in found.predictions], wanted)
    loaded = TransferClassifier.load(model, trust_code=True, cache=elsewhere / "fresh")
    np.testing.assert_array_equal(loaded.predict(pictures), wanted)
    command = [str(model), str(folder), "--trust-code", "--cache", str(elsewhere / "fresh")]
    assert run(["predict", *command, "--json"]) == 0
    said = json.loads(capfd.readouterr().out)["predictions"]
    np.testing.assert_array_equal([p["label"] for p in said], wanted)


@pytest.mark.parametrize("n_jobs", ["1", "2"])
def test_files_of_the_working_folder_do_not_stand_in_for_libraries(
    n_jobs: str, tmp_path: Path, folder: Path
) -> None:
    libraries = ("numpy", "torch", "joblib", "timm", "PIL", "multiprocessing", "random", "queue")
    for name in libraries:
        (tmp_path / f"{name}.py").write_text(f"open('{name}_has_run', 'w').close()\n")
    words = ["-m", "tlfeatures", "extract", str(folder), "--backbone", "embedded", "--quiet"]
    command = [sys.executable, *words, "--cache", str(tmp_path / "c"), "--jobs", n_jobs]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "36 computed" in done.stdout
    assert list(tmp_path.glob("*_has_run")) == []
