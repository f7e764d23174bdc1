"""Damage that Pillow passes over is bad where a decoder says so, and noted where it is likely."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image, ImageDraw

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures import (
    DecodeOptions,
    bad_key,
    decode,
    decode_with_notes,
    find_damage,
    thumbnail,
)
from tlfeatures.pictures.decoding._decode import checker_versions

SHARED = Path(__file__).resolve().parents[3] / "shared"


def texture(seed: int = 0, side: int = 96) -> Image.Image:
    """Something like a photograph: large shapes and noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 216, (6, 8, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((side + 8, side), Image.Resampling.BICUBIC)).astype(int)
    pixels += rng.integers(-20, 20, pixels.shape)
    return Image.fromarray(pixels.clip(1, 254).astype(np.uint8))


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    Image.init()
    if kind == "AVIF" and kind not in Image.SAVE:
        pytest.skip("Pillow without AVIF")
    buffer = io.BytesIO()
    if kind == "HEIF":
        if int(PIL.__version__.partition(".")[0]) < 11:
            pytest.skip("pillow-heif of today needs a newer Pillow")
        pytest.importorskip("pillow_heif").register_heif_opener()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(ImageReadError) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def is_bad_or_noted(data: bytes) -> bool:
    try:
        return "damaged" in notes(data)
    except ImageReadError as error:
        return bool(str(error))


def notes(data: bytes) -> str:
    return "; ".join(decode_with_notes(data).notes)


JPEGS: dict[str, Callable[[Image.Image], bytes]] = {
    "ordinary": lambda picture: saved(picture, "JPEG"),
    "own tables": lambda picture: saved(picture, "JPEG", optimize=True),
    "full colours": lambda picture: saved(picture, "JPEG", subsampling=0, quality=95),
    "progressive": lambda picture: saved(picture, "JPEG", progressive=True),
    "restarts": lambda picture: saved(picture, "JPEG", restart_marker_rows=1),
    "grey": lambda picture: saved(picture.convert("L"), "JPEG"),
    "CMYK": lambda picture: saved(picture.convert("CMYK"), "JPEG"),
    "MPO": lambda picture: saved(picture, "MPO", save_all=True, append_images=[texture(9)]),
}


def scan_of(data: bytes) -> tuple[int, int]:
    """Where the codes of the first picture begin and end."""
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big"), data.index(
        b"\xff\xd9", start
    )


