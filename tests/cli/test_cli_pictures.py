"""What the command line says and does about deep, odd and bad pictures."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlfeatures.cli._app import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def microscope(tmp_path: Path) -> Path:
    """Four pictures of 12 bits in files of 16."""
    folder = tmp_path / "microscope"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(0, 4096, (80, 90)).astype(np.uint16)
        Image.fromarray(pixels).save(folder / f"{i}.tif")
    return folder


def extract(capsys: Capture, folder: Path, *more: object) -> tuple[dict[str, Any], str]:
    capsys.readouterr()
    words = ["extract", folder, "--backbone", "embedded", "--cache", folder.parent / "cache", *more]
    assert run([*map(str, words), "--json"]) == 0
    answer = capsys.readouterr()
    return json.loads(answer.out), answer.err


def test_pictures_that_would_come_out_black_are_said_once_with_the_way_out(
    microscope: Path, capsys: Capture
) -> None:
    data, said = extract(capsys, microscope)
    assert said.count("nearly black") == 1
    assert "'tlfeatures look IMAGES' says which --range to give" in said
    assert "4 pictures" in said
    (note,) = data["notes"]
    assert note["n_pictures"] == 4
    assert Path(note["first"]).name == "0.tif"


def test_the_range_that_look_prints_is_taken_by_extract(microscope: Path, capsys: Capture) -> None:
    assert run(["look", str(microscope)]) == 0
    said = capsys.readouterr().out
    assert "more than 8 bits per channel: 4 pictures" in said
    option = re.search(r"--range [\d.,]+", said)[0].split()
    low, high = map(float, option[1].split(","))
    assert 0 <= low < 20
    assert 4075 < high <= 4095
    data, _ = extract(capsys, microscope, *option)
    assert not data["notes"]
    Image.fromarray(np.full((80, 90), 60000, np.uint16)).save(microscope / "bright.tif")
    again, _ = extract(capsys, microscope, *option)
    assert (again["computed"], again["cached"]) == (1, 4)


def test_json_has_the_range_as_numbers(microscope: Path, folder: Path, capsys: Capture) -> None:
    found = []
    for place in (microscope, folder):
        assert run(["look", str(place), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["range"])
    assert found[0][0] < found[0][1] <= 4095
    assert found[1] is None


def test_a_stated_range_is_taken_as_it_is(microscope: Path, capsys: Capture) -> None:
    data, _ = extract(capsys, microscope, "--range", "0,4095")
    assert data["computed"] == 4
    assert not data["notes"]
    assert extract(capsys, microscope, "--range", "0,4095")[0]["cached"] == 4
    assert extract(capsys, microscope, "--range", "0,4096")[0]["computed"] == 4


@pytest.mark.parametrize(
    ("word", "said"), [("auto", "full, or two numbers"), ("9,3", "the smaller one first")]
)
def test_an_impossible_range_is_refused(
    word: str, said: str, microscope: Path, capsys: Capture
) -> None:
    assert run(["extract", str(microscope), "--backbone", "embedded", "--range", word]) == 2
    assert said in capsys.readouterr().err


def test_the_limit_of_pixels_is_an_option(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "p").mkdir()
    for side in (20, 40):
        Image.new("RGB", (side, side)).save(tmp_path / "p" / f"{side}.png")
    data, _ = extract(capsys, tmp_path / "p", "--max-pixels", 900)
    (bad,) = data["bad"]
    assert Path(bad["path"]).name == "40.png"
    assert "the limit is 900 pixels" in bad["reason"]


def test_names_that_are_not_utf8_survive_from_folder_to_output(
    tmp_path: Path, capsys: Capture
) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    (tmp_path / "p").mkdir()
    Image.new("RGB", (30, 30)).save(tmp_path / "p/a.png")
    Path(os.fsdecode(name)).write_bytes(b"text")
    Path(os.fsdecode(name)).rename(os.fsdecode(os.fsencode(tmp_path / "p") + b"/caf\xe9.png"))
    data, _ = extract(capsys, tmp_path / "p")
    assert data["pictures"] == 2
    assert "caf" in data["bad"][0]["path"]


def test_a_manifest_in_parquet_is_a_source(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    import pyarrow.parquet

    paths = [str(path) for path in sorted(folder.glob("disks/*.png"))]
    table = arrow.table({"path": paths, "label": ["disk"] * len(paths)})
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    assert extract(capsys, tmp_path / "list.parquet")[0]["pictures"] == 12
