"""Pictures decoded in other ways than Pillow's at full size, for `agreement.py`."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from tlfeatures import Pictures, load_pictures
from tlfeatures.backbones import BackboneRequest, load_backbone
from tlfeatures.extraction import _device_decode
from tlfeatures.extraction._batch import prepare_item, stack
from tlfeatures.extraction._engine import Means, TorchEngine
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

    Its resize is the same on both devices up to rounding; in the place of nvJPEG decodes
    libjpeg-turbo, as Pillow does, unless `replicated_chroma` is about.
    """
    engine = TorchEngine(load_backbone(request), Means(decode="gpu"))
    made = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torchvision's, of its decoders
        for start in range(0, len(pictures.paths), engine.batch_size):
            batch = pictures.paths[start : start + engine.batch_size]
            data = (Path(path).read_bytes() for path in batch)
            prepared = [prepare_item(engine, each, DecodeOptions())[0] for each in data]
            made += engine.codes(stack(prepared))
    return np.concatenate(made)


@contextmanager
def replicated_chroma() -> Iterator[None]:
    """Decode as nvJPEG does by default: colours are not interpolated ("fast" in libjpeg-turbo).

    torchvision opens nvJPEG with its default flags; the colours of most JPEG files are stored at
    half the size, and then each stands for four pixels. Pillow interpolates.
    """
    with mock.patch.object(_device_decode, "decode_jpeg", _decode_replicating):
        yield


def _decode_replicating(encoded: torch.Tensor, **_: Any) -> torch.Tensor:
    import simplejpeg

    data = encoded.numpy().tobytes()
    pixels = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=True)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
