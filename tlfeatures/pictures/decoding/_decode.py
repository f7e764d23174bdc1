"""Bytes -> right RGB, by stated rules; whatever cannot be decoded is a bad picture with a reason.

Transparency is laid over white. Grey and colour of 16 bits are divided by 257, 32-bit integers are
cut to 16 first, signed integers of 8 bits are raised by 128. Float pixels: values within 0..1 are
multiplied by 255, within 0..255 taken as they are, otherwise their range is stretched to 0..255;
what is not finite is 0. A range LO,HI replaces these rules: LO becomes 0, HI 255, what is outside
is cut. CMYK in a JPEG is taken as inverted, as Adobe writes it, with or without its marker (so do
browsers); in a TIFF as it stands. Lab goes through its colour profile to sRGB; embedded profiles
are not applied. Of several pages or frames the first. Grey with transparency of 16 bits is read in
8 (the high byte): Pillow has no more. The orientation of a TIFF belongs to its format: Pillow
applies it whatever the options say. Files are also looked at for damage that Pillow passes over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from tlfeatures.errors import UsageError
from tlfeatures.pictures.decoding._damage import find_damage
from tlfeatures.pictures.decoding._depth import deep_values, has_sixteen_bits, to_eight
from tlfeatures.pictures.decoding._open import as_bytes, has_heif, open_picture
from tlfeatures.pictures.decoding._pillow import as_own_rgb

ORIENTATION = 0x0112  # EXIF
RULES = 1  # raised when the same bytes come out as other pixels
CHECKS = 1  # raised when other files are bad
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BULK, BULK_VALUES = (0.1, 99.9), 1 << 16
DARKEST = 65536 / 8  # a picture of 16 bits that uses less comes out nearly black

TRANSPARENT = "transparency laid over white"
FRAMES = "several pages or frames, the first taken"
DARK = (
    "deeper than 8 bits but nearly black: under an eighth of the range is used; 'tlfeatures look "
    "IMAGES' says which `range` to give"
)
STRETCHED = "float values outside 0..255, stretched to it"
COLOUR16 = "16 bits a channel read in 8"


@dataclass(frozen=True)
class DecodeOptions:
    """How a picture is decoded.

    Attributes
    ----------
    exif : bool
        Turn the picture as its EXIF orientation says.
    range : tuple of two float or None
        Of pictures deeper than 8 bits, the values that become 0 and 255; None: the full range.
    max_pixels : int or None
        Larger pictures are bad; None: Pillow's own limit (about 179 million).
    least_side : int or None
        JPEG files are decoded at a half, a quarter or an eighth of their size, as far as the short
        side keeps so many pixels; None: at full size.

    Raises
    ------
    UsageError
        If the range is empty or the limit below 1.
    """

    exif: bool = True
    range: tuple[float, float] | None = None
    max_pixels: int | None = None
    least_side: int | None = None

    def __post_init__(self) -> None:
        if self.range is not None and not -np.inf < self.range[0] < self.range[1] < np.inf:
            low, high = self.range
            raise UsageError(
                f"range {low:g},{high:g} is empty; give two numbers, the smaller one first."
            )
        if self.max_pixels is not None and self.max_pixels < 1:
            raise UsageError(f"max_pixels is {self.max_pixels}; it must be at least 1.")

    def to_json(self) -> dict[str, Any]:
        """What changes the pixels, as plain data; part of a picture's key.

        Not `least_side`: it follows from the code spec, which says how pictures are decoded.
        """
        return {"exif": self.exif, "range": None if self.range is None else list(self.range)}


@dataclass(frozen=True)
class Decoded:
    """A picture and what was done to it.

    Attributes
    ----------
    picture : PIL.Image.Image
        In mode RGB, new and without metadata.
    notes : frozenset of str
        What a person should know, in words; empty for an ordinary picture.
    """

    picture: Image.Image
    notes: frozenset[str]


def decode(item: Any, options: DecodeOptions | None = None, *, check: bool = True) -> Image.Image:
    """Decode one picture.

    Parameters
    ----------
    item : str, bytes, PIL.Image.Image, or uint8 ndarray of shape (H, W, 3) or (H, W)
        A path, a file's bytes, or a picture in memory, which is not changed.
    options : DecodeOptions, optional
    check : bool, default=True
        Look for damage that decoders pass over. Without, where this has been done before: a picture
        whose codes are stored is not bad later.

    Returns
    -------
    PIL.Image.Image
        In mode RGB, new and without metadata.

    Raises
    ------
    ImageReadError
        For every bad picture; its message is the reason, in one line.
    """
    return decode_with_notes(item, options, check=check).picture


def decode_with_notes(
    item: Any, options: DecodeOptions | None = None, *, check: bool = True
) -> Decoded:
    """Decode one picture as `decode` does, and say what was done to it.

    Raises
    ------
    ImageReadError
    """
    options = options or DecodeOptions()
    item = as_bytes(item)
    check = check and isinstance(item, bytes)
    with open_picture(item, options.max_pixels, options.least_side, check=check) as picture:
        damage = find_damage(picture, item) if check else frozenset()
        deep = deep_values(picture, item)
        notes = _notes(picture, item, options, deep) | damage
        orientation = orientation_of(picture) if options.exif else 1
        rgb = _to_rgb(picture, options.range, deep, is_unshared=isinstance(item, bytes))
        if orientation in TURNS:
            rgb = rgb.transpose(TURNS[orientation])
        rgb.info = {}  # an EXIF block left here would turn the picture once more
        return Decoded(rgb, notes)


@lru_cache(maxsize=1)
def decoder_versions() -> dict[str, str]:
    """The libraries that decode, with their versions; "none" where one is absent."""
    known = {*features.modules, *features.codecs, *features.features}
    parts = ("jpg", "libjpeg_turbo", "jpg_2000", "zlib", "libtiff", "webp", "avif", "littlecms2")
    found = {name: str(features.version(name) or "none") for name in parts if name in known}
    heif = "none"
    if has_heif():
        import pillow_heif

        heif = str(pillow_heif.__version__)
    return {"rules": str(RULES), "Pillow": PIL.__version__, "pillow-heif": heif, **found}


def checker_versions() -> dict[str, str]:
    """What looks for damage, and decides about no pixel."""
    return {"checks": str(CHECKS), "simplejpeg": simplejpeg.__version__}


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 without one or where the block is invalid."""
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # it says nothing about the pixels
        return 1
    return orientation if isinstance(orientation, int) and orientation in TURNS else 1


