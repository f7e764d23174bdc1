"""Damage that Pillow's decoders pass over: bad where a decoder says so, a note where it is likely.

Formats with sums (PNG, Deflate) are held to them; the pixels of JPEG go through a strict decoder.
Others have nothing that could tell: codes that are one repeated byte for long are likely damage,
and so are plain pixels that break off in the midst of a picture and are one byte to their end.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures.decoding._jpeg import RUN, SOI, find_jpeg_damage

JPEGS = ("JPEG", "MPO")  # MPO: a JPEG file with more pictures behind the first, as phones make
_NUMBER = rb"(?:\s|#[^\n]*\n)+([-\d.]+)"
PPM_HEADERS = {  # the kinds in bytes; P4, black and white, names no largest value
    kind: re.compile(kind + _NUMBER * n_numbers + rb"\s")
    for kind, n_numbers in ((b"P4", 2), (b"P5", 3), (b"P6", 3), (b"Pf", 3))
}
PNG_START = b"\x89PNG\r\n\x1a\n"
# Tags of TIFF.
COMPRESSION, STRIPS, STRIP_BYTES, TILES, TILE_BYTES, JPEG_TABLES = 259, 273, 279, 324, 325, 347
PLAIN, TIFF_JPEG, DEFLATE, FAX = 1, 7, (8, 32946), (2, 3, 4)
SILENT = (6, 34925)  # JPEG of the old kind has no sums; LZMA's decoder looks at its own
SOME = 64  # bytes; shorter runs say nothing
MANY = 256  # bytes; no encoder writes so many but WebP's
PART = 8  # a run of so great a part of all codes is no flat picture's
TAIL = 5  # plain pixels are looked at if more than this part of them is one byte
GROUND = 4  # a picture's ground fills this part of a row that it is in, or more
BLOCK = 1 << 16

CUT_OFF = "the last pixels are all black or all white from one place on: perhaps damaged"


def find_damage(picture: Image.Image, data: bytes) -> frozenset[str]:
    """What is likely wrong with a file that Pillow has decoded.

    Parameters
    ----------
    picture : PIL.Image.Image
        Loaded.
    data : bytes
        The file that it is from.

    Returns
    -------
    frozenset of str
        Notes, in words; empty for nearly all.

    Raises
    ------
    ImageReadError
        If a decoder or a sum says that it is damaged.
    """
    look = _LOOKS.get(str(picture.format))
    found = frozenset() if look is None else frozenset(filter(None, look(picture, data)))
    return found - {CUT_OFF} if picture.mode == "1" else found  # black and white are all it has


def _of_jpeg(_: Image.Image, data: bytes) -> Iterator[str]:
    damage, note = find_jpeg_damage(data)
    if damage:
        raise ImageReadError(f"damaged JPEG data: {damage}")
    yield note


def _of_png(_: Image.Image, data: bytes) -> Iterator[str]:
    _check_sums(data)
    yield ""


def _check_sums(data: bytes) -> None:
    """Hold the pixels' chunks of a PNG to their sums; Pillow leaves that out."""
    place, is_inside = len(PNG_START), False
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        is_pixels = data[place + 4 : place + 8] == b"IDAT"
        if is_inside and not is_pixels:
            return
        is_inside = is_pixels
        end = place + 8 + length
        if (
            is_pixels
            and zlib.crc32(data[place + 4 : end]).to_bytes(4, "big") != data[end : end + 4]
        ):
            raise ImageReadError("damaged PNG data: a wrong check sum (CRC)")
        place = end + 4


def _of_tiff(picture: Any, data: bytes) -> Iterator[str]:
    tags = picture.tag_v2
    compression, strips = tags.get(COMPRESSION, PLAIN), _strips(tags, data)
    if compression == PLAIN:
        yield _note_tail(b"".join(strips), picture.height)
    elif compression == TIFF_JPEG:
        tables = tags.get(JPEG_TABLES, b"")
        for strip in strips:
            whole = SOI + tables[2:-2] + strip[2:] if tables else strip
            yield from _of_jpeg(picture, whole)
    elif compression in DEFLATE:
        _check_deflated(strips, 8 * picture.width * picture.height)
    elif compression not in SILENT:
        # A blank row is ones in fax codes.
        yield _note_run(b"".join(strips), b"\0" if compression in FAX else b"\0\xff")


def _strips(tags: Any, data: bytes) -> list[bytes]:
    """The pixels' bytes as they lie in the file, strip by strip or tile by tile."""
    places, sizes = tags.get(STRIPS, tags.get(TILES)), tags.get(STRIP_BYTES, tags.get(TILE_BYTES))
    if not isinstance(places, tuple) or not isinstance(sizes, tuple):
        return []
    return [data[place : place + size] for place, size in zip(places, sizes, strict=False)]


def _check_deflated(strips: list[bytes], most: int) -> None:
    """Hold strips to their sums, as long as they are no larger than their picture."""
    for strip in strips:
        inflate, rest = zlib.decompressobj(), strip
        try:
            while rest and not inflate.eof and most > 0:
                most -= len(inflate.decompress(rest, BLOCK))
                rest = inflate.unconsumed_tail
        except zlib.error as error:
            raise ImageReadError(f"damaged TIFF data: {error}") from error


