"""Which files of a folder are pictures, and what the others are called."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tlfeatures.errors import PicturesError
from tlfeatures.pictures import decode, describe_kinds, load_pictures

ODD_NAMES = [
    "a.jpg?width=640",
    "b.jpg_large",
    "c.JPG_640x480",
    "d.jpeg;jsessionid=1",
    "e.image",
    "f.bin",
    "g.tmp",
    "h.part",
    "i.1",
    "j.jpg~",
    "k.php",
    "l.",
    "m.v2.final",
]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_a_picture_is_known_by_its_content_whatever_it_is_called(tmp_path: Path, kind: str) -> None:
    for name in ODD_NAMES:
        Image.new("RGB", (4, 4)).save(tmp_path / name, kind)
    pictures = load_pictures(tmp_path)
    assert [Path(path).name for path in pictures.paths] == sorted(ODD_NAMES)
    assert pictures.left_out == 0
    assert decode(pictures.items[0]).size == (4, 4)


def test_what_is_no_picture_is_left_out_by_kind(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    contents = {
        "x.dcm": b"\0" * 128 + b"DICM",
        "y.dcm": b"\0" * 128 + b"DICM",
        "z.jxl": b"\xff\x0a\xfa",
        "page.jpg?width=640": b"<html>not found</html>",
        "notes.TXT": b"P5 are no pictures",
        "words.rtf": b"P5 are no pictures",
        "README": b"BMW and P5 are no pictures",
        "raw.NEF": b"II*\0 what a camera writes",
        "x.abcdefghijklmnopqrstuvwxyz": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    pictures = load_pictures(tmp_path)
    assert pictures.left_out_kinds == {
        ".dcm": 2,
        ".jxl": 1,
        ".jpg...": 1,
        ".txt": 1,
        ".rtf": 1,
        "without extension": 1,
        ".nef": 1,
        ".abcdefghijkl...": 1,
    }
    assert pictures.left_out == pictures[:0].left_out == 9
    assert describe_kinds(pictures.left_out_kinds) == (
        "9 other files: 2 .dcm, 1 .abcdefghijkl..., 1 .jpg..., 1 .jxl, 1 .nef and 3 more"
    )


def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "a.jxl").touch()
    with pytest.raises(
        PicturesError, match=r"\(4 other files: 3 \.dcm, 1 \.jxl\); give a folder of"
    ):
        load_pictures(tmp_path)


def test_tables_and_texts_by_the_thousand_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").touch()
    for i in range(50):
        (tmp_path / f"{i}.xml").touch()
        (tmp_path / f"{i}.odd").touch()
    opened: list[str] = []
    real = builtins.open

    def spy(file: Any, *args: Any, **options: Any) -> Any:
        opened.append(os.fspath(file))
        return real(file, *args, **options)

    monkeypatch.setattr("io.open", spy)
    assert load_pictures(tmp_path).left_out_kinds == {".xml": 50, ".odd": 50}
    assert {Path(name).suffix for name in opened} == {".odd"}
