"""Bytes become right RGB, or a bad picture with a one-line reason."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.pictures.make_awkward_pixels import facts
from tlfeatures.errors import ImageReadError
from tlfeatures.pictures import DecodeOptions, decode
from tlfeatures.pictures.decoding._quiet import quiet_pillow

SHARED = Path(__file__).resolve().parents[3] / "shared"
UPRIGHT = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
# How an upright picture has to be stored so that the orientation turns it upright again.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(item: Any, **options: bool) -> Any:
    picture = decode(item, DecodeOptions(**options))
    assert picture.mode == "RGB"
    return np.asarray(picture)


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def reason(item: Any) -> str:
    with pytest.raises(ImageReadError) as caught:
        decode(item)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_all_eight_orientations_give_the_same_upright_picture(kind: str, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    assert np.array_equal(pixels(saved(stored, kind, exif=exif(orientation))), UPRIGHT)


def test_the_turn_can_be_left_out_and_is_never_done_twice() -> None:
    data = saved(Image.fromarray(np.ascontiguousarray(STORED[6])), exif=exif(6))
    assert np.array_equal(pixels(data, exif=False), STORED[6])
    assert np.array_equal(pixels(decode(data, DecodeOptions(exif=False))), STORED[6])
    assert np.array_equal(pixels(decode(data)), UPRIGHT)


def test_an_invalid_exif_block_does_not_make_a_picture_bad() -> None:
    assert np.array_equal(
        pixels(saved(Image.fromarray(UPRIGHT), exif=b"Exif\0\0nonsense")), UPRIGHT
    )


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (100, 255), (100, 100, 100)),
        ("LA", (0, 0), (255, 255, 255)),
        ("L", 7, (7, 7, 7)),
        ("1", 1, (255, 255, 255)),
        ("1", 0, (0, 0, 0)),
    ],
)
def test_alpha_is_laid_over_white_and_grey_becomes_rgb(
    mode: str, colour: Any, expected: tuple[int, ...]
) -> None:
    assert pixels(saved(Image.new(mode, (2, 2), colour)))[0, 0].tolist() == list(expected)


def palette_picture() -> Image.Image:
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 0, 0, 0, 100, 0])
    picture.putpixel((1, 0), 1)
    return picture


def test_palette_entries_keep_their_colour_and_their_transparency() -> None:
    assert pixels(saved(palette_picture())).tolist() == [[[200, 0, 0], [0, 100, 0]]]
    one = saved(palette_picture(), transparency=0)
    assert pixels(one).tolist() == [[[255, 255, 255], [0, 100, 0]]]
    each = saved(palette_picture(), transparency=bytes([255, 0]))
    assert pixels(each).tolist() == [[[200, 0, 0], [255, 255, 255]]]
    in_memory = Image.new("P", (1, 1))
    in_memory.putpalette([1, 2, 3, 0], "RGBA")
    assert pixels(in_memory).tolist() == [[[255, 255, 255]]]


def test_one_transparent_colour_of_an_rgb_or_grey_png_is_white() -> None:
    rgb = saved(Image.new("RGB", (1, 1), (9, 8, 7)), transparency=(9, 8, 7))
    assert pixels(rgb).tolist() == [[[255] * 3]]
    deep = Image.fromarray(np.array([[256, 257, 65535]], np.uint16))
    assert pixels(saved(deep, transparency=256))[0, :, 0].tolist() == [255, 1, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_divided_by_257_and_rounded(kind: str) -> None:
    values = np.array([[0, 128, 129, 256, 25700, 32768, 65535]], np.uint16)
    expected = np.rint(values / 257)[0].tolist()
    by_hand = b"P5 7 1 65535\n" + values.astype(">u2").tobytes()  # Pillow 10 cannot write it
    data = by_hand if kind == "PPM" else saved(Image.fromarray(values), kind)
    assert pixels(data)[0, :, 2].tolist() == expected


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_of_sixteen_bit_grey_agree(order: str) -> None:
    data = np.array([[257, 514]], f"{order}u2").tobytes()
    mode = "I;16" if order == "<" else "I;16B"
    assert pixels(Image.frombytes(mode, (2, 1), data))[0, :, 0].tolist() == [1, 2]


def test_integers_beyond_sixteen_bits_are_cut() -> None:
    wide = Image.fromarray(np.array([[-5, 0, 2570, 70000]], np.int32))
    assert pixels(wide)[0, :, 0].tolist() == [0, 0, 10, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 10, 254.6], [0, 10, 255]),
        ([-1, 0, 1], [0, 128, 255]),
        ([0, 500, 1000], [0, 128, 255]),
        ([np.nan, np.inf, 1], [0, 0, 255]),
        ([1000, 1000, 1000], [0, 0, 0]),
    ],
)
def test_float_pixels_follow_the_stated_rule(values: list[float], expected: list[int]) -> None:
    picture = Image.fromarray(np.array([values], np.float32))
    assert pixels(saved(picture, "TIFF"))[0, :, 0].tolist() == expected


def test_cmyk_jpegs_are_not_inverted() -> None:
    red = pixels(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))[8, 8]
    assert red[0] > 245
    assert red[1:].max() < 10


def test_lab_goes_through_its_colour_profile() -> None:
    white = Image.frombytes("LAB", (1, 1), bytes([255, 0, 0]))
    assert pixels(white).min() >= 254
    red = Image.frombytes("LAB", (1, 1), bytes([138, 81, 70]))  # L* 54, a* 81, b* 70 under D50
    assert np.abs(pixels(red)[0, 0].astype(int) - [255, 0, 0]).max() <= 5


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "MPO"])
def test_the_first_of_several_frames_counts(kind: str) -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    data = saved(first, kind, save_all=True, append_images=[second])
    assert pixels(data)[8, 8, 0] > 240
    assert pixels(data)[8, 8, 2] < 15


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_a_files_pixels_are_not_copied_and_lose_their_file(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    source = Image.fromarray(np.tile(UPRIGHT, (8, 8, 1)))
    source.save(file, form, **({"exif": _orientation(1)} if form in ("JPEG", "PNG") else {}))
    with Image.open(io.BytesIO(file.getvalue())) as opened:
        wanted = opened.convert("RGB").tobytes()

    def refuse(*arguments: Any, **words: Any) -> None:
        raise AssertionError("copied")

    monkeypatch.setattr(Image.Image, "copy", refuse)
    monkeypatch.setattr(Image.Image, "convert", refuse)
    decoded = decode(file.getvalue())
    assert decoded.tobytes() == wanted
    assert (type(decoded), decoded.info, decoded.readonly) == (Image.Image, {}, 0)
    assert dict(decoded.getexif()) == {}


def _orientation(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif.tobytes()


def test_a_picture_in_memory_is_neither_changed_nor_handed_back() -> None:
    picture = Image.new("RGB", (2, 2), "red")
    for options in (DecodeOptions(), DecodeOptions(exif=False)):
        decode(picture, options).paste((0, 0, 255), (0, 0, 2, 2))
    assert picture.getpixel((0, 0)) == (255, 0, 0)
    for array in (np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8)):
        decode(array).paste((9, 9, 9), (0, 0, 2, 2))
        assert not array.any()


def test_a_path_a_path_object_and_the_bytes_agree(tmp_path: Path) -> None:
    data = saved(Image.fromarray(UPRIGHT))
    (tmp_path / "named.jpg").write_bytes(data)
    for item in (data, tmp_path / "named.jpg", str(tmp_path / "named.jpg"), UPRIGHT):
        assert np.array_equal(pixels(item), UPRIGHT)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def inflating_png() -> bytes:
    """A text chunk that grows to 64 MiB."""
    text = b"k\0\0" + zlib.compress(bytes(1 << 26))
    png = saved(Image.new("L", (1, 1)))
    return png[:33] + png_chunk(b"zTXt", text) + png[33:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"hello, I am a text", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"\xff\xd8\xff", "not a picture"),
        (saved(Image.effect_noise((64, 64), 50), "JPEG")[:900], "truncated: "),
        (saved(Image.effect_noise((64, 64), 50))[:900], "truncated: "),
    ],
)
def test_a_bad_picture_has_a_reason(data: bytes, message: str) -> None:
    assert reason(data).startswith(message)


def test_a_text_chunk_that_inflates_is_a_bad_picture() -> None:
    assert "too large" in reason(inflating_png())


def test_missing_files_folders_pipes_and_odd_names_are_bad_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "No such file" in reason(tmp_path / "absent.jpg")
    assert "not a regular file" in reason(tmp_path)
    assert "not a regular file" in reason(tmp_path / "pipe.jpg")
    assert "cannot be read" in reason("a\0b.jpg")


@pytest.mark.parametrize(
    "array", [np.zeros((0, 5, 3), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2))]
)
def test_arrays_of_another_shape_or_type_are_bad_pictures(array: Any) -> None:
    assert "no pixels" in reason(array) or "expected uint8" in reason(array)


def test_damaged_bytes_raise_nothing_but_the_one_error() -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "PPM"):
        data = bytearray(saved(Image.effect_noise((16, 16), 50).convert("RGB"), kind))
        for _ in range(30):
            broken = bytearray(data)
            for place in rng.integers(0, len(data), 5):
                broken[place] = int(rng.integers(256))
            try:
                decode(bytes(broken))
            except ImageReadError:
                continue


def test_a_large_picture_below_the_error_limit_is_fine_and_does_not_warn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(saved(Image.new("L", (15, 10)))).size == (15, 10)
    assert reason(saved(Image.new("L", (21, 10)))).startswith("too large")


def test_no_setting_of_pillow_or_of_warnings_is_left_changed() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    data = saved(Image.fromarray(UPRIGHT))
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(pixels(data), UPRIGHT) for _ in pool.map(pixels, [data] * 40))
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    assert before == after


def test_warning_filters_set_meanwhile_survive_and_ours_does_not() -> None:
    inside, leave = threading.Event(), threading.Event()

    def decoding() -> None:
        with quiet_pillow():
            inside.set()
            leave.wait(10)

    before = list(warnings.filters)
    thread = threading.Thread(target=decoding)
    thread.start()
    inside.wait(10)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="mine")
        leave.set()
        thread.join()
        assert warnings.filters[0][0] == "ignore"
    assert list(warnings.filters) == before


def awkward() -> list[tuple[str, str]]:
    listing = SHARED / "data" / "awkward" / "LIST.tsv"
    if not listing.exists():
        return []
    with listing.open(encoding="utf-8", newline="") as file:
        return [(row["file"], row["expected"]) for row in csv.DictReader(file, delimiter="\t")]


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent")
def test_every_awkward_file_decodes_or_is_bad_as_listed() -> None:
    assert len(awkward()) == 40
    for name, expected in awkward():
        path = SHARED / "data" / "awkward" / name
        if expected == "bad":
            assert reason(path), name
        else:
            assert pixels(path).dtype == np.uint8, name


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent")
def test_every_awkward_file_has_the_pixels_of_an_independent_decoder() -> None:
    table = json.loads(Path(__file__).with_name("awkward_pixels.json").read_text("utf-8"))
    decoded = {name for name, expected in awkward() if expected == "decodes"}
    assert decoded - set(table) == {"lab.tif", "f32.tiff"}  # each has a test of its own
    for name, expected in table.items():
        found = facts(pixels(SHARED / "data" / "awkward" / name))
        assert found["size"] == expected["size"], name
        np.testing.assert_allclose(found["means"], expected["means"], atol=1.5, err_msg=name)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent")
def test_the_awkward_floats_are_stretched_from_their_least_to_their_greatest() -> None:
    path = SHARED / "data" / "awkward" / "f32.tiff"
    (place,) = struct.unpack("<I", path.read_bytes()[4:8])  # the directory follows the one strip
    values = np.frombuffer(path.read_bytes()[8:place], "<f4")[: 128 * 128].astype(float)
    expected = (values - values.min()) / np.ptp(values) * 255
    found = pixels(path)[..., 1].ravel()
    np.testing.assert_allclose(found, expected, atol=0.51)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent")
def test_real_pictures_turned_or_deep_agree_with_their_plain_form() -> None:
    folder = SHARED / "data" / "awkward"
    turned = [pixels(folder / f"orientation_{i}.jpg").astype(int) for i in range(2, 9)]
    assert max(np.abs(other - turned[0]).mean() for other in turned) < 4
    assert np.array_equal(pixels(folder / "gray16.png"), pixels(folder / "gray16.pgm"))
    plain = pixels(folder / "rgb8.ppm").astype(int)
    assert np.abs(pixels(folder / "lab.tif") - plain).mean() < 6
    assert decode(folder / "orientation_6_portrait.jpg").size == (480, 360)


def test_phones_jpegs_with_more_pictures_behind_are_decoded_small_too() -> None:
    picture = Image.radial_gradient("L").resize((1600, 1200)).convert("RGB")
    data = io.BytesIO()
    picture.save(data, "MPO", save_all=True, append_images=[picture])
    made = decode(data.getvalue(), DecodeOptions(least_side=512))
    assert made.size == (800, 600)
