"""Kinds of TIFF: what Pillow reads right after some help, and what is refused, each by its name."""

from __future__ import annotations

import io
from typing import Any

from PIL import TiffImagePlugin

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures.decoding._pillow import arguments_of, set_arguments

WIDTH, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANES, SUBSAMPLING, FORMAT = (
    256, 258, 259, 262, 277, 284, 530, 339,
)  # fmt: skip
PLAIN, TIFF_JPEG, OLD_JPEG = 1, 7, 6
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR = 0, 1, 2, 6
INTERLEAVED, SEPARATE = 1, 2
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
NUMBERS = {
    UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "float", 4: "undefined",
    5: "complex integer", 6: "complex float",
}  # fmt: skip
COLOURS = {
    WHITE_IS_ZERO: "grey, white is zero", BLACK_IS_ZERO: "grey", RGB: "RGB", 3: "palette",
    4: "mask", 5: "CMYK", YCBCR: "YCbCr", 8: "Lab", 9: "ICC Lab", 10: "ITU Lab",
    32803: "raw of a camera", 34892: "linear raw", 32844: "LogL", 32845: "LogLuv",
}  # fmt: skip
STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
EXPECTED = (
    "expected grey, RGB, RGBA or CMYK of unsigned 8 or 16 bits, or grey of signed 8, 16 or 32, "
    "little-endian unsigned 32 or float 32 bits; convert it"
)
# What libtiff returns in the machine's byte order, and Pillow takes for the file's.
NATIVE = {";16BS": ";16NS", ";32BS": ";32NS", ";32BF": ";32NF", ";32B": ";32N"}


def check_kind(picture: Any) -> None:
    """Refuse kinds that Pillow would read as other numbers than are in the file.

    Parameters
    ----------
    picture : PIL.TiffImagePlugin.TiffImageFile

    Raises
    ------
    ImageReadError
    """
    tags = picture.tag_v2
    colour, compression = tags.get(PHOTOMETRIC, 0), tags.get(COMPRESSION, PLAIN)
    samples = tags.get(SAMPLES, 1)
    is_separate = samples > 1 and tags.get(PLANES, INTERLEAVED) == SEPARATE
    is_jpeg = compression in (TIFF_JPEG, OLD_JPEG)
    is_wrong = (
        (colour in (WHITE_IS_ZERO, BLACK_IS_ZERO) and samples > 2)
        or (colour == YCBCR and not is_jpeg and tags.get(SUBSAMPLING, (2, 2)) != (1, 1))
        or (is_separate and compression == PLAIN and not _has_plain_planes(tags))
    )
    if is_wrong:
        raise ImageReadError(f"{_name(tags)} is not read; {EXPECTED}")


def _has_plain_planes(tags: Any) -> bool:
    """Separate planes that Pillow puts together itself: each colour in 8 bits and nothing else.

    Of 16 bits another message says more.
    """
    bits = set(tags.get(BITS, (1,)))
    return tags.get(PHOTOMETRIC) == RGB and tags.get(SAMPLES) == 3 and bits in ({8}, {16})


def mend_byte_order(picture: Any) -> None:
    """Have compressed pixels of a big-endian file read in the byte order that libtiff gives.

    Raises
    ------
    ImageReadError
        If this Pillow does not allow that.
    """
    tiles = arguments_of(picture)
    if tiles is not None:
        set_arguments(picture, [_mend(codec, arguments) for codec, arguments in tiles])
    elif picture.tag_v2.prefix == b"MM" and picture.tag_v2.get(COMPRESSION, PLAIN) != PLAIN:
        raise ImageReadError(
            "a big-endian TIFF with compression is not read with this version of Pillow; save it "
            "as little-endian"
        )


def _mend(codec: str, arguments: Any) -> Any:
    if codec != "libtiff" or not isinstance(arguments[0], str):
        return arguments
    raw = arguments[0]
    kind = raw[raw.find(";") :]
    return (raw.replace(kind, NATIVE.get(kind, kind)), *arguments[1:])


def why_unread(data: bytes) -> str:
    """Why Pillow does not open a file that begins as a TIFF does: its kind, or what is damaged."""
    if data.startswith(b"MM\0+"):
        return "a big-endian BigTIFF is not read; save it as little-endian or as a plain TIFF"
    try:
        tags = _read_tags(data)
    except Exception:  # Pillow raises almost anything on hostile bytes
        tags = {}
    if WIDTH not in tags:
        return "truncated or damaged: its TIFF directory is not where the header says"
    try:
        TiffImagePlugin.TiffImageFile(io.BytesIO(data)).close()
    except SyntaxError as error:
        # Planes that Pillow cannot put together end in an IndexError.
        is_kind = "pixel mode" in str(error) or "data organization" in str(error)
        if is_kind or isinstance(error.__cause__, IndexError):
            return f"{_name(tags)} is not read; {EXPECTED}"
        if isinstance(error.__cause__, KeyError):
            number = tags.get(COMPRESSION, PLAIN)
            return f"TIFF of compression {number} is not read; save it as Deflate or LZW"
        return f"damaged TIFF: {error}"
    except Exception as error:
        return f"damaged TIFF: {(str(error) or type(error).__name__).splitlines()[0]}"
    return "damaged TIFF"


def _read_tags(data: bytes) -> Any:
    is_big = data[2:3] == b"+"
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if is_big else 8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _name(tags: Any) -> str:
    """A kind in words, as 'TIFF of 5 bands of unsigned 8 bits (grey)'."""
    samples = tags.get(SAMPLES, 1)
    bits = _each(tags.get(BITS, (1,)))
    kinds = _each(tags.get(FORMAT, (UNSIGNED,)), NUMBERS)
    bands = "1 band" if samples == 1 else f"{samples} bands"
    colour = COLOURS.get(tags.get(PHOTOMETRIC, 0), "of an unknown colour space")
    planes = ", separate planes" if samples > 1 and tags.get(PLANES) == SEPARATE else ""
    subsampled = ""
    if tags.get(PHOTOMETRIC) == YCBCR and tags.get(SUBSAMPLING, (2, 2)) != (1, 1):
        subsampled = ", colours at a lower resolution"
    return f"TIFF of {bands} of {kinds} {bits} bits ({colour}{planes}{subsampled})"


def _each(values: Any, words: dict[int, str] | None = None) -> str:
    """Different values once each, in words; a hostile file may say thousands."""
    values = values if isinstance(values, tuple) else (values,)
    named = dict.fromkeys(str(words.get(value, value) if words else value) for value in values[:8])
    return "/".join(named)