def damaged(data: bytes, kind: str, other: bytes = b"") -> bytes:
    start, end = scan_of(data)
    middle = (start + end) // 2
    if kind == "second half zeros":
        return data[:middle] + bytes(len(data) - middle)
    if kind == "a block of 0x00":
        return data[:middle] + bytes(400) + data[middle + 400 :]
    if kind == "a block of 0xFF":
        return data[:middle] + b"\xff" * 400 + data[middle + 400 :]
    if kind == "cut and closed":
        return data[:middle] + b"\xff\xd9"
    if kind == "cut":
        return data[:middle]
    first, last = scan_of(other)
    return data[:middle] + other[(first + last) // 2 :]


@pytest.mark.parametrize("form", JPEGS)
@pytest.mark.parametrize(
    "kind",
    ["second half zeros", "a block of 0x00", "a block of 0xFF", "cut and closed", "cut", "a tail"],
)
def test_damaged_jpegs_of_every_form_are_bad(form: str, kind: str) -> None:
    for seed in range(3):
        data, other = JPEGS[form](texture(seed)), JPEGS[form](texture(seed, side=160))
        assert decode_with_notes(data).notes <= {"several pages or frames, the first taken"}
        said = reason(damaged(data, kind, other))
        assert said.startswith(("damaged JPEG data: ", "truncated: ", "cannot be decoded: "))


def test_a_missing_restart_segment_is_damage() -> None:
    data = JPEGS["restarts"](texture())
    first, second = data.index(b"\xff\xd1"), data.index(b"\xff\xd2")
    assert reason(data[:first] + data[second:]).startswith("damaged JPEG data")


def test_changed_bytes_among_the_codes_are_often_noticed_and_end_in_no_other_error() -> None:
    rng, data, n_bad = np.random.default_rng(0), JPEGS["ordinary"](texture()), 0
    start, end = scan_of(data)
    for _ in range(40):
        broken = bytearray(data)
        for place in rng.integers(start, end, 5):
            broken[place] = int(rng.integers(256))
        try:
            decode(bytes(broken))
        except ImageReadError:
            n_bad += 1
    assert n_bad >= 15  # the rest decode to as many blocks as before: no decoder can tell


@pytest.mark.parametrize("form", JPEGS)
def test_what_does_not_touch_the_pixels_of_a_jpeg_is_no_damage(form: str) -> None:
    data = JPEGS[form](texture())
    wanted = np.asarray(decode(data))
    comment = b"\xff\xfe\x00\x06abcd" * 3
    exif = saved(texture(), "JPEG")
    thumb = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif
    cut_thumb = thumb[:300] + bytes(len(thumb) - 300)
    versions = data.replace(b"JFIF\0\x01", b"JFIF\0\x07")  # libjpeg warns: an unknown revision
    for harmless in (
        data + b"no picture" * 50,
        data + bytes(5000),
        data[:2] + comment + data[2:],
        data[:2] + thumb + data[2:],
        data[:2] + cut_thumb + data[2:],
        versions,
    ):
        assert np.array_equal(np.asarray(decode(harmless)), wanted)
        assert "damage" not in notes(harmless)


def test_a_damaged_scan_is_found_behind_a_header_that_is_warned_of() -> None:
    odd = JPEGS["ordinary"](texture()).replace(b"JFIF\0\x01", b"JFIF\0\x07")
    assert reason(damaged(odd, "cut and closed")) == (
        "damaged JPEG data: premature end of data segment"
    )


def test_padding_before_the_end_marker_is_noted_and_other_bytes_there_are_damage() -> None:
    data = JPEGS["ordinary"](texture())
    assert "padding, or damage" in notes(data[:-2] + bytes(20) + data[-2:])
    assert "extraneous bytes" in reason(data[:-2] + b"other data than zeros" + data[-2:])


def test_a_progressive_jpeg_without_its_last_scans_is_noted() -> None:
    data = JPEGS["progressive"](texture())
    last = data.rindex(b"\xff\xda")
    tables = data.rindex(b"\xff\xc4", 0, last)
    assert "coarser than it was saved" in notes(data[:tables] + b"\xff\xd9")
    assert not notes(data)


def test_a_jpeg_of_one_scan_a_colour_is_bad_without_the_last_one() -> None:
    data = saved(texture(), "JPEG", subsampling=0)
    start = data.index(b"\xff\xda")
    scan = data[start:]
    # The same codes as two scans: the first names only two of the three colours it should have.
    assert scan[4] == 3
    two = b"\xff\xda" + struct.pack(">HB", 10, 2) + scan[5:9] + b"\0\x3f\0"
    assert "is missing" in reason(data[:start] + two + grey_codes(data) + b"\xff\xd9")


def grey_codes(data: bytes) -> bytes:
    """Codes of a flat picture for two colours by the standard's tables: 00 1010 and 00 00 each."""
    width, height = Image.open(io.BytesIO(data)).size
    n_blocks = -(-width // 8) * -(-height // 8)
    bits = "0010100000" * n_blocks
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


@pytest.mark.parametrize("colour", ["black", "white", (10, 200, 30)])
@pytest.mark.parametrize("size", [(8, 8), (640, 480)])
def test_pictures_of_one_colour_are_neither_bad_nor_noted(
    colour: Any, size: tuple[int, int]
) -> None:
    for picture in (Image.new("RGB", size, colour), half_flat(colour, size)):
        for kind, options in EVERY_KIND:
            if (kind, picture.size) != ("AVIF", (8, 8)):
                assert not notes(saved(picture, kind, **options)), (kind, options)


EVERY_KIND: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}), ("JPEG", {"optimize": True}), ("JPEG", {"progressive": True}),
    ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("GIF", {}), ("JPEG2000", {}),
    ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", {"compression": "packbits"}), ("TIFF", {"compression": "jpeg"}),
]  # fmt: skip


