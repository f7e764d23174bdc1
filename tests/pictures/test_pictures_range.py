"""Pictures deeper than 8 bits: the whole range, or a stated one; what pictures use."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfeatures.errors import ImageReadError, UsageError
from tlfeatures.pictures import (
    DecodeOptions,
    Pictures,
    decode,
    decode_with_notes,
    estimate_range,
    row_key,
)

TWELVE_BITS = np.linspace(0, 4095, 64 * 64).reshape(64, 64)


def deep(values: object, kind: type = np.uint16) -> Image.Image:
    return Image.fromarray(np.asarray(values).astype(kind))


def grey(picture: Image.Image, **options: object) -> np.ndarray:
    return np.asarray(decode(picture, DecodeOptions(**options)))[..., 0]


def test_a_stated_range_becomes_black_to_white_and_cuts_the_rest() -> None:
    picture = deep([[0, 100, 200, 300, 65535]])
    assert grey(picture, range=(100, 300)).tolist() == [[0, 0, 128, 255, 255]]


def test_a_twelve_bit_picture_is_nearly_black_in_full_range_and_not_in_its_own() -> None:
    picture = deep(TWELVE_BITS)
    assert grey(picture).max() == 16
    found = grey(picture, range=(0, 4095)).astype(float)
    assert np.abs(found - TWELVE_BITS / 4095 * 255).max() <= 0.51


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_integers_and_floats_take_the_same_range(kind: type) -> None:
    picture = deep(
        [[-50, 0, 500, 1000, 9000]] if kind is not np.uint16 else [[0, 0, 500, 1000, 9000]], kind
    )
    assert grey(picture, range=(0, 1000)).tolist() == [[0, 0, 128, 255, 255]]


def test_what_is_not_a_number_is_black() -> None:
    picture = deep([[np.nan, np.inf, -np.inf, 2.0]], np.float32)
    assert grey(picture, range=(1.0, 2.0)).tolist() == [[0, 255, 0, 255]]


def test_pictures_of_eight_bits_are_not_touched_by_a_range() -> None:
    assert grey(Image.new("L", (1, 1), 77), range=(0, 4095)).item() == 77


@pytest.mark.parametrize("range_", [(5.0, 5.0), (9.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_an_impossible_range_is_refused(range_: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="the smaller one first"):
        DecodeOptions(range=range_)


def test_the_range_is_part_of_a_pictures_key() -> None:
    keys = {row_key(b"x" * 32, DecodeOptions(range=r)) for r in (None, (0.0, 1.0), (0.0, 2.0))}
    assert len(keys) == 3


def test_a_picture_that_comes_out_nearly_black_is_noted() -> None:
    (note,) = decode_with_notes(deep(TWELVE_BITS)).notes
    assert "nearly black" in note
    assert "which `range` to give" in note
    assert not decode_with_notes(deep(TWELVE_BITS), DecodeOptions(range=(0, 4095))).notes
    assert not decode_with_notes(deep(TWELVE_BITS * 16)).notes


def test_the_estimate_is_the_percentiles_of_the_values() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(200, 4000, (64, 64)) for _ in range(5)]
    low, high = estimate_range(Pictures([deep(array) for array in arrays])) or (0, 0)
    assert (low, high) == pytest.approx(np.percentile(arrays, (0.1, 99.9)), abs=1e-9)


def test_a_hot_pixel_does_not_decide_the_estimate() -> None:
    values = TWELVE_BITS.copy()
    values[0, 0] = 65535
    assert (estimate_range(Pictures([deep(values)])) or (0, 0))[1] < 4096


def test_eight_bit_and_bad_pictures_count_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.tif").write_bytes(b"II*\0no more")
    shallow = [Image.new("RGB", (4, 4), "white"), str(tmp_path / "bad.tif")]
    assert estimate_range(Pictures(shallow)) is None
    both = estimate_range(Pictures([*shallow, deep(TWELVE_BITS)]))
    assert both == pytest.approx((4.095, 4090.9), abs=1)


def test_pictures_of_one_value_have_no_range() -> None:
    assert estimate_range(Pictures([deep(np.full((4, 4), 9))])) is None


def test_many_pictures_are_sampled_over_the_whole_list() -> None:
    pictures = Pictures([deep(np.full((2, 2), i)) for i in range(1000)])
    low, high = estimate_range(pictures, n=10) or (0, 0)
    assert low < 10
    assert 890 < high < 910


def sixteen_bit_png(values: np.ndarray, transparent: tuple[int, ...] | None = None) -> bytes:
    """An RGB or RGBA PNG with 16 bits a channel, by the standard: Pillow cannot write one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    clear = b"" if transparent is None else chunk(b"tRNS", struct.pack(">3H", *transparent))
    parts = (
        chunk(b"IHDR", header),
        clear,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def sixteen_bit_tiff(values: np.ndarray, order: str, *, deflate: bool) -> bytes:
    """An RGB TIFF with 16 bits a channel in one strip."""
    height, width, _ = values.shape
    strip = values.astype(f"{order}u2").tobytes()
    strip = zlib.compress(strip) if deflate else strip
    start = 8 + len(strip)
    end = start + 2 + 9 * 12 + 4
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, end), (259, 3, 1, 8 if deflate else 1),
        (262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, height),
        (279, 4, 1, len(strip)),
    ]  # fmt: skip
    mark = b"II*\0" if order == "<" else b"MM\0*"
    depths = struct.pack(f"{order}3H", 16, 16, 16)
    return mark + struct.pack(f"{order}I", start) + strip + pack_tags(order, tags) + depths


