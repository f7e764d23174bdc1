"""Damage in the pixels of JPEG files: what libjpeg only warns of, and Pillow says nothing about.

A second, strict decoder runs over the file at an eighth of its size: it reads every code but
computes few pixels. Its first complaint is all that it tells, so that a complaint about the header,
which no pixel depends on, is met by asking once more with nothing but tables and scans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import simplejpeg

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
START_OF_SCAN, HUFFMAN, PROGRESSIVE = 0xDA, 0xC4, 0xC2
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
FRAMES = {*range(0xC0, 0xD0)} - {HUFFMAN, 0xC8, 0xCC}
# Quantisation, restarts, frames, Huffman and arithmetic tables, scans: what decides about pixels.
TABLES = {0xDB, 0xDD, START_OF_SCAN, *range(0xC0, 0xD0)}
NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
# Others may be about what this decoder cannot do; Pillow's can, it has decoded the picture.
COMPLAINTS = (
    "Corrupt JPEG data", "Premature end of JPEG file", "Inconsistent progression",
    "Unsupported marker type", "Quantization table", "Huffman table", "Not a JPEG file",
    "Invalid JPEG file structure",
)  # fmt: skip
BEHIND_PIXELS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
ZEROS, ONES = bytes(64), re.compile(rb"\xff{16,}\x00")

RUN = "a long run of one byte among compressed pixels: probably damaged"
PADDED = "JPEG with zeros between its pixels and its end marker: padding, or damage"
COARSE = "progressive JPEG without its last scans: coarser than it was saved"


def find_jpeg_damage(data: bytes) -> tuple[str, str]:
    """What is wrong with the first picture of a JPEG file that Pillow has decoded.

    Returns
    -------
    (damage, note) : tuple of str
        Why the picture is bad, and what is only likely; empty if there is nothing to say.
    """
    complaint = _complaint(data)
    if complaint:
        tables, scans = _split(data)
        complaint = _complaint(b"".join((SOI, *tables, scans)))
    if complaint.startswith(COMPLAINTS):
        return ("", PADDED) if _is_padding(complaint, data) else (_in_words(complaint), "")
    if ZEROS in data and _has_impossible_zeros(data):
        return "a run of zeros among its codes", ""
    if ONES.search(data) and ONES.search(_scan(data)):
        return "a run of 0xff among its codes", ""
    return _of_several_scans(data)


def _complaint(data: bytes) -> str:
    """The strict decoder's first complaint, empty if it has none."""
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except (ValueError, RuntimeError, KeyError) as error:  # KeyError: colours that it does not know
        return str(error)
    return ""


def _in_words(complaint: str) -> str:
    return complaint.removeprefix("Corrupt JPEG data: ").replace("JPEG file", "file").lower()


def _is_padding(complaint: str, data: bytes) -> bool:
    """Whether the complaint is of zeros alone, behind the last pixel."""
    found = BEHIND_PIXELS.search(complaint)
    scan = _scan(data)
    return found is not None and not scan[-int(found[1]) :].strip(b"\0")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to and with the first start of a scan."""
    place = 2
    while 0 <= place < len(data) - 4:
        marker = data[place + 1]
        if data[place] != 0xFF or marker in (0x00, 0xFF):  # fill bytes, or bytes of no segment
            place = data.find(b"\xff", place + 1)
        elif marker in ALONE:
            place += 2
        else:
            end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
            yield marker, place, end
            if marker == START_OF_SCAN:
                return
            place = end


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """The segments that decide about pixels, and all that follows the first start of a scan."""
    segments = list(_segments(data))
    kept = [data[start:end] for marker, start, end in segments if marker in TABLES]
    return kept, data[segments[-1][2] :] if segments else b""


def _scan(data: bytes) -> bytes:
    """The codes, from the first start of a scan to the end marker."""
    rest = _split(data)[1]
    return rest[: rest.find(EOI) % (len(rest) + 1)]


def _has_impossible_zeros(data: bytes) -> bool:
    """Whether a long run of zeros in a sequential scan stands for coefficients.

    Zeros are the first code of a Huffman table, again and again. Where that is the end of a block
    a flat area may be nothing else; where it is a coefficient, blocks of 63 equal ones would follow
    each other, which no picture has.
    """
    if ZEROS not in _scan(data):
        return False
    tables: dict[int, int] = {}
    components = b""
    for marker, start, end in _segments(data):
        if marker == HUFFMAN:
            tables |= _first_symbols(data[start + 4 : end])
        elif marker == PROGRESSIVE:
            return False
        elif marker == START_OF_SCAN:
            components = data[start + 5 : end - 3]
    first = tables.get(0x10 | components[1] & 0x0F) if len(components) > 1 else None
    return first is not None and first & 0x0F > 0


def _first_symbols(tables: bytes) -> dict[int, int]:
    """Of each Huffman table its class and number, and the symbol whose code is all zeros."""
    found, place = {}, 0
    while place + 17 < len(tables):
        found[tables[place]] = tables[place + 17]
        place += 17 + sum(tables[place + 1 : place + 17])
    return found


def _of_several_scans(data: bytes) -> tuple[str, str]:
    """Whether scans are missing at the end, or have runs of zeros in them.

    A decoder fills what was never sent with zeros, and has no complaint. Flat areas have zeros for
    their means alone: that nothing else follows is said once for many blocks.
    """
    frame = next((data[i:j] for marker, i, j in _segments(data) if marker in FRAMES), b"")
    is_progressive = frame[1:2] in (b"\xc2", b"\xca")
    left = {number: _unsent(is_progressive) for number in frame[10::3]}
    has_run = False
    for numbers, first, last, low, codes in _scans(data):
        has_run = has_run or (is_progressive and first > 0 and ZEROS in codes)
        for number in numbers:
            left.get(number, {}).update(dict.fromkeys(range(first, last + 1), low))
        if not is_progressive and len(numbers) == len(left):
            return "", ""  # all of an ordinary picture is in this scan
    if any(bits.get(0, 0) is None for bits in left.values()):
        return "a scan of one of its colours is missing", ""
    is_coarse = any(low != 0 for bits in left.values() for low in bits.values())
    return "", COARSE if is_progressive and is_coarse else RUN if has_run else ""


def _unsent(is_progressive: bool) -> dict[int, int | None]:
    """Coefficients of a colour and the lowest bit that was sent of each; None: nothing yet."""
    return dict.fromkeys(range(64 if is_progressive else 1))


def _scans(data: bytes) -> Iterator[tuple[bytes, int, int, int, bytes]]:
    """Of each scan its components, first and last coefficient, the lowest bit sent, and codes."""
    place = next((start for marker, start, _ in _segments(data) if marker == START_OF_SCAN), None)
    while place is not None:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        found = NEXT_MARKER.search(data, end)
        marker, after = data[place + 1], found.end() - 2 if found else None
        if marker == START_OF_SCAN and place + 8 <= end <= len(data):
            first, last, bits = data[end - 3 : end]
            yield data[place + 5 : end - 3 : 2], first, min(last, 63), bits & 0x0F, data[end:after]
        elif marker == EOI[1]:
            return
        place = after
