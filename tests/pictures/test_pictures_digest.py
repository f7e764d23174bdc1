"""What a picture is known by, and copies that contradict each other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfeatures.errors import ImageReadError, PicturesError
from tlfeatures.pictures import (
    DecodeOptions,
    Pictures,
    content_digest,
    find_exact_copies,
    read_bytes,
    row_key,
)


def test_a_file_is_known_by_its_bytes_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(b"content")
    expected = hashlib.blake2b(b"content", digest_size=16).digest()
    assert content_digest(str(tmp_path / "a.jpg")) == content_digest(tmp_path / "b.png") == expected
    assert read_bytes(tmp_path / "a.jpg") == b"content"


def test_pictures_in_memory_differ_by_pixels_shape_and_mode() -> None:
    grey = np.arange(12, dtype=np.uint8)
    items = [
        grey.reshape(3, 4),
        grey.reshape(4, 3),
        grey.reshape(2, 2, 3),
        Image.new("RGB", (2, 2)),
        Image.new("HSV", (2, 2)),
    ]
    assert len({content_digest(item) for item in items}) == 5
    assert content_digest(items[0].copy()) == content_digest(items[0])


def test_strided_arrays_are_known_by_their_pixels() -> None:
    wide = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert content_digest(wide[:, ::-1]) == content_digest(np.ascontiguousarray(wide[:, ::-1]))
    assert content_digest(wide[:, ::-1]) != content_digest(wide)


def test_no_file_is_taken_for_a_picture_in_memory(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2), np.uint8)
    for prefix in (b"", b"arrayuint8(2, 2)"):
        (tmp_path / "file").write_bytes(prefix + pixels.tobytes())
        assert content_digest(tmp_path / "file") != content_digest(pixels)


def test_what_changes_the_decoded_pixels_changes_the_digest() -> None:
    plain = Image.new("RGB", (4, 2))
    turned, clear = plain.copy(), plain.copy()
    block = Image.Exif()
    block[0x0112] = 6
    turned.info["exif"] = block.tobytes()
    clear.info["transparency"] = (0, 0, 0)
    red, blue = Image.new("P", (4, 2)), Image.new("P", (4, 2))
    red.putpalette([255, 0, 0])
    blue.putpalette([0, 0, 255])
    assert len({content_digest(item) for item in (plain, turned, clear, red, blue)}) == 5


def test_what_cannot_be_read_or_loaded_is_a_bad_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="No such file"):
        content_digest(tmp_path / "absent.jpg")
    path = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with Image.open(path) as lazy, pytest.raises(ImageReadError, match="truncated"):
        content_digest(lazy)


def test_row_keys_depend_on_the_content_and_on_how_it_is_decoded() -> None:
    one, other = bytes(16), bytes([1] * 16)
    keys = {row_key(d, DecodeOptions(exif=e)) for d in (one, other) for e in (True, False)}
    assert {len(key) for key in keys} == {16}
    assert len(keys) == 4
    assert row_key(one, DecodeOptions()) == row_key(one, DecodeOptions(exif=True))


def copies(labels: list[str] | None, split: list[str] | None) -> list[str]:
    pictures = Pictures(["a", "b", "c"], labels, split)
    return [found.conflict for found in find_exact_copies(pictures, [b"1", b"2", b"1"])]


@pytest.mark.parametrize(
    ("labels", "split", "expected"),
    [
        (["x", "x", "y"], None, ["labels"]),
        (["x", "y", "x"], ["train", "train", "test"], ["split"]),
        (["x", "x", "y"], ["train", "test", "val"], ["both"]),
        (["x", "y", "x"], ["train", "test", "train"], []),
        (None, None, []),
    ],
)
def test_copies_are_found_where_they_contradict_each_other(
    labels: list[str] | None, split: list[str] | None, expected: list[str]
) -> None:
    assert copies(labels, split) == expected


def test_copies_name_their_files_in_one_line() -> None:
    pictures = Pictures(["x/1.jpg", "y/2.jpg"], ["x", "y"])
    (found,) = find_exact_copies(pictures, [b"1", b"1"])
    assert found.paths == ("x/1.jpg", "y/2.jpg")
    assert found.describe() == "exact copies under different labels (x, y): x/1.jpg, y/2.jpg"


def test_sides_may_be_given_in_place_of_the_split() -> None:
    pictures = Pictures(["a", "b"], split=["train", "train"])
    (found,) = find_exact_copies(pictures, [b"1", b"1"], ["train", "test"])
    assert (found.conflict, found.splits) == ("split", ("train", "test"))


def test_too_few_digests_are_refused() -> None:
    with pytest.raises(PicturesError, match="1 digests for 2 pictures"):
        find_exact_copies(Pictures(["a", "b"]), [b"1"])
