"""The README's own lines run, and its figures are those that were measured."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from decimal import ROUND_HALF_DOWN, Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfeatures.cli._app import run
from tlfeatures.cli._verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks/results"
METHODS = {
    "linear SVM": ("heads", "svm"),
    "logistic regression": ("heads", "logistic"),
    "k nearest neighbours": ("heads", "knn"),
    "raw pixels": ("controls", "pixels"),
    "colour histogram": ("controls", "histogram"),
    "same network, random weights": ("controls", "random_weights"),
    "majority class": ("controls", "majority"),
    "sanity check: shuffled labels": ("controls", "shuffled_labels"),
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def my_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """my_pictures/, new_pictures/, one.jpg, ages.txt in the current folder, a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLFEATURES_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for label, colour in (("red", (200, 60, 60)), ("green", (60, 200, 60))):
        folder = tmp_path / "my_pictures" / label
        folder.mkdir(parents=True)
        for i in range(10):
            pixels = np.clip(rng.normal(colour, 30, (64, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "new_pictures").mkdir()
    for name in ("new_pictures/a.png", "one.jpg"):
        shutil.copy(tmp_path / "my_pictures/red/0.png", tmp_path / name)
    np.savetxt(tmp_path / "ages.txt", rng.uniform(0, 80, 20))
    return tmp_path


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


def test_the_python_lines_run_as_they_stand(
    my_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, object] = {}
    lines = "\n".join(blocks("python"))
    assert "resnet50" in lines
    exec(lines.replace("resnet50", "embedded"), names)
    codes, clusters, estimates = names["codes"], names["clusters"], names["estimates"]
    assert isinstance(codes, np.ndarray)
    assert isinstance(clusters, np.ndarray)
    assert isinstance(estimates, np.ndarray)
    assert codes.shape == (20, 256)
    assert clusters.shape == estimates.shape == (20,)
    assert list(names["labels"]) == ["red"]  # type: ignore[call-overload]
    nearest = eval(capsys.readouterr().out)
    assert len(nearest) == 5
    assert nearest[0] == "my_pictures/red/0.png"  # the query's bytes


def test_the_shell_lines_run_in_their_order(
    my_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line for line in "".join(blocks("sh")).splitlines() if line]
    assert [line.split()[:2] for line in lines] == [
        ["tlfeatures", verb] for verb in ("look", "fit", "search", "predict", "finetune")
    ]
    for line in lines:
        words = shlex.split(line)[1:]
        network = [] if words[0] == "predict" else ["--backbone", "embedded"]
        assert run([*words, *network]) == 0, capsys.readouterr().err
    for made in ("my.model", "my.html", "neighbours.png", "labels.csv"):
        assert (my_pictures / made).is_file(), made


def test_every_verb_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`tlfeatures ([a-z]+)", README))
    assert len(named) >= 2
    assert named <= set(VERBS), named - set(VERBS)


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in targets:
        assert f"\n{target}:" in makefile, target


def test_the_readme_names_the_extras_and_the_python_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (sentence,) = re.findall(r"^(Extras, .*)$", README, re.MULTILINE)
    named = set(re.findall(r"`([a-z]+)`", sentence))
    assert named == set(project["optional-dependencies"]) - {"dev"}
    assert f"Python {project['requires-python'].removeprefix('>=')} or later" in README


def test_the_figure_is_drawn_from_the_table() -> None:
    subprocess.run([sys.executable, str(ROOT / "docs/make_figure.py"), "--check"], check=True)


def test_the_ratios_of_speed_are_those_of_the_pages_they_link_to() -> None:
    bar = re.compile(r"^\| ResNet-50: bf16 / the tutorials' way \|[^|]*\| ([\d.]+) x", re.MULTILINE)
    (amd,) = bar.findall((RESULTS / "extract.md").read_text(encoding="utf-8"))
    page = (RESULTS / "extract-amx.md").read_text(encoding="utf-8")
    (last,) = bar.findall(page)
    (others,) = re.findall(r"gave (.*?) times the tutorials' way in bf16", page, re.DOTALL)
    intel = [float(last), *map(float, re.findall(r"[\d.]+", others))]
    said = re.findall(r"([\d.]+)(?: to ([\d.]+))?\s+times\s+as\s+long", README)
    tenth = Decimal("0.1")
    assert said == [
        (str(Decimal(amd).quantize(tenth, ROUND_HALF_DOWN)), ""),
        (f"{min(intel):.1f}", f"{max(intel):.1f}"),
    ]


def demo_figures() -> dict[str, list[float]]:
    """The README's table: {method: [accuracy, low, high]}, in percent."""
    line = re.compile(r"^(.+?) \*? +([\d.]+)  \(([\d.]+) to ([\d.]+)\)", re.MULTILINE)
    return {name.strip(" *"): list(map(float, rest)) for name, *rest in line.findall(README)}


def test_the_table_of_results_has_every_method() -> None:
    assert set(demo_figures()) == set(METHODS)


@pytest.mark.slow
def test_the_table_of_results_is_what_the_demo_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["demo", "--precision", "float32", "--cache", tmp_path / "cache", "--out", tmp_path]
    assert run([*map(str, words), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_train"], found["n_test"]) == (1347, 450)
    for method, (part, key) in METHODS.items():
        score = found[part][key]
        measured = [100 * value for value in (score["accuracy"], *score["ci95"])]
        # one picture of 450 is 0.22 points: other processors may decide two of them otherwise
        np.testing.assert_allclose(demo_figures()[method], measured, atol=0.5, err_msg=method)
