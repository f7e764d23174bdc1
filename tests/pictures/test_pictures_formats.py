"""Formats that need more than Pillow, limits, and what is said about pictures."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures import DecodeOptions, decode, decode_with_notes
from tlfeatures.pictures.decoding import _open as module

RAMP = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def heic(picture: Image.Image, **options: object) -> bytes:
    library = pytest.importorskip("pillow_heif", reason="the extra 'heif' is not installed")
    if not hasattr(Image.Image(), "_im"):
        pytest.skip("the installed pillow-heif is for Pillow 11.1 and later")
    buffer = io.BytesIO()
    library.from_pillow(picture).save(buffer, quality=100, **options)
    return buffer.getvalue()


def test_heic_is_decoded_with_its_extra() -> None:
    pixels = np.asarray(decode(heic(Image.fromarray(RAMP)))).astype(int)
    assert np.abs(pixels - RAMP).mean() < 2


def test_heic_without_its_extra_is_a_bad_picture_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = heic(Image.fromarray(RAMP))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    module.has_heif.cache_clear()
    try:
        with pytest.raises(ImageReadError, match=r"pip install 'tlfeatures\[heif\]'"):
            decode(data)
    finally:
        module.has_heif.cache_clear()


def test_a_truncated_heic_is_a_bad_picture() -> None:
    with pytest.raises(ImageReadError):
        decode(heic(Image.fromarray(RAMP))[:400])


def test_avif_is_decoded_or_names_the_pillow_it_needs() -> None:
    Image.init()
    if "AVIF" not in Image.OPEN:
        start = b"\0\0\0 ftypavif" + bytes(40)
        with pytest.raises(ImageReadError, match=r"Pillow 11\.3"):
            decode(start)
        return
    pixels = np.asarray(decode(saved(Image.fromarray(RAMP), "AVIF", quality=95))).astype(int)
    assert np.abs(pixels - RAMP).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG2000", "ICO", "BMP", "PPM", "WEBP"])
def test_other_formats_keep_their_colours(kind: str) -> None:
    options = {"quality": 100} if kind == "WEBP" else {}
    sized = {"sizes": [(64, 64)]} if kind == "ICO" else {}
    pixels = np.asarray(decode(saved(Image.fromarray(RAMP), kind, **options, **sized))).astype(int)
    assert np.abs(pixels - RAMP).mean() < 2


def test_cmyk_has_right_colours_inverted_as_in_jpegs_or_not_as_in_tiffs() -> None:
    picture = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    inverted, plain = saved(picture, "JPEG", quality=95), saved(picture, "TIFF")
    assert b"Adobe" in inverted
    place = inverted.index(b"\xff\xee")  # the segment that says so
    length = struct.unpack(">H", inverted[place + 2 : place + 4])[0]
    unmarked = inverted[:place] + inverted[place + 2 + length :]
    for data in (inverted, unmarked, plain):
        red = np.asarray(decode(data))[8, 8]
        assert red[0] > 245
        assert red[1:].max() < 10


def test_transparency_frames_and_depth_are_noted_and_plain_pictures_are_not() -> None:
    rgba = saved(Image.new("RGBA", (4, 4), (9, 9, 9, 100)), "PNG")
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue")]
    animated = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    floats = saved(Image.fromarray(np.array([[-3.0, 900.0]], np.float32)), "TIFF")
    found = [decode_with_notes(data).notes for data in (rgba, animated, floats)]
    for notes, words in zip(found, ("over white", "the first taken", "float values"), strict=True):
        (note,) = notes
        assert words in note
    assert not decode_with_notes(saved(Image.fromarray(RAMP), "JPEG")).notes
    assert not decode_with_notes(saved(Image.fromarray(RAMP), "PNG")).notes


def test_a_limit_of_pixels_makes_larger_pictures_bad() -> None:
    data = saved(Image.new("L", (30, 20)), "PNG")
    assert decode(data, DecodeOptions(max_pixels=600)).size == (30, 20)
    with pytest.raises(
        ImageReadError, match=r"600 pixels, the limit is 599 pixels; .*--max-pixels"
    ):
        decode(data, DecodeOptions(max_pixels=599))


def test_a_limit_above_pillows_lets_larger_pictures_in_for_that_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = saved(Image.new("L", (30, 20)), "PNG")
    with pytest.raises(ImageReadError, match="too large"):
        decode(data)
    assert decode(data, DecodeOptions(max_pixels=600)).size == (30, 20)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_file_without_permission_is_a_bad_picture(tmp_path: Path) -> None:
    # A folder in the place of a file cannot be read by anyone, root included.
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(ImageReadError, match="not a regular file"):
        decode(tmp_path / "a.jpg")
