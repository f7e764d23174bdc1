"""JPEG files decoded and resized on the device: faster there, other numbers, a key of its own.

torchvision decodes with nvJPEG; its resize of tensors is the antialiased one, in float32. What it
does not take (other formats, CMYK, damaged files) is decoded by Pillow, which names what is wrong.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional

from tlfeatures.backbones import is_thin
from tlfeatures.engine._settings import is_out_of_memory
from tlfeatures.errors import ImageReadError, UsageError
from tlfeatures.pictures import find_damage, orientation_of

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
_of_thread = threading.local()


def check_decoder(device: str) -> None:
    """Decode one small file there, for otherwise Pillow would quietly decode all.

    Raises
    ------
    UsageError
        If torchvision cannot.
    """
    data = io.BytesIO()
    Image.new("RGB", (16, 16)).save(data, "JPEG")
    try:
        with _own_stream(device):
            _decode(data.getvalue(), device)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        line = str(error).strip().partition("\n")[0][-200:]  # it begins with folders
        raise UsageError(f"torchvision decodes no JPEG files here ({line}); try fast.") from error


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
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    torch.cuda.empty_cache()
    try:
        return _prepare(data, preprocessing, options, device)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise


def _prepare(
    data: bytes, preprocessing: Preprocessing, options: DecodeOptions, device: str
) -> torch.Tensor | None:
    orientation = _plain_jpeg(data, options)
    if orientation is None or preprocessing.interpolation not in INTERPOLATIONS:
        return None
    with _own_stream(device):
        try:
            picture = _upright(_decode(data, device), orientation)
            made = _resize(picture, preprocessing)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return None  # damaged, or made so much smaller that the device has no kernel for it
        if made is not None and made.is_cuda:  # its memory is not free before batches have it
            made.record_stream(torch.cuda.default_stream())
    return made


def _decode(data: bytes, device: str) -> torch.Tensor:
    """A picture (3, H, W), uint8."""
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    made: torch.Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
    return made


def _resize(picture: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor | None:
    """The network's square, (side, side, 3); None of pictures too thin for this way."""
    height, width = picture.shape[1:]
    if is_thin((width, height)):
        return None
    side, way = preprocessing.input_size, INTERPOLATIONS[preprocessing.interpolation]
    width, height = preprocessing.resized_size((width, height))
    picture = functional.resize(picture, [height, width], interpolation=way, antialias=True)
    if preprocessing.crop != "none":
        picture = functional.center_crop(picture, [side, side])
    return picture.permute(1, 2, 0)


@contextlib.contextmanager
def _own_stream(device: str) -> Iterator[None]:
    """On a GPU work on a stream of this thread's, done when the block is left.

    The decoder writes on a stream of torchvision's own, which does not wait for others, into memory
    that is free as the allocator sees it on this one: nothing may be left here that still reads it.
    """
    if device != "cuda":
        yield
        return
    if not hasattr(_of_thread, "stream"):
        _of_thread.stream = torch.cuda.Stream()
    with torch.cuda.stream(_of_thread.stream):
        try:
            yield
        finally:
            _of_thread.stream.synchronize()


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
    try:
        if find_damage(header, data):
            return None  # Pillow's way says so
    except ImageReadError:
        return None
    return orientation_of(header) if options.exif else 1


def _upright(picture: torch.Tensor, orientation: int) -> torch.Tensor:
    """Turn a picture (3, H, W) as its EXIF orientation says: quarters, after a reflection."""
    if orientation in (2, 4):
        picture = picture.flip(2)
    if orientation in (5, 7):
        picture = picture.transpose(1, 2)
    return picture.rot90(QUARTERS.get(orientation, 0), (1, 2))
