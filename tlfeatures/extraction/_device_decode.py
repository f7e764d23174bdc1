"""JPEG files decoded and resized on the device: faster there, other numbers, a key of its own.

torchvision decodes with nvJPEG; its resize of tensors is the antialiased one, in float32. What it
does not take (other formats, CMYK, damaged files) is decoded by Pillow, which names what is wrong.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional

from tlfeatures.backbones import is_thin
from tlfeatures.pictures import orientation_of

if TYPE_CHECKING:
    from tlfeatures.backbones import Preprocessing
    from tlfeatures.pictures import DecodeOptions

END_OF_IMAGE = b"\xff\xd9"
TAIL = 1024  # bytes after which cameras may write more
INTERPOLATIONS = {
    "nearest": functional.InterpolationMode.NEAREST,
    "bilinear": functional.InterpolationMode.BILINEAR,
    "bicubic": functional.InterpolationMode.BICUBIC,
}
QUARTERS = {3: 2, 4: 2, 6: 3, 7: 2, 8: 1}  # by EXIF orientation, counter-clockwise


def prepare_on_device(
    data: bytes, preprocessing: Preprocessing, options: DecodeOptions, device: str
) -> torch.Tensor | None:
    """Decode, resize and crop one JPEG file.

    Parameters
    ----------
    data : bytes
        The file.
    preprocessing : Preprocessing
    options : DecodeOptions
    device : str

    Returns
    -------
    Tensor of shape (input_size, input_size, 3), uint8, RGB, on the device; or None
        None if the file is not for this way; Pillow's is the way for it then.

    Raises
    ------
    MemoryError
        If the device's memory does not hold it, other batches' leavings given back.
    """
    try:
        return _prepare(data, preprocessing, options, device)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    try:
        return _prepare(data, preprocessing, options, device)
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error


def _prepare(
    data: bytes, preprocessing: Preprocessing, options: DecodeOptions, device: str
) -> torch.Tensor | None:
    orientation = _plain_jpeg(data, options)
    if orientation is None or preprocessing.interpolation not in INTERPOLATIONS:
        return None
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        picture = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # damaged
        return None
    picture = _upright(picture, orientation)
    height, width = picture.shape[1:]
    if is_thin((width, height)):
        return None
    side, way = preprocessing.input_size, INTERPOLATIONS[preprocessing.interpolation]
    width, height = preprocessing.resized_size((width, height))
    picture = functional.resize(picture, [height, width], interpolation=way, antialias=True)
    if preprocessing.crop != "none":
        picture = functional.center_crop(picture, [side, side])
    made: torch.Tensor = picture.permute(1, 2, 0)
    return made


def _plain_jpeg(data: bytes, options: DecodeOptions) -> int | None:
    """The orientation of a whole JPEG file in grey or colour; None for anything else."""
    if END_OF_IMAGE not in data[-TAIL:]:
        return None
    try:
        header = Image.open(io.BytesIO(data), formats=["JPEG"])
    except Exception:  # Pillow raises almost anything on hostile bytes
        return None
    limit = options.max_pixels or Image.MAX_IMAGE_PIXELS
    if header.mode not in ("RGB", "L") or (limit and header.width * header.height > limit):
        return None
    return orientation_of(header) if options.exif else 1


def _upright(picture: torch.Tensor, orientation: int) -> torch.Tensor:
    """Turn a picture (3, H, W) as its EXIF orientation says: quarters, after a reflection."""
    if orientation in (2, 4):
        picture = picture.flip(2)
    if orientation in (5, 7):
        picture = picture.transpose(1, 2)
    return picture.rot90(QUARTERS.get(orientation, 0), (1, 2))