def pack_tags(order: str, tags: list[tuple[int, int, int, int]]) -> bytes:
    """A TIFF directory: tag, kind (3 short, 4 long), count, value or place."""
    words = struct.pack(f"{order}H", len(tags))
    for tag, kind, count, value in tags:
        is_short = kind == 3 and count == 1
        cell = struct.pack(f"{order}HH", value, 0) if is_short else struct.pack(f"{order}I", value)
        words += struct.pack(f"{order}HHI", tag, kind, count) + cell
    return words + bytes(4)


COLOURS = np.random.default_rng(0).integers(0, 65536, (9, 7, 3))


@pytest.mark.parametrize(
    "data",
    [
        sixteen_bit_png(COLOURS),
        sixteen_bit_tiff(COLOURS, "<", deflate=False),
        sixteen_bit_tiff(COLOURS, ">", deflate=False),
        sixteen_bit_tiff(COLOURS, "<", deflate=True),
        sixteen_bit_tiff(COLOURS, ">", deflate=True),
    ],
)
def test_colour_of_sixteen_bits_is_read_whole(data: bytes) -> None:
    decoded = decode_with_notes(data)
    assert np.array_equal(np.asarray(decoded.picture), np.rint(COLOURS / 257))
    assert not decoded.notes
    low, high = 300, 900
    some = np.asarray(decode(data, DecodeOptions(range=(low, high))))
    assert np.array_equal(some, np.rint((COLOURS.clip(low, high) - low) / (high - low) * 255))


def test_a_twelve_bit_colour_picture_is_noted_and_its_range_estimated(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(sixteen_bit_png(COLOURS // 16))
    (note,) = decode_with_notes(tmp_path / "a.png").notes
    assert "nearly black" in note
    low, high = estimate_range(Pictures([str(tmp_path / "a.png")])) or (0, 0)
    assert low < 100
    assert 4000 < high < 4096


def test_deep_colour_with_transparency_is_laid_over_white() -> None:
    values = np.array([[[0, 0, 0, 0], [65535, 0, 0, 65535], [0, 0, 0, 13107]]])
    found = np.asarray(decode(sixteen_bit_png(values)))
    assert found.tolist() == [[[255, 255, 255], [255, 0, 0], [204, 204, 204]]]
    one = np.array([[[1, 2, 3], [1, 2, 4]]])
    clear = np.asarray(decode(sixteen_bit_png(one, transparent=(1, 2, 3))))
    assert clear.tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("largest", [4095, 65535])
def test_a_deep_ppm_is_read_whole(largest: int) -> None:
    values = COLOURS % (largest + 1)
    height, width, _ = values.shape
    header = b"P6\n# by hand\n%d %d\n%d\n" % (width, height, largest)
    found = np.asarray(decode(header + values.astype(">u2").tobytes()))
    assert np.abs(found - values * (255 / largest)).max() <= 0.51


def test_a_hot_pixel_does_not_hide_that_a_picture_comes_out_black() -> None:
    values = TWELVE_BITS.copy()
    values[5, 5] = 65535
    (note,) = decode_with_notes(deep(values)).notes
    assert "nearly black" in note


def test_deep_grey_where_white_is_zero_is_turned_round() -> None:
    values = np.array([[0, 1000, 65535]], np.uint16)
    plain, turned = (io.BytesIO() for _ in range(2))
    deep(values).save(plain, "TIFF")
    deep(values).save(turned, "TIFF", tiffinfo={262: 0})
    assert np.array_equal(
        np.asarray(decode(turned.getvalue())), 255 - np.asarray(decode(plain.getvalue()))
    )


def test_deep_colour_in_separate_planes_is_refused_or_noted_never_noise() -> None:
    strips = [COLOURS[..., i].astype("<u2").tobytes() for i in range(3)]
    height, width, _ = COLOURS.shape
    size, end = len(strips[0]), 8 + sum(map(len, strips))
    extra = end + 2 + 10 * 12 + 4
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, extra), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 3, extra + 6), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 3, extra + 18),
        (284, 3, 1, 2),
    ]  # fmt: skip
    words = pack_tags("<", tags)
    offsets = struct.pack("<3H3I3I", 16, 16, 16, 8, 8 + size, 8 + 2 * size, size, size, size)
    data = b"II*\0" + struct.pack("<I", end) + b"".join(strips) + words + offsets
    with pytest.raises(ImageReadError, match="separate planes; save it interleaved"):
        decode(data)
