"""`tlfeatures look FOLDER`: what is there, without a network, and what to type next."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlfeatures.backbones import BackboneRequest
from tlfeatures.cli._app import run
from tlfeatures.extraction import RunOptions, extract, pace_of, remember_pace
from tlfeatures.pictures import load_pictures

Capture = pytest.CaptureFixture[str]
EMBEDDED = ("--backbone", "embedded")


@pytest.fixture
def place(folder: Path, tmp_path: Path) -> Path:
    """Two sides of three classes, copies of each kind, a bad file, and what is no picture."""
    root = tmp_path / "all"
    for side, numbers in (("train", range(8)), ("test", range(8, 12))):
        for name in ("checks", "disks", "stripes"):
            (root / side / name).mkdir(parents=True)
            for i in numbers:
                shutil.copy(folder / name / f"{i:02}.png", root / side / name)
    shutil.copy(folder / "disks" / "00.png", root / "train" / "disks" / "again.png")
    shutil.copy(folder / "disks" / "01.png", root / "train" / "checks" / "other label.png")
    shutil.copy(folder / "stripes" / "02.png", root / "test" / "stripes" / "other side.png")
    (root / "train" / "disks" / "bad.png").write_bytes(b"no picture")
    (root / "train" / "notes.txt").write_text("words")
    Image.fromarray(np.zeros((9, 300, 3), np.uint8)).save(root / "train" / "disks" / "wide.jpg")
    return root


def look(capsys: Capture, where: Path, cache: Path, *more: str) -> dict[str, Any]:
    assert run(["look", str(where), "--cache", str(cache), "--json", *more]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_it_counts_what_is_there(place: Path, tmp_path: Path, capsys: Capture) -> None:
    data = look(capsys, place, tmp_path / "c", *EMBEDDED)
    assert data["pictures"] == 41
    assert {row["name"]: row["pictures"] for row in data["classes"]} == {
        "checks": 13,
        "disks": 15,
        "stripes": 13,
    }
    assert data["splits"] == {"train": 28, "test": 13}
    assert data["kinds"] == {"PNG": 39, "JPEG": 1}
    assert data["left_out"] == {".txt": 1}
    assert data["sides"]["smallest"] == [300, 9]
    assert data["bytes"] == sum(p.stat().st_size for p in place.rglob("*.[pj]*g")) - 10
    assert [(Path(b["path"]).name, b["reason"]) for b in data["bad"]] == [
        ("bad.png", "not a picture in a known format")
    ]
    assert {row["conflict"]: len(row["paths"]) for row in data["copies"]} == {
        "": 2,
        "labels": 2,
        "split": 2,
    }


def test_it_says_so_in_words(place: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["look", str(place), "--cache", str(tmp_path / "c"), *EMBEDDED]) == 0
    said = capsys.readouterr().out
    assert "3 classes: checks 13, disks 15, stripes 13" in said
    assert "split: train 28, test 13" in said
    assert "identical files within one class and split: 2 in 1 set" in said
    assert "identical files under different labels: 2 in 1 set" in said
    assert "identical files on both sides of the split: 2 in 1 set" in said
    assert "other side.png" in said
    assert "again.png" not in said
    assert "bad by their header: 1" in said
    assert "time not known yet, as nothing was measured on this machine" in said


def test_the_commands_that_come_next_run(
    place: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit, search = look(capsys, place, tmp_path / "c", *EMBEDDED)["next"]
    assert run(shlex.split(fit)[1:]) == 0
    assert (tmp_path / "report.html").is_file()
    assert run(shlex.split(search)[1:]) == 0
    assert (tmp_path / "neighbours.png").is_file()


def test_pictures_without_labels_are_coded_or_searched(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = look(capsys, folder / "disks", tmp_path / "c", *EMBEDDED)
    assert data["classes"] == []
    assert [line.split()[1] for line in data["next"]] == ["extract", "search"]


def test_a_manifest_and_its_groups_are_looked_at(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    rows = [f"{p},{p.parent.name},{i // 4}" for i, p in enumerate(sorted(folder.rglob("*.png")))]
    table = tmp_path / "m.csv"
    table.write_text("\n".join(["path,label,group", *rows]))
    assert look(capsys, table, tmp_path / "c")["groups"] == 9


def test_the_time_is_what_was_measured_here(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    run_, request = RunOptions(tmp_path / "c"), BackboneRequest("embedded")
    remember_pace("extract", request, run_, 100, 2.0)
    assert look(capsys, folder, tmp_path / "c", *EMBEDDED)["estimate"]["seconds"] is None
    remember_pace("evaluate", request, run_, 100, 3.0)
    estimate = look(capsys, folder, tmp_path / "c", *EMBEDDED)["estimate"]
    assert estimate["seconds"] == pytest.approx(36 * 0.05)
    assert estimate["measured"] is True
    other = look(capsys, folder, tmp_path / "c", "--backbone", "resnet18")["estimate"]
    assert other["measured"] is False
    assert other["seconds"] > 10 * estimate["seconds"]  # the embedded network is small


def test_a_run_of_few_pictures_says_nothing_of_the_pace(folder: Path, tmp_path: Path) -> None:
    run_, request = RunOptions(tmp_path / "c"), BackboneRequest("embedded")
    extract(load_pictures(folder), request, run_)
    assert pace_of("extract", request, run_) is None


def test_neither_torch_nor_scikit_learn_is_imported(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tlfeatures.cli import main\n"
        "try:\n"
        f"    main(['look', {str(folder)!r}, '--cache', {str(tmp_path / 'c')!r}])\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print(sorted({'torch', 'sklearn', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
