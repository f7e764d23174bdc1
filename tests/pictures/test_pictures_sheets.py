"""Contact sheets, thumbnails, and what importing the room brings along."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfeatures.errors import OutputError
from tlfeatures.pictures import contact_sheet, data_uri, save_png, thumbnail

RED, BLUE = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (20, 40), "blue")


def count(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(axis=2).sum())


def test_a_thumbnail_is_a_square_that_keeps_the_proportions() -> None:
    small = thumbnail(RED, 10)
    assert small.size == (10, 10)
    assert count(small, (255, 0, 0)) == 10 * 5
    assert count(small, (255, 255, 255)) == 10 * 5


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000), (1, 1)])
def test_extreme_shapes_keep_at_least_one_pixel(size: tuple[int, int]) -> None:
    assert count(thumbnail(Image.new("RGB", size, "red"), 10), (255, 0, 0)) >= 10


def test_a_bad_picture_is_a_crossed_grey_box_and_not_an_error() -> None:
    box = thumbnail("absent.jpg", 20)
    assert count(box, (221, 221, 221)) > 300
    assert box.getpixel((10, 10)) != (221, 221, 221)


def test_a_sheet_frames_the_query_alone_and_shows_every_picture() -> None:
    plain = contact_sheet([[RED, BLUE, BLUE], [RED]], thumb=40)
    assert plain.mode == "RGB"
    assert count(plain, (255, 0, 0)) == 2 * 40 * 20
    assert count(plain, (0, 0, 255)) == 2 * 40 * 20
    frame = np.flatnonzero((np.asarray(plain) == (0xC0, 0x39, 0x2B)).all(axis=2).any(axis=0))
    assert frame.max() - frame.min() < 40 + 8


def test_captions_and_title_make_room_for_themselves() -> None:
    plain = contact_sheet([[RED, BLUE]])
    told = contact_sheet([[RED, BLUE]], captions=[["red\n0.1", "b"]], title="Neighbours")
    assert told.width == plain.width
    assert told.height > plain.height + 40


def test_long_odd_or_missing_captions_do_not_break_the_sheet() -> None:
    long = contact_sheet([[RED, BLUE]], captions=[["w" * 500, "x"]], title="t" * 500, thumb=16)
    short = contact_sheet([[RED, BLUE]], captions=[["w", "x"]], title="t", thumb=16)
    assert long.size == short.size
    assert contact_sheet([[RED, BLUE], [RED]], captions=[["caf\udce9 图"]]).size
    assert contact_sheet([]).size


def test_the_middle_of_a_long_caption_is_left_out() -> None:
    from PIL import ImageFont

    from tlfeatures.pictures._sheets import _fit

    font = ImageFont.load_default(size=11)
    shown = _fit("a_very_long_file_name_of_a_picture_0001.jpg", font, 96)
    assert shown.startswith("a_v")
    assert "…" in shown
    assert shown.endswith(".jpg")
    assert font.getlength(shown) <= 96


def test_a_data_uri_holds_the_picture() -> None:
    head, _, body = data_uri(RED).partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as back:
        found, wanted = (np.asarray(each).astype(int) for each in (back, RED))
        assert np.abs(found - wanted).max() <= 2


def test_the_room_brings_neither_torch_nor_scikit_learn() -> None:
    code = "import sys, tlfeatures.pictures; print({'torch', 'sklearn', 'h5py'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_sheet_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    assert save_png(RED, tmp_path / "red.png") == tmp_path / "red.png"
    with Image.open(tmp_path / "red.png") as back:
        assert back.size == RED.size
    with pytest.raises(OutputError, match="cannot be written"):
        save_png(RED, tmp_path / "red.png/below.png")
    assert [p.name for p in tmp_path.iterdir()] == ["red.png"]
