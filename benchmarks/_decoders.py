"""Pictures decoded in other ways than Pillow's at full size, for `agreement.py`.

Needs the package simplejpeg, which decodes with libjpeg-turbo's own options.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from tlfeatures import Pictures, load_pictures
from tlfeatures.backbones import BackboneRequest, load_backbone
from tlfeatures.engine import _device_decode
from tlfeatures.engine._engine import Means, TorchEngine
from tlfeatures.pictures import DecodeOptions, decode

LARGE_SIDE = 1536  # of the enlarged photographs, pixels


def enlarge(pictures: Pictures, folder: Path) -> Pictures:
    """JPEG files of the pictures with a short side of LARGE_SIDE."""
    for path, label in zip(pictures.paths, pictures.labels, strict=True):
        target = folder / str(label) / f"{Path(path).stem}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = decode(path)
        scale = LARGE_SIDE / min(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        data = io.BytesIO()
        picture.resize(size, Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
        target.write_bytes(data.getvalue())
    return load_pictures(folder)


def device_codes(pictures: Pictures, request: BackboneRequest) -> Any:
    """Codes (n, d), float32, as with `--decode gpu`, whose lines run on the CPU's tensors here.

    Resized as on a GPU; in the place of nvJPEG decodes libjpeg-turbo, as Pillow does, unless
    `replicated_chroma` is about.

    Raises
    ------
    RuntimeError
        If a JPEG file is not for that way; other files are Pillow's there too.
    """
    engine = TorchEngine(load_backbone(request), Means(decode="gpu"))
    made = []
    with warnings.catch_warnings(), _resized_as_on_gpu():
        warnings.simplefilter("ignore", DeprecationWarning)  # torchvision's, of its decoders
        for start in range(0, len(pictures.paths), engine.batch_size):
            batch = pictures.paths[start : start + engine.batch_size]
            made += engine.codes(torch.stack([_prepare(engine, path) for path in batch]))
    return np.concatenate(made)


def _prepare(engine: TorchEngine, path: Any) -> torch.Tensor:
    made = engine.prepare_file(Path(path).read_bytes(), DecodeOptions())
    if made is not None:
        return made
    if Path(path).suffix.lower() in (".jpg", ".jpeg"):
        raise RuntimeError(f"{path} is not for decode gpu")
    return torch.from_numpy(engine.prepare(decode(path)))


@contextmanager
def _resized_as_on_gpu() -> Iterator[None]:
    """Torchvision resizes uint8 in float32 on a GPU, and rounds; on a CPU in whole numbers."""
    resize = functional.resize

    def in_float32(picture: torch.Tensor, *words: Any, **more: Any) -> torch.Tensor:
        return resize(picture.float(), *words, **more).round().clamp(0, 255).to(torch.uint8)

    with mock.patch.object(functional, "resize", in_float32):
        yield


@contextmanager
def replicated_chroma() -> Iterator[None]:
    """Decode as nvJPEG does by default: colours are not interpolated ("fast" in libjpeg-turbo).

    torchvision opens nvJPEG with its default flags; the colours of most JPEG files are stored at
    half the width and height, and then each stands for four pixels. Pillow interpolates.
    """
    with mock.patch.object(_device_decode, "decode_jpeg", _decode_replicating):
        yield


def _decode_replicating(encoded: torch.Tensor, **_: Any) -> torch.Tensor:
    data = encoded.numpy().tobytes()
    words = {"fastdct": False, "fastupsample": True, "strict": False}
    pixels = simplejpeg.decode_jpeg(data, "RGB", **words)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