def _notes(
    picture: Image.Image, item: Any, options: DecodeOptions, deep: NDArray[Any] | None
) -> frozenset[str]:
    found = {
        FRAMES: isinstance(item, bytes) and bool(getattr(picture, "is_animated", False)),
        TRANSPARENT: picture.has_transparency_data,
        COLOUR16: deep is None and has_sixteen_bits(picture, item),
    }
    if deep is not None and options.range is None:
        low, high = _bulk(deep[..., :3] if deep.ndim == 3 else deep)
        is_float = deep.dtype.kind == "f"
        found[STRETCHED] = is_float and (low < 0 or high > 255)
        found[DARK] = not is_float and deep.itemsize > 1 and 0 < high < DARKEST
    return frozenset(words for words, is_so in found.items() if is_so)


def _bulk(values: NDArray[Any]) -> tuple[float, float]:
    """Between which values nearly all lie: a hot pixel does not make a picture bright."""
    some = values.ravel()[:: -(-values.size // BULK_VALUES)]
    finite = some[np.isfinite(some)]
    if not finite.size:
        return 0.0, 0.0
    low, high = np.percentile(finite, BULK)
    return float(low), float(high)


def _to_rgb(
    picture: Image.Image,
    range_: tuple[float, float] | None,
    deep: NDArray[Any] | None,
    *,
    is_unshared: bool,
) -> Image.Image:
    """A new picture in mode RGB."""
    mode = picture.mode
    if deep is not None:
        eight = to_eight(deep, range_, picture.info.get("transparency"))
        return Image.fromarray(eight).convert("RGB")
    if mode == "LAB":
        converted = ImageCms.applyTransform(picture, _lab_to_srgb())
        if converted is None:
            raise ValueError("no colour transform")
        return converted
    if picture.has_transparency_data:
        layered = picture if mode == "RGBA" else picture.convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(layered, mask=layered)
        return white
    if is_unshared and mode == "RGB":
        return as_own_rgb(picture)
    return picture.convert("RGB")


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
