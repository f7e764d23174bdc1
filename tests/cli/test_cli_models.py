"""The command line on models: what is said of them, copies of training pictures, `fit --test`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import PATTERNS, draw_pattern
from tlfeatures.cli._app import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFEATURES_CACHE", str(cache))


@pytest.fixture(scope="module")
def model(folder: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.model"
    words = ["fit", str(folder), "--backbone", "embedded", "--head", "knn", "--out", str(path)]
    assert run([*words, "--cache", str(cache), "--quiet"]) == 0
    return path


def as_json(capsys: Capture, *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*map(str, words), "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


@pytest.fixture(scope="session")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three class folders of two pictures each that no model of these tests was trained on."""
    root, rng = tmp_path_factory.mktemp("new"), np.random.default_rng(99)
    for label in PATTERNS:
        (root / label).mkdir()
        for i in range(2):
            draw_pattern(label, 60 + i, rng).save(root / label / f"{i:02}.png")
    return root


def test_evaluate_scores_a_saved_model(
    model: Path, new_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    page = tmp_path / "r.html"
    data = as_json(capsys, "predict", model, new_folder, "--report", page)
    assert (data["accuracy"], data["accuracy_all"]) == (1.0, 1.0)
    assert (data["n_test"], data["n_copies"]) == (6, 0)
    assert 'data-test-accuracy="1.0"' in page.read_text(encoding="utf-8")


def test_evaluate_leaves_out_what_the_model_was_trained_on(
    model: Path, folder: Path, new_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Six new pictures, all right, and a copy under another name and label."""
    both, page = tmp_path / "both", tmp_path / "r.html"
    shutil.copytree(new_folder, both)
    shutil.copy(folder / "stripes" / "00.png", both / "disks" / "new name.png")
    words = ["predict", str(model), str(both), "--report", str(page)]
    assert run(words) == 0
    out, err = capsys.readouterr()
    (line,) = [each for each in out.splitlines() if each.startswith("accuracy ")]
    assert line.startswith("accuracy 100.0 % (61.0 to 100.0)")
    assert line.endswith(", 6 pictures")
    assert "no test, with the 1 picture that the model was trained on: 85.7 %" in out
    assert "trained on 1 of the 7 pictures" in err
    assert "new name.png" in err
    assert "85.7 % (48.7 to 97.4) of 7, 1 of them trained on" in page.read_text(encoding="utf-8")
    data = as_json(capsys, *words)
    assert (data["accuracy"], data["n_test"], data["n_copies"]) == (1.0, 6, 1)
    assert data["accuracy_all"] == pytest.approx(6 / 7)
    assert [Path(path).name for path in data["copies"]] == ["new name.png"]


def test_evaluate_on_training_pictures_alone_gives_no_accuracy(
    model: Path, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Those of its own test side too: the saved model is fitted on all of them."""
    page = tmp_path / "r.html"
    assert run(["predict", str(model), str(folder), "--report", str(page)]) == 0
    out, err = capsys.readouterr()
    last = out.splitlines()[-1]
    assert last.startswith("no test, with the 36 pictures that the model was trained on: 100.0 %")
    assert err.count("note: there is no accuracy: the model was trained on each of the 36") == 1
    assert "was trained on all of these pictures" in page.read_text(encoding="utf-8")
    data = as_json(capsys, "predict", model, folder)
    assert [data[k] for k in ("accuracy", "ci95", "mean_recall", "mean_recall_ci95")] == [None] * 4
    assert (data["n_test"], data["n_copies"], data["accuracy_all"]) == (0, 36, 1.0)


def test_fit_says_which_pictures_the_figures_and_the_model_are_of(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    out, page = tmp_path / "m.model", tmp_path / "r.html"
    words = ["fit", str(folder), "--backbone", "embedded", "--head", "knn"]
    files = ["--out", str(out), "--report", str(page)]
    assert run([*words, *files]) == 0
    said = capsys.readouterr().out
    assert "model: k nearest neighbours, fitted on all 36 pictures" in said
    assert "of heads fitted on the 27 training pictures alone, on the 9 held-out ones" in said
    text = page.read_text(encoding="utf-8")
    assert "of the 9, by heads fitted on the 27" in text
    assert "fitted on all 36 pictures, with head and C as found" in text
    data = as_json(capsys, *words, *files)
    assert (data["n_fitted"], data["fitted_on"]) == (36, "all 36 pictures")
    assert run(words) == 0
    assert "model:" not in capsys.readouterr().out  # none was saved
    assert as_json(capsys, *words)["n_fitted"] == 27


def test_a_folder_called_like_a_number_is_tested_on(
    folder: Path, new_folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["fit", str(folder), "--backbone", "embedded", "--head", "knn"]
    for name in ("2024", "0.25", "1e3"):
        shutil.copytree(new_folder, tmp_path / name)
        assert run([*words, "--test", name]) == 0
        said = capsys.readouterr()
        assert "tested on 6" in said.out
        assert f"note: --test {name} is the folder of that name" in said.err
    assert as_json(capsys, *words, "--test", "./0.25")["n_test"] == 6
    assert as_json(capsys, *words, "--test", ".25")["n_test"] == 9


@pytest.mark.parametrize("word", ["2024", "1", "0", "-0.5", "1.5", "nan", "inf", "1_0"])
def test_a_number_that_is_neither_a_folder_nor_a_share_is_told_both(
    word: str, folder: Path, capsys: Capture
) -> None:
    assert run(["fit", str(folder), "--backbone", "embedded", f"--test={word}"]) == 2
    err = capsys.readouterr().err
    assert f"--test {word}: there is no folder or manifest of that name, and a share lies" in err


def test_finetune_says_that_the_held_out_pictures_are_new_to_its_model(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "m.model"
    words = ["finetune", str(folder), "--backbone", "embedded", "--recipe", "head", "--epochs", "1"]
    assert run([*words, "--train-batch-size", "8", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "of the 27 pictures of the training side alone; the 9 held-out ones are new" in said
    data = as_json(capsys, "predict", out, folder)
    assert (data["n_test"], data["n_copies"]) == (9, 27)


@pytest.mark.parametrize("verb", ["fit", "finetune --plan"])
def test_the_largest_seed_is_taken(verb: str, folder: Path, capsys: Capture) -> None:
    words = [*verb.split(), str(folder), "--backbone", "embedded", "--seed", "4294967295"]
    assert run(words) == 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5", "x", "9" * 400])
@pytest.mark.parametrize("verb", ["fit", "finetune", "demo", "finetune --plan"])
def test_a_seed_out_of_range_is_refused(
    verb: str, seed: str, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    images = [] if verb == "demo" else [str(folder)]
    assert run([*verb.split(), *images, f"--seed={seed}"]) == 2
    err = capsys.readouterr().err
    assert "--seed" in err
    assert "Traceback" not in err
    assert not (tmp_path / "demo-output").exists()
