"""`--backbone MODEL`: a saved model's network, layer and preprocessing, wherever one is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tlfeatures.cli._app import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an earlier layer at another size, its weights inside as they come from a file."""
    import tlfeatures.backbones

    root = tmp_path_factory.mktemp("model")
    weights = root / "w.safetensors"
    shipped = Path(tlfeatures.backbones.__file__).parent / "embedded.safetensors"
    weights.write_bytes(shipped.read_bytes())
    words = ["--backbone", "embedded", "--weights", weights, "--layer", "layer3", "--head", "knn"]
    more = ["--input-size", 48, "--out", root / "m.model", "--cache", root / "c", "--quiet"]
    assert run([*map(str, ["fit", folder, *words, *more])]) == 0
    weights.unlink()
    return root / "m.model"


@pytest.fixture
def answer(capsys: Capture, tmp_path: Path) -> Any:
    def ask(*words: object) -> Any:
        more = ["--cache", str(tmp_path / "c"), "--json", "--quiet"]
        assert run([*map(str, words), *more]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def test_extract_gives_the_codes_of_the_model(model: Path, folder: Path, answer: Any) -> None:
    (spec,) = answer("extract", folder, "--backbone", model)["specs"]
    assert spec["dim"] == 128
    assert spec["layer"].startswith("layer3")
    assert answer("extract", folder, "--backbone", model)["cached"] == 36


def test_another_layer_of_its_network(model: Path, folder: Path, answer: Any) -> None:
    (spec,) = answer("extract", folder, "--backbone", model, "--layer", "layer2")["specs"]
    assert spec["layer"].startswith("layer2")


def test_fit_search_and_the_plan_take_it(model: Path, folder: Path, answer: Any) -> None:
    query = folder / "disks" / "00.png"
    data = answer("fit", folder, "--backbone", model, "--head", "svm")
    assert (data["backbone"], data["layer"][:6]) == ("embedded", "layer3")
    found = answer("search", folder, "--backbone", model, "--query", query)
    assert len(found["queries"][0]["neighbours"]) == 5
    assert answer("finetune", folder, "--backbone", model, "--plan")["layer"].startswith("layer3")
    assert answer("look", folder, "--backbone", model)["pictures"] == 36


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--preprocess", "tf"], "leave --preprocess out"),
        (["--range", "0,99"], "leave --range out"),
        (["--pooling", "max"], "leave --pooling out"),
    ],
)
def test_what_the_model_says_itself_is_not_said_again(
    words: list[str], said: str, model: Path, folder: Path, capsys: Capture
) -> None:
    assert run(["extract", str(folder), "--backbone", str(model), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_no_model_is_said(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "x.txt").write_text("words")
    assert run(["extract", str(folder), "--backbone", str(tmp_path / "x.txt")]) == 1
    assert "is not a tlfeatures model" in capsys.readouterr().err
