"""Decoding on the device, run on the CPU's tensors: the same pictures up to rounding."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tlfeatures.backbones import Backbone, BackboneRequest, Preprocessing, load_network
from tlfeatures.extraction import _device_decode, extract_codes
from tlfeatures.extraction._device_decode import prepare_on_device
from tlfeatures.extraction._engine import Means, TorchEngine
from tlfeatures.pictures import DecodeOptions, Pictures, decode
from tlfeatures.store import relative_difference

# Deprecated since torchvision 0.29, in favour of torchcodec.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
SQUARE = Preprocessing(resize=80, input_size=64)
OPTIONS = DecodeOptions()


def photograph(width: int = 160, height: int = 120, mode: str = "RGB") -> Image.Image:
    """Smooth colours with a bright corner, so that turns and reflections show."""
    y, x = np.mgrid[:height, :width]
    corner = 90.0 * ((x < width / 4) & (y < height / 4))
    channels = [x * 120 / width + corner, y * 150 / height + corner, (x + y) / 4 + corner]
    return Image.fromarray(np.stack(channels, 2).clip(0, 255).astype(np.uint8)).convert(mode)


def as_jpeg(picture: Image.Image, orientation: int = 1, **more: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=95, exif=exif, **more)
    return data.getvalue()


def on_cpu(data: bytes, preprocessing: Preprocessing = SQUARE, **more: Any) -> Any:
    return prepare_on_device(data, preprocessing, DecodeOptions(**more), "cpu")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("exif", [True, False])
def test_every_orientation_comes_out_as_with_pillow(orientation: int, exif: bool) -> None:
    data = as_jpeg(photograph(), orientation)
    expected = SQUARE.prepare(decode(data, DecodeOptions(exif=exif))).astype(int)
    found = on_cpu(data, exif=exif)
    assert found.shape == (64, 64, 3)
    assert np.abs(found.numpy().astype(int) - expected).max() <= 3


@pytest.mark.parametrize("crop", ["center", "squash", "none"])
@pytest.mark.parametrize("size", [(160, 120), (61, 200), (40, 30)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_geometry_is_that_of_the_exact_way(
    crop: str, size: tuple[int, int], interpolation: str
) -> None:
    preprocessing = Preprocessing(80, 64, crop=crop, interpolation=interpolation)
    data = as_jpeg(photograph(*size), subsampling=0)
    expected = preprocessing.prepare(decode(data)).astype(int)
    found = on_cpu(data, preprocessing).numpy().astype(int)
    assert np.abs(found - expected).mean() < 1
    assert np.abs(found - expected).max() <= 6


def test_grey_becomes_colour() -> None:
    found = on_cpu(as_jpeg(photograph(mode="L"))).numpy()
    assert (found[..., 0] == found[..., 2]).all()


def test_what_is_not_for_the_device_is_left_to_pillow() -> None:
    whole = as_jpeg(photograph())
    png = io.BytesIO()
    photograph().save(png, "PNG")
    assert on_cpu(png.getvalue()) is None
    assert on_cpu(as_jpeg(photograph(mode="CMYK"))) is None
    assert on_cpu(whole[: len(whole) // 2]) is None
    assert on_cpu(b"text") is None
    assert on_cpu(whole, max_pixels=100) is None
    assert on_cpu(as_jpeg(photograph(1600, 6))) is None
    assert on_cpu(whole, Preprocessing(80, 64, interpolation="lanczos")) is None


def test_short_memory_of_the_device_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's numbers must not stand under this key; a second try may find memory."""
    wanted, resize, left = on_cpu(as_jpeg(photograph())), _device_decode.functional.resize, [1]

    def short(*given: Any, **more: Any) -> Any:
        if left and left.pop():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return resize(*given, **more)

    monkeypatch.setattr(_device_decode.functional, "resize", short)
    assert torch.equal(on_cpu(as_jpeg(photograph())), wanted)

    def never(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(_device_decode, "decode_jpeg", never)
    with pytest.raises(MemoryError, match="CUDA out of memory"):
        on_cpu(as_jpeg(photograph()))


def test_a_run_takes_both_kinds_and_names_bad_pictures(tmp_path: Path) -> None:
    network = load_network(BackboneRequest("embedded"))
    exact, device = (
        TorchEngine(Backbone(network), Means(decode=decode)) for decode in ("exact", "gpu")
    )
    for i in range(5):
        (tmp_path / f"{i}.jpg").write_bytes(as_jpeg(photograph(160 + 9 * i)))
    photograph().save(tmp_path / "5.png")
    (tmp_path / "6.jpg").write_bytes(as_jpeg(photograph())[:900])
    pictures = Pictures([tmp_path / f"{i}.{'png' if i == 5 else 'jpg'}" for i in range(7)])
    found, wanted = (
        extract_codes(pictures, engine.specs, lambda _, e=engine: e, cache=tmp_path / "c")[0]
        for engine in (device, exact)
    )
    assert found.codes.spec.decode == "gpu"
    assert found.codes.spec.key != wanted.codes.spec.key
    assert (found.computed, wanted.computed) == (6, 6)
    assert [reason for _, reason in found.bad] == [reason for _, reason in wanted.bad]
    assert relative_difference(np.asarray(found.codes), np.asarray(wanted.codes)) < 0.05