def _of_bmp(picture: Image.Image, data: bytes) -> Iterator[str]:
    (offset, head) = struct.unpack_from("<II", data, 10)
    bits, compression = struct.unpack_from("<HI", data, 28)
    if head < 40:  # the oldest header
        bits, compression = struct.unpack_from("<H", data, 24)[0], 0
    if compression in (0, 3, 6):  # none, with or without masks
        row = (picture.width * bits + 31) // 32 * 4
        yield _note_tail(data[offset : offset + row * picture.height], picture.height)
    else:
        yield _note_run(data[offset:])


def _of_ppm(picture: Image.Image, data: bytes) -> Iterator[str]:
    kind = data[:2]
    header = PPM_HEADERS[kind].match(data) if kind in PPM_HEADERS else None
    if header is None:
        return
    n_bytes = 2 if kind in (b"P5", b"P6") and int(header[3]) > 255 else 1
    bits = {b"P4": 1, b"P5": 8 * n_bytes, b"P6": 24 * n_bytes, b"Pf": 32}[kind]
    size = (picture.width * bits + 7) // 8 * picture.height
    yield _note_tail(data[header.end() : header.end() + size], picture.height)


def _of_icon(picture: Image.Image, data: bytes) -> Iterator[str]:
    """Of the icons in the file the one that was decoded."""
    (n_icons,) = struct.unpack_from("<H", data, 4)
    for i in range(n_icons):
        size, place = struct.unpack_from("<II", data, 6 + 16 * i + 8)
        icon = data[place : place + size]
        if icon.startswith(PNG_START):
            if struct.unpack_from(">II", icon, 16) == picture.size:
                _check_sums(icon)
        elif struct.unpack_from("<i", icon, 4)[0] == picture.width:
            yield _note_tail(icon, picture.height)


def _of_webp(picture: Image.Image, data: bytes) -> Iterator[str]:
    for kind, body in _chunks(data, 12):
        if kind == b"ANMF":  # a frame, with chunks of its own; the first counts
            kind, body = next(
                (pair for pair in _chunks(body, 16) if pair[0].startswith(b"VP8")), (b"", b"")
            )
        if kind in (b"VP8 ", b"VP8L"):
            # For large flat areas its coder writes zeros alone: a byte for 10,000 pixels.
            yield _note_run(body, always=SOME + picture.width * picture.height // 4096)
            return


def _chunks(data: bytes, place: int) -> Iterator[tuple[bytes, bytes]]:
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, place)
        yield kind, data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def _of_boxes(picture: Image.Image, data: bytes) -> Iterator[str]:
    """AVIF and HEIC: the pixels are in boxes of media, maybe beside what is said about them."""
    for words in ("exif", "xmp", "icc_profile"):  # these may hold anything
        said = picture.info.get(words)
        if isinstance(said, bytes) and len(said) > MANY:
            data = data.replace(said[6:], b"-" * (len(said) - 6))
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        end = place + size if size else len(data)
        if end <= place:
            return
        if kind == b"mdat":
            yield _note_run(data[start:end])
        place = end


def _of_jpeg2000(_: Image.Image, data: bytes) -> Iterator[str]:
    start = max(data.find(b"\xff\x93"), 0)  # from the marker SOD to the marker EOC
    end = data.find(b"\xff\xd9", start)
    yield _note_run(data[start : end if end >= 0 else None])


def _note_run(codes: bytes, values: bytes = b"\0\xff", always: int = MANY) -> str:
    """A note if among compressed pixels there is a run of one of the values.

    `always`: so many of them are too many, of however large a picture.
    """
    least = max(SOME, min(always, -(-len(codes) // PART)))
    return RUN if any(bytes([value]) * least in codes for value in values) else ""


def _note_tail(pixels: bytes, height: int) -> str:
    """A note if plain pixels break off where a picture would not, and are one byte from there on.

    A page, a drawing or a thing on a ground ends in its ground too, but the row before that is
    ground for the most part as well; a film's black bars are above and below.
    """
    last = pixels[-1:]
    if last not in (b"\0", b"\xff"):
        return ""
    rest = pixels.rstrip(last)
    n_last, row = len(pixels) - len(rest), max(len(pixels) // max(height, 1), 1)
    if n_last * TAIL <= len(pixels) or n_last < SOME:
        return ""
    n_first = len(rest) - len(rest.lstrip(last))
    is_ground = GROUND * rest[-row:].count(last) >= min(row, len(rest))
    return "" if is_ground or 2 * n_first >= n_last else CUT_OFF


_LOOKS: dict[str, Callable[[Any, bytes], Iterator[str]]] = {
    **dict.fromkeys(JPEGS, _of_jpeg),
    "PNG": _of_png,
    "TIFF": _of_tiff,
    "BMP": _of_bmp,
    "PPM": _of_ppm,
    "ICO": _of_icon,
    "WEBP": _of_webp,
    "AVIF": _of_boxes,
    "HEIF": _of_boxes,
    "JPEG2000": _of_jpeg2000,
}
