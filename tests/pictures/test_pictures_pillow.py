"""What is used of Pillow that it does not document is as it was, and can be done without."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures import decode, decode_with_notes
from tlfeatures.pictures.decoding._pillow import as_own_rgb

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 5, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (6, 5, 3)).astype(np.uint16)


def tiff(pixels: np.ndarray, order: str = "<", compression: str | None = None) -> bytes:
    file = io.BytesIO()
    kind = {"photometric": "rgb"} if pixels.ndim == 3 else {}
    tifffile.imwrite(file, pixels, byteorder=order, compression=compression, **kind)
    return file.getvalue()


@pytest.fixture
def other_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow keeps its tiles in another form."""
    monkeypatch.setattr("tlfeatures.pictures.decoding._depth.arguments_of", lambda picture: None)
    monkeypatch.setattr("tlfeatures.pictures.decoding._tiff.arguments_of", lambda picture: None)


def test_pixels_are_taken_over_by_new() -> None:
    picture = Image.fromarray(PIXELS)
    assert hasattr(picture, "im"), "Pillow's pictures have no 'im' any more: see _pillow.as_own_rgb"
    assert hasattr(picture, "_new"), "Pillow's pictures have no '_new' any more: see _pillow.py"
    own = picture._new(picture.im)
    assert own.im is picture.im, "Pillow's '_new' copies the pixels now: see _pillow.as_own_rgb"


def test_tiles_are_codec_box_offset_and_arguments() -> None:
    for compression, codec in ((None, "raw"), ("deflate", "libtiff")):
        (tile,) = Image.open(io.BytesIO(tiff(PIXELS, ">", compression))).tile
        words = "Pillow's tiles are no longer (codec, box, offset, arguments): see _pillow.py"
        assert tile[0] == codec, words
        assert tile[3][0].startswith("RGB"), words
        assert len(tile) == 4, words


def test_where_pixels_cannot_be_taken_over_they_are_copied() -> None:
    class WithoutNew:
        im = object()

        def convert(self, mode: str) -> Image.Image:
            return Image.fromarray(PIXELS).convert(mode)

    np.testing.assert_array_equal(np.asarray(as_own_rgb(WithoutNew())), PIXELS)


def test_deep_colour_is_read_in_eight_bits_where_tiles_are_unknown(other_tiles: None) -> None:
    found = decode_with_notes(tiff(DEEP))
    np.testing.assert_array_equal(np.asarray(found.picture), DEEP >> 8)
    assert found.notes == {"16 bits a channel read in 8"}


@pytest.mark.parametrize(("order", "compression"), [("<", "deflate"), ("<", None), (">", None)])
def test_other_files_need_no_tiles(other_tiles: None, order: str, compression: str | None) -> None:
    grey = DEEP[..., 0]
    found = np.asarray(decode(tiff(grey, order, compression)))[..., 0]
    np.testing.assert_array_equal(found, np.rint(grey / 257))


def test_a_compressed_big_endian_file_is_refused_where_tiles_are_unknown(other_tiles: None) -> None:
    with pytest.raises(ImageReadError, match="save it as little-endian"):
        decode(tiff(DEEP[..., 0], ">", "deflate"))