def half_flat(colour: Any, size: tuple[int, int]) -> Image.Image:
    """A photograph above, one colour below: a letterbox, a page, a border."""
    picture = Image.new("RGB", size, colour)
    picture.paste(texture().resize((size[0], size[1] // 2)), (0, 0))
    return picture


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM"])
def test_plain_pixels_on_a_ground_of_one_colour_are_not_noted(kind: str) -> None:
    page = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(page).text((20, 20), "some words\non a page", fill="black")
    digit = Image.new("L", (28, 28))
    ImageDraw.Draw(digit).ellipse((8, 5, 19, 17), outline=255, width=3)
    film = Image.new("RGB", (200, 200))
    film.paste(texture().resize((200, 100)), (0, 50))
    flat = [Image.new("RGB", (40, 30), colour) for colour in ("black", "white", "red")]
    bits = page.convert("1")
    for picture in (page, digit, film, bits, *flat):
        assert not notes(saved(picture, kind))


HALF_ZEROS = [
    ("WEBP", {}), ("WEBP", {"lossless": True}), ("AVIF", {}), ("HEIF", {}), ("BMP", {}),
    ("TIFF", {}), ("PPM", {}), ("JPEG2000", {}), ("PNG", {}), ("PNG", {"compress_level": 0}),
    ("GIF", {}), ("ICO", {"sizes": [(96, 96)]}),
    ("ICO", {"sizes": [(96, 96)], "bitmap_format": "bmp"}),
    *[("TIFF", {"compression": c}) for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")],
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), HALF_ZEROS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_second_half_of_zeros_is_bad_or_noted_in_every_format(
    kind: str, options: dict[str, Any], mode: str
) -> None:
    for seed in range(2):
        data = saved(texture(seed).convert(mode), kind, **options)
        assert "damaged" not in notes(data)
        broken = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
        assert is_bad_or_noted(broken)


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {"compress_level": 0}),
        ("WEBP", {"quality": 95}),
        ("TIFF", {"compression": "jpeg", "quality": 95}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("GIF", {}),
        ("JPEG2000", {}),
        ("HEIF", {}),
    ],
)
def test_a_block_of_one_byte_among_compressed_pixels_is_bad_or_noted(
    kind: str, options: dict[str, Any], fill: int
) -> None:
    data = saved(texture(side=200), kind, **options)
    place = len(data) // 2
    broken = data[:place] + bytes([fill]) * 512 + data[place + 512 :]
    assert is_bad_or_noted(broken)


def test_pixels_of_a_png_are_held_to_their_sum() -> None:
    red, blue = (
        saved(Image.new("RGB", (30, 30), colour), "PNG", compress_level=0)
        for colour in ("red", "blue")
    )
    place = red.index(b"IDAT")
    end = place + 4 + int.from_bytes(red[place - 4 : place], "big")
    assert len(red) == len(blue)
    # Pillow takes the pixels as they are; only the chunk's sum tells that they are others.
    mixed = red[:place] + blue[place:end] + red[end:]
    assert reason(mixed) == "damaged PNG data: a wrong check sum (CRC)"


def test_deflated_strips_of_a_tiff_are_held_to_their_sums() -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    file = io.BytesIO()
    tifffile.imwrite(file, np.asarray(texture()), compression="deflate", photometric="rgb")
    data, page = file.getvalue(), tifffile.TiffFile(io.BytesIO(file.getvalue())).pages[0]
    end = page.dataoffsets[0] + page.databytecounts[0]
    assert not notes(data)
    assert reason(data[: end - 4] + b"\0\1\2\3" + data[end:]).startswith(
        ("damaged TIFF data: ", "cannot be decoded: ")  # libtiff looks at some sums itself
    )


def test_plain_pixels_with_more_bytes_behind_are_not_noted() -> None:
    for kind in ("BMP", "PPM", "WEBP", "JPEG2000"):
        assert not notes(saved(texture(), kind) + bytes(50_000))


def test_where_codes_are_stored_damage_is_not_looked_for_again() -> None:
    broken = damaged(JPEGS["ordinary"](texture()), "cut and closed")
    assert decode(broken, check=False).size == (104, 96)
    assert thumbnail(broken, 16).getpixel((8, 2)) != (221, 221, 221)


@pytest.mark.parametrize("least_side", [None, 12])
def test_reduced_decoding_is_checked_too(least_side: int | None) -> None:
    broken = damaged(JPEGS["ordinary"](texture()), "cut and closed")
    with pytest.raises(ImageReadError, match="damaged JPEG data"):
        decode(broken, DecodeOptions(least_side=least_side))


def test_the_strict_decoder_is_part_of_what_a_bad_picture_is_remembered_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = bad_key(b"x" * 16, DecodeOptions())
    versions = {**checker_versions(), "simplejpeg": "0"}
    monkeypatch.setattr("tlfeatures.pictures.decoding._digest.checker_versions", lambda: versions)
    assert bad_key(b"x" * 16, DecodeOptions()) != before


def good_shared_pictures() -> list[Path]:
    """All but the awkward ones, some of which are bad on purpose."""
    files = sorted((SHARED / "data").glob("[!a]*/**/*"))
    return [path for path in files if path.is_file() and path.suffix not in (".txt", ".tsv")]


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent")
def test_no_good_shared_picture_is_bad_or_noted_as_damaged() -> None:
    found = {}
    for path in good_shared_pictures():
        with Image.open(path) as picture:  # its pixels are not needed
            found[path] = find_damage(picture, path.read_bytes())
    assert len(found) == 9681
    assert not {path.name: notes for path, notes in found.items() if notes}


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent")
def test_no_good_shared_picture_is_damaged_as_plain_pixels_either() -> None:
    """The same pictures written as BMP: only dark or white grounds could be taken for damage."""
    n_noted = 0
    for path in good_shared_pictures():
        n_noted += bool(notes(saved(decode(path), "BMP")))
    assert n_noted == 0
