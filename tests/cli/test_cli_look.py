"""tlfeatures look, in process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tlfeatures.cli._app import run

Capture = pytest.CaptureFixture[str]
EMBEDDED = ("--backbone", "embedded")


def test_augment_draws_a_sheet_and_says_where(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "sheet.png"
    words = ["look", "augment", str(folder), *EMBEDDED, "--out", str(out)]
    assert run([*words, "--rows", "3", "--columns", "4"]) == 0
    answer = capsys.readouterr()
    assert answer.out.split() == [str(out)]
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 5 * 96
        assert sheet.height > 3 * 96


def test_augment_json_names_what_is_on_the_sheet(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "sheet.png"
    words = ["look", "augment", str(folder), *EMBEDDED, "--out", str(out), "--input-size", "40"]
    assert run([*words, "--augment", "strong,flip=off", "--rows", "3", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data) == {"augmentation", "input_size", "columns", "pictures", "bad", "sheet"}
    assert data["augmentation"].startswith("rotation=30,zoom=0.25:1,shear=20")
    assert (data["input_size"], data["columns"], data["sheet"]) == (40, 7, str(out))
    assert {row["label"] for row in data["pictures"]} == {"checks", "disks", "stripes"}


def test_augment_needs_no_weights(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["look", "augment", str(folder), "--out", str(tmp_path / "s.png"), "--rows", "1"]
    assert run([*words, "--backbone", "vgg16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["input_size"] == 224


def test_bad_pictures_are_listed_and_strict_makes_them_an_error(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    good = next(folder.rglob("*.png"))
    (tmp_path / "in" / "good.png").write_bytes(good.read_bytes())
    words = ["look", "augment", str(tmp_path / "in"), *EMBEDDED, "--out", str(tmp_path / "s.png")]
    assert run(words) == 0
    assert "bad.png" in capsys.readouterr().err
    assert run([*words, "--strict"]) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--augment", "lihgt"], 2, "did you mean 'light'"),
        (["--out", "sheet.jpg"], 2, "end the name in .png"),
        (["--out", "/proc/x/sheet.png"], 1, "cannot be written"),
        (["--backbone", "resnet5O"], 2, "did you mean 'resnet50'"),
        (["--rows", "0"], 2, "--rows"),
    ],
)
def test_wrong_words_say_the_way_out(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch,
    words: list[str], code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["look", "augment", str(folder), *EMBEDDED, *words]) == code
    answer = capsys.readouterr()
    assert said in answer.err
    assert answer.out == ""
    assert list(tmp_path.iterdir()) == []
