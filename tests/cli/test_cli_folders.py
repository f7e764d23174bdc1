"""What the command line says and does about folders of every layout."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tlfeatures.cli._app import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFEATURES_CACHE", str(cache))


@pytest.fixture
def mixed(folder: Path, tmp_path: Path) -> Path:
    """Classes, a loose picture, an unlabelled test folder, and other files."""
    root = tmp_path / "mixed"
    for name in ("disks", "stripes"):
        (root / "train" / name).mkdir(parents=True)
        for i in range(4):
            shutil.copy(folder / name / f"{i:02}.png", root / "train" / name)
    (root / "test").mkdir()
    shutil.copy(folder / "disks" / "05.png", root / "test" / "photo.png?width=640")
    shutil.copy(folder / "disks" / "06.png", root / "loose.png")
    for i in range(12):
        (root / f"{i}{'.dcm' if i < 4 else '.txt'}").write_text("no picture")
    return root


def words(*some: object) -> list[str]:
    return [str(word) for word in some]


def test_search_extract_and_look_need_no_layout(
    mixed: Path, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    network = ("--backbone", "embedded")
    assert run(words("extract", mixed, *network, "--json")) == 0
    answer = capsys.readouterr()
    assert json.loads(answer.out)["pictures"] == 10
    assert "10 pictures; left out: 12 other files: 8 .txt, 4 .dcm" in answer.err
    assert "note: read without labels: " in answer.err
    query = folder / "disks" / "07.png"
    assert run(words("search", mixed, "--query", query, "-k", 10, *network, "--json")) == 0
    (found,) = json.loads(capsys.readouterr().out)["queries"]
    assert len(found["neighbours"]) == 10
    assert {hit["label"] for hit in found["neighbours"]} == {None}
    assert run(words("look", mixed, "--backbone", "embedded")) == 0
    assert "classes: none" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["fit", "finetune"])
def test_what_learns_labels_asks_for_a_layout(mixed: Path, capsys: Capture, verb: str) -> None:
    (mixed / "loose.png").unlink()
    assert run(words(verb, mixed, "--backbone", "embedded")) == 1
    assert "test holds 1 picture without class folders" in capsys.readouterr().err


def test_fit_follows_common_names_of_sides_and_says_so(mixed: Path, capsys: Capture) -> None:
    (mixed / "loose.png").unlink()
    shutil.rmtree(mixed / "test")
    (mixed / "train").rename(mixed / "Training")
    shutil.copytree(mixed / "Training", mixed / "Testing")
    options = ("--backbone", "embedded", "--head", "knn", "--json")
    assert run(words("fit", mixed, *options)) == 0
    answer = capsys.readouterr()
    data = json.loads(answer.out)
    assert data["classes"] == ["disks", "stripes"]
    assert (data["n_train"], data["n_test"]) == (8, 8)
    assert answer.err.count("note: taken as a split: Testing as test, Training as train") == 1


def test_predict_takes_a_folder_of_any_layout(
    mixed: Path, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    model = tmp_path / "m.model"
    fit = ("fit", folder, "--backbone", "embedded", "--head", "knn", "--out", model, "--quiet")
    assert run(words(*fit)) == 0
    capsys.readouterr()
    assert run(words("predict", model, mixed, "--json")) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 10


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("https://example.org/a.jpg", "is an address; download"),
        ("C:\\a.jpg", "Windows drive"),
        ("x" * 9000, r"is no path \(9,000 characters"),
    ],
)
def test_a_query_that_is_no_path_is_told_the_reason_in_one_short_line(
    folder: Path, capsys: Capture, query: str, reason: str
) -> None:
    assert run(words("search", folder, "--backbone", "embedded", "--query", query)) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "picture 0" in line]
    assert re.search(reason, line)
    assert len(line) < 300
