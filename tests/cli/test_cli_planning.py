"""`finetune --plan` and `--recipe auto`: what is asked before a training, and when none is done."""

from __future__ import annotations

import json
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tlfeatures.advice import STRATEGIES, recipe_of
from tlfeatures.cli import _planning
from tlfeatures.cli._app import run
from tlfeatures.finetuning import RECIPES

Capture = pytest.CaptureFixture[str]
EMBEDDED = ("--backbone", "embedded")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFEATURES_CACHE", str(cache))


def as_json(capsys: Capture, *words: object) -> dict[str, Any]:
    assert run([*map(str, words), "--json", "--quiet"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_the_plan_says_what_to_do_and_trains_nothing(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["finetune", str(folder), *EMBEDDED, "--plan"]) == 0
    out, err = capsys.readouterr()
    assert "a linear classifier on" in out.splitlines()[0]
    assert "settle it" in out
    assert "no training is recommended; --recipe NAME shows what a recipe would train" in out
    assert "epoch 0" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_named_recipe_is_shown_with_its_phases_and_rates(folder: Path, capsys: Capture) -> None:
    words = ("finetune", folder, *EMBEDDED, "--plan", "--recipe", "last-blocks", "--epochs", 3)
    data = as_json(capsys, *words)
    assert {"recommendation", "rule", "size", "similarity", "scores", "bad"} <= set(data)
    assert (data["recipe"], data["sheet"]) == ("last-blocks", None)
    (phase,) = data["phases"]
    assert phase["n_epochs"] == 3
    assert phase["rates"]["layer4"] > 0 == phase["rates"]["conv1..layer1"]
    assert phase["rates"]["head"] > phase["rates"]["layer4"]
    assert data["plan"]["n_parameters"] > 10_000


def test_every_trained_strategy_has_a_recipe() -> None:
    found = {strategy: recipe_of(strategy) for strategy in STRATEGIES}
    assert {recipe for recipe in found.values() if recipe} <= set(RECIPES)
    assert [name for name, recipe in found.items() if recipe is None] == [
        "codes",
        "earlier-codes",
    ]


@pytest.mark.parametrize("is_cause", [False, True])
def test_auto_trains_only_where_the_rules_call_for_it(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, is_cause: bool
) -> None:
    if is_cause:
        ask = _planning.ask

        def asked(*given: Any) -> Any:
            found = ask(*given)
            object.__setattr__(found.choice, "strategy", "full")
            return found

        monkeypatch.setattr("tlfeatures.cli._finetune.ask", asked)
    model, page = tmp_path / "m.model", tmp_path / "r.html"
    words = ("--epochs", 1, "--train-batch-size", 8, "--train-precision", "float32")
    data = as_json(capsys, "finetune", folder, *EMBEDDED, *words, "--out", model, "--report", page)
    assert {"baseline", "final", "epochs", "kept"} <= set(data)
    assert len(data["epochs"]) == (2 if is_cause else 0)
    assert 0 <= data["final"]["accuracy"] <= 1
    assert model.is_file()
    assert page.is_file()
    assert run(["predict", str(model), str(folder / "disks"), "--quiet"]) == 0


def test_auto_says_why_it_trains_nothing(folder: Path, capsys: Capture) -> None:
    assert run(["finetune", str(folder), *EMBEDDED]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("nothing was trained: the rules call for a classifier on codes")
    assert "Keep the network as it is" in err


def test_the_sheet_shows_what_augmentation_makes(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "sheet.png"
    words = ("--plan", "--sheet", out, "--augment", "strong,flip=off", "--input-size", 40)
    sheet = as_json(capsys, "finetune", folder, *EMBEDDED, *words)["sheet"]
    assert sheet["augmentation"].startswith("rotation=30,zoom=0.25:1,shear=20")
    assert (sheet["input_size"], sheet["columns"], sheet["file"]) == (40, 7, str(out))
    assert {row["label"] for row in sheet["pictures"]} == {"checks", "disks", "stripes"}
    with Image.open(out) as drawn:
        assert drawn.format == "PNG"
        assert drawn.width > 7 * 96


def test_the_line_that_settles_it_is_about_the_network_of_the_advice(
    folder: Path, capsys: Capture
) -> None:
    words = ["--backbone", "embedded", "--layer", "layer3", "--input-size", "48", "--seed", "3"]
    line = as_json(capsys, "finetune", folder, "--plan", *words)["experiment"]
    _, verb, *pasted = shlex.split(re.split("[,;]", line)[0])
    command = import_module(f"tlfeatures.cli._{verb}").command
    given = command.make_context(verb, pasted).params
    assert (given["backbone"], given["input_size"], given["seed"]) == ("embedded", 48, 3)
    assert given["layer"] is not None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["{one}", "--plan"], 1, "two"),
        (["{flat}", "--plan"], 1, "no labels"),
        (["{folder}", "--epochs", "0"], 2, "--epochs"),
        (["{folder}", "--plan", "--limit", "2"], 1, "add at least one more"),
        (["{folder}", "--sheet", "s.png"], 2, "--sheet goes with --plan"),
        (["{folder}", "--plan", "--sheet", "s.jpg"], 2, "end the name in .png"),
        (["{folder}", "--plan", "--sheet", "/proc/x/s.png"], 1, "cannot be written"),
        (["{folder}", "--plan", "--out", "m.model"], 2, "there is no --out"),
        (["{folder}", "--plan", "--augment", "lihgt"], 2, "did you mean 'light'"),
        (["{folder}", "--recipe", "ful"], 2, "did you mean 'full'"),
        (["{folder}", "--shared-with", "{folder}"], 2, "--recipe hard-sharing"),
    ],
)
def test_bad_input_gets_one_clear_line(
    words: list[str],
    code: int,
    said: str,
    folder: Path,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "only").symlink_to(folder / "stripes")
    places = {"folder": folder, "one": tmp_path / "one", "flat": folder / "stripes"}
    filled = [word.format(**places) for word in words]
    assert run(["finetune", *filled, *EMBEDDED]) == code
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert out == ""
