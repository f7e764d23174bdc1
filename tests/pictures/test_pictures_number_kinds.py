"""Every kind of number that a TIFF or a PNG can hold keeps its order, or is refused by its name."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures import DecodeOptions, decode, decode_with_notes

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

HEIGHT, WIDTH = 20, 24
UNSIGNED, SIGNED, FLOATS = ("u1", "u2", "u4", "u8"), ("i1", "i2", "i4", "i8"), ("f2", "f4", "f8")
# By the rules of docs/numerics.md; all others are refused.
READ_GREY = {"u1", "u2", "u4", "i1", "i2", "i4", "f4"}
READ_RGB = {"u1", "u2"}
IS_OLD = int(PIL.__version__.partition(".")[0]) < 11  # knows fewer kinds
LAYOUTS: list[dict[str, Any]] = [
    {}, {"tile": (16, 16)}, {"bigtiff": True}, {"rowsperstrip": 3},
    {"compression": "deflate"}, {"compression": "deflate", "tile": (16, 16)},
    {"compression": "deflate", "predictor": True}, {"compression": "lzw"},
    {"compression": "packbits"}, {"compression": "zstd"},
]  # fmt: skip


def values(kind: str, *shape: int, bits: int | None = None) -> np.ndarray:
    rng, dtype = np.random.default_rng(0), np.dtype(kind)
    if dtype.kind in "fc":
        return rng.random(shape).astype(dtype)
    limits = np.iinfo(dtype)
    highest = limits.max if bits is None else 2**bits - 1
    return rng.integers(limits.min, highest, shape, dtype=dtype, endpoint=True)


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    try:
        tifffile.imwrite(file, pixels, **{"metadata": None, **options})
    except ValueError as error:  # a predictor for such numbers does not exist
        pytest.skip(str(error))
    return file.getvalue()


def pixels_of(data: bytes, **options: Any) -> np.ndarray:
    return np.asarray(decode(data, DecodeOptions(**options))).astype(int)


def expected(pixels: np.ndarray) -> np.ndarray:
    """By the stated rules."""
    if pixels.dtype.kind == "f":
        return np.rint(pixels.astype(float) * 255).astype(int)
    if pixels.dtype == np.int8:
        return pixels.astype(int) + 128
    if pixels.dtype == np.uint8:
        return pixels.astype(int)
    return np.rint(np.clip(pixels.astype(float), 0, 65535) / 257).astype(int)


def decoded_or_reason(data: bytes) -> np.ndarray | str:
    try:
        return pixels_of(data)
    except ImageReadError as error:
        return str(error)


def reason(data: bytes) -> str:
    with pytest.raises(ImageReadError) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [*UNSIGNED, *SIGNED, *FLOATS, "c8", "c16"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_grey_tiffs_agree_with_an_independent_reader_or_are_named(
    kind: str, order: str, layout: dict[str, Any]
) -> None:
    if IS_OLD and layout.get("compression") == "zstd":
        pytest.skip("Pillow without Zstandard")
    data = tiff(values(kind, HEIGHT, WIDTH), byteorder=order, photometric="minisblack", **layout)
    if order == ">" and layout.get("bigtiff"):
        assert "big-endian BigTIFF is not read" in reason(data)
    elif kind in READ_GREY and (kind, order) != ("u4", ">"):
        read = tifffile.imread(io.BytesIO(data))
        assert np.array_equal(pixels_of(data)[..., 0], expected(read))
    else:
        size = 8 * np.dtype(kind).itemsize
        words = {"u": "unsigned", "i": "signed", "f": "float", "c": "complex float"}[kind[0]]
        assert f"TIFF of 1 band of {words} {size} bits (grey) is not read" in reason(data)
        assert "signed 8, 16 or 32, little-endian unsigned 32 or float 32 bits" in reason(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [*UNSIGNED, *SIGNED, *FLOATS])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("n_bands", [2, 3, 4, 5, 6])
def test_bands_agree_with_an_independent_reader_or_are_named(
    n_bands: int, compression: str | None, planes: str, kind: str, order: str
) -> None:
    is_separate = planes == "separate"
    shape = (n_bands, HEIGHT, WIDTH) if is_separate else (HEIGHT, WIDTH, n_bands)
    is_rgb = n_bands in (3, 4)
    options: dict[str, Any] = {"photometric": "rgb" if is_rgb else "minisblack"}
    if n_bands == 4:
        options["extrasamples"] = ["unspecified"]
    data = tiff(
        values(kind, *shape),
        planarconfig=planes,
        compression=compression,
        byteorder=order,
        **options,
    )
    found = decoded_or_reason(data)
    if isinstance(found, str):
        grey = set() if IS_OLD else {"u1"}
        may_be_read = not is_separate and kind in (grey if n_bands == 2 else READ_RGB)
        assert not (may_be_read and n_bands < 5)
        is_named = f"TIFF of {n_bands} bands of " in found and "is not read; expected" in found
        assert is_named or "save it interleaved" in found
        return
    read = tifffile.imread(io.BytesIO(data))
    read = np.moveaxis(read, 0, -1) if is_separate else read
    assert n_bands < 5
    wanted = expected(read[..., :3] if is_rgb else read[..., 0])
    # Of 16 bits separate planes and bands beside RGB are read in 8.
    is_rounded = kind == "u2" and (is_separate or n_bands == 4)
    assert np.abs((found if is_rgb else found[..., 0]) - wanted).max() <= int(is_rounded)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("colour", ["minisblack", "miniswhite", "rgb"])
def test_packed_bits_keep_their_order_or_are_named(bits: int, colour: str) -> None:
    shape = (HEIGHT, WIDTH, 3) if colour == "rgb" else (HEIGHT, WIDTH)
    pixels = values("u1" if bits <= 8 else "u2", *shape, bits=bits)
    data = tiff(pixels, bitspersample=bits, photometric=colour)
    found = decoded_or_reason(data)
    if isinstance(found, str):
        assert f"unsigned {bits} bits" in found
        assert "is not read; expected" in found
        assert bits not in ({8, 16} if colour == "rgb" else {1, 2, 4, 8, 16})
        return
    largest = 255 if bits == 8 else 65535 if bits > 8 else 2**bits - 1
    wanted = np.rint(pixels * (255 / largest)).astype(int)
    wanted = 255 - wanted if colour == "miniswhite" else wanted
    assert np.array_equal(found if colour == "rgb" else found[..., 0], wanted)


@pytest.mark.parametrize("kind", sorted(READ_GREY))
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_order_of_values_is_kept_over_the_whole_range(kind: str, order: str) -> None:
    if np.dtype(kind).kind == "f":
        line = np.linspace(-5, 900, 512).astype(kind)
    else:
        limits = np.iinfo(kind)
        line = np.linspace(limits.min, limits.max, 512).astype(kind)
    data = tiff(line[None], byteorder=order, photometric="minisblack", compression="deflate")
    if (kind, order) == ("u4", ">"):
        assert "unsigned 32 bits" in reason(data)
        return
    found = pixels_of(data)[0, :, 0]
    assert (np.diff(found) >= 0).all()
    assert found[0] == 0
    if np.dtype(kind).kind == "i":
        assert found[line < 0].max() <= found[line >= 0].min()


def test_negatives_of_eight_bits_are_dark_and_a_range_holds_for_them_too() -> None:
    data = tiff(np.array([[-128, -1, 0, 127]], np.int8), photometric="minisblack")
    decoded = decode_with_notes(data)
    assert np.asarray(decoded.picture)[0, :, 0].tolist() == [0, 127, 128, 255]
    assert not decoded.notes
    assert pixels_of(data, range=(0, 127))[0, :, 0].tolist() == [0, 0, 0, 255]


def test_cmyk_of_sixteen_bits_is_read_in_eight_and_noted() -> None:
    pixels = values("u2", HEIGHT, WIDTH, 4)
    deep = tiff(pixels, photometric="separated")
    plain = tiff((pixels >> 8).astype(np.uint8), photometric="separated")
    assert np.array_equal(pixels_of(deep), pixels_of(plain))
    assert decode_with_notes(deep).notes == {"16 bits a channel read in 8"}


def test_palettes_of_a_tiff_keep_their_colours() -> None:
    colours = values("u2", 3, 256)
    places = values("u1", HEIGHT, WIDTH)
    data = tiff(places, photometric="palette", colormap=colours)
    wanted = np.moveaxis(colours[:, places] >> 8, 0, -1)
    assert np.array_equal(pixels_of(data), wanted)


def test_colours_at_a_lower_resolution_are_read_from_jpeg_and_else_named() -> None:
    smooth = np.asarray(Image.radial_gradient("L").resize((64, 64)).convert("RGB"))
    ycbcr = np.asarray(Image.fromarray(smooth).convert("YCbCr"))
    data = tiff(ycbcr, photometric="ycbcr", compression="jpeg", subsampling=(2, 2))
    assert np.abs(pixels_of(data) - tifffile.imread(io.BytesIO(data))).max() <= 2
    assert np.abs(pixels_of(data) - smooth).mean() < 4
    plain = tiff(ycbcr, photometric="ycbcr")
    if not IS_OLD:
        assert np.abs(pixels_of(plain) - smooth).mean() < 4
    whole, half = (struct.pack("<HHIHH", 530, 3, 2, each, each) for each in (1, 2))
    assert whole in plain
    assert "colours at a lower resolution" in reason(plain.replace(whole, half))


def test_more_bands_of_rgb_than_four_are_left_aside_as_the_file_says() -> None:
    pixels = values("u1", HEIGHT, WIDTH, 5)
    data = tiff(pixels, photometric="rgb", planarconfig="contig", extrasamples=["unspecified"] * 2)
    assert np.array_equal(pixels_of(data), pixels[..., :3])


@pytest.mark.parametrize("kind", ["f4", "u2", "u1"])
def test_damaged_tiffs_are_not_said_to_be_of_a_kind(kind: str) -> None:
    data = tiff(values(kind, HEIGHT, WIDTH), photometric="minisblack")
    last = int.from_bytes(data[4:8], "little")
    for broken in (data[:6], data[: last + 1], b"II*\0" + bytes(300), b"MM\0*" + b"\xff" * 50):
        assert reason(broken).startswith(("truncated or damaged", "damaged TIFF"))


def test_an_unknown_compression_is_named() -> None:
    data = bytearray(tiff(values("u1", HEIGHT, WIDTH), photometric="minisblack"))
    place = data.index(struct.pack("<HHIH", 259, 3, 1, 1))
    data[place + 8 : place + 10] = struct.pack("<H", 50002)
    assert "TIFF of compression 50002 is not read" in reason(bytes(data))


GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
         (1, 0, 2, 1))  # fmt: skip


def png(
    pixels: np.ndarray, kind: int, depth: int, *, clear: bytes = b"", colours: bytes = b"",
    interlaced: bool = False,
) -> bytes:  # fmt: skip
    """A PNG by the standard, of any kind and depth, one row filter, maybe interlaced."""

    def chunk(name: bytes, data: bytes) -> bytes:
        sums = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + sums

    def row_bytes(row: np.ndarray) -> bytes:
        if depth == 16:
            return row.astype(">u2").tobytes()
        bits = "".join(f"{int(value):0{depth}b}" for value in row.ravel())
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced))
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [pixels[y::dy, x::dx] for y, x, dy, dx in passes]
    rows = b"".join(b"\0" + row_bytes(row) for part in parts for row in part if part.size)
    body = chunk(b"IHDR", header)
    body += chunk(b"PLTE", colours) if colours else b""
    body += chunk(b"tRNS", clear) if clear else b""
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_value_of_a_grey_png_is_white_and_no_other(
    depth: int, interlaced: bool
) -> None:
    largest = 2**depth - 1
    pixels = values("u2", 9, 11, bits=depth)
    for value in {0, 1, largest // 2, largest}:
        pixels[0, 0] = value
        data = png(pixels, GREY, depth, clear=struct.pack(">H", value), interlaced=interlaced)
        wanted = np.rint(pixels * (255 / largest)).astype(int)
        wanted[pixels == value] = 255
        assert np.array_equal(pixels_of(data)[..., 0], wanted)
        assert "transparency laid over white" in decode_with_notes(data).notes
    plain = png(pixels, GREY, depth, interlaced=interlaced)
    assert np.array_equal(pixels_of(plain)[..., 0], np.rint(pixels * (255 / largest)))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_colour_of_an_rgb_png_is_white_and_no_other(
    depth: int, interlaced: bool
) -> None:
    pixels = values("u2", 9, 11, 3, bits=depth)
    pixels[2, 3:5] = pixels[0, 0]
    clear = struct.pack(">3H", *pixels[0, 0].tolist())
    data = png(pixels, RGB, depth, clear=clear, interlaced=interlaced)
    wanted = np.rint(pixels * (255 / (2**depth - 1))).astype(int)
    wanted[(pixels == pixels[0, 0]).all(-1)] = 255
    assert np.array_equal(pixels_of(data), wanted)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_keeps_its_colours_and_its_partial_transparency(depth: int) -> None:
    n_colours = 2**depth
    places = values("u2", 9, 11, bits=depth)
    colours = values("u1", n_colours, 3)
    alpha = values("u1", max(n_colours // 2, 1))  # of the first ones; the rest is opaque
    data = png(places, PALETTE, depth, colours=colours.tobytes(), clear=alpha.tobytes())
    each = np.full(n_colours, 255)
    each[: len(alpha)] = alpha
    share = each[places][..., None] / 255
    wanted = colours[places] * share + 255 * (1 - share)
    assert np.abs(pixels_of(data) - wanted).max() <= 1


@pytest.mark.parametrize("kind", [GREY_ALPHA, RGBA])
@pytest.mark.parametrize("depth", [8, 16])
def test_alpha_of_either_depth_lays_the_picture_over_white(kind: int, depth: int) -> None:
    pixels = values("u2", 9, 11, CHANNELS[kind], bits=depth)
    parts = pixels / (2**depth - 1)
    share = parts[..., -1:]
    wanted = 255 * (parts[..., :-1] * share + 1 - share)
    found = pixels_of(png(pixels, kind, depth))
    assert np.abs((found if kind == RGBA else found[..., :1]) - wanted).max() <= 1.5


def test_a_picture_of_200_megapixels_names_the_option_and_both_numbers() -> None:
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 1, GREY, 0, 0, 0)
    data = bytearray(png(values("u2", 9, 11, bits=1), GREY, 1))
    data[16:29] = header
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    gif = b"GIF89a" + struct.pack("<HHBBB", 20_000, 10_000, 0, 0, 0)
    gif += b"," + struct.pack("<HHHHB", 0, 0, 20_000, 10_000, 0) + b"\x02\x00;"
    bmp = b"BM" + struct.pack("<IHHI", 100, 0, 0, 54)
    bmp += struct.pack("<IiiHHIIiiII", 40, 20_000, 10_000, 1, 24, 0, 0, 0, 0, 0, 0)
    large = tiff(np.zeros((1, 1), np.uint8), photometric="minisblack")
    for tag, value in ((256, 20_000), (257, 10_000)):
        old = struct.pack("<HHII", tag, 4, 1, 1)
        if old not in large:
            old = struct.pack("<HHIHH", tag, 3, 1, 1, 0)
        large = large.replace(old, struct.pack("<HHII", tag, 4, 1, value))
    for file in (bytes(data), gif, bmp, b"P5 20000 10000 255\n", large):
        assert reason(file) == (
            "too large: 200.0 megapixels, the limit is 179.0 megapixels; "
            "raise it with --max-pixels (max_pixels=)"
        )
        with pytest.raises(ImageReadError, match=r"the limit is 2\.0 megapixels"):
            decode(file, DecodeOptions(max_pixels=2_000_000))
