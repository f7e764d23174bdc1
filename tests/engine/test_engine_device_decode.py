"""Decoding on the device, run on the CPU's tensors: the same pictures up to rounding."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tlfeatures.backbones import Backbone, BackboneRequest, Preprocessing, load_network
from tlfeatures.engine import _device_decode
from tlfeatures.engine._device_decode import prepare_on_device
from tlfeatures.engine._engine import Means, TorchEngine
from tlfeatures.errors import UsageError
from tlfeatures.extraction import extract_codes
from tlfeatures.pictures import DecodeOptions, Pictures, decode
from tlfeatures.store import relative_difference

# Deprecated since torchvision 0.29, in favour of torchcodec.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
SQUARE = Preprocessing(resize=80, input_size=64)
OPTIONS = DecodeOptions()
FOLDER = "decode_jpegs_cuda, /tmp/build/torchvision/csrc/io/image/cuda/decode_jpegs_cuda.cpp"
DECODING = f"{FOLDER}:119, Error while decoding JPEG images: decode_images, {FOLDER}:380, "


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


def test_damage_and_what_may_be_damage_are_left_to_pillow_that_says_so() -> None:
    whole = as_jpeg(photograph())
    assert on_cpu(whole) is not None
    assert on_cpu(whole[: len(whole) // 2] + b"\xff\xd9") is None
    assert on_cpu(whole[:-2] + bytes(30) + whole[-2:]) is None


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


@pytest.mark.parametrize(
    "said",
    [
        f"{DECODING}CUDA out of memory. Tried to allocate 2 MiB",
        f"{DECODING}Failed to transfer jpeg to device: 5",
    ],
)
def test_short_memory_inside_the_decoder_is_no_damage_either(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision hands on whatever happens there as a plain RuntimeError."""

    def never(*_: Any, **__: Any) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(_device_decode, "decode_jpeg", never)
    with pytest.raises(MemoryError, match="decoding"):
        on_cpu(as_jpeg(photograph()))


@pytest.mark.parametrize("name", ["decode_jpeg", "functional"])
def test_what_the_device_cannot_do_with_a_picture_is_left_to_pillow(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"{DECODING}Failed to decode jpeg stream: 8")

    stands_in = never if name == "decode_jpeg" else SimpleNamespace(resize=never)
    monkeypatch.setattr(_device_decode, name, stands_in)
    assert on_cpu(as_jpeg(photograph())) is None


def test_a_torchvision_without_the_decoder_is_said_when_the_engine_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"{'/a/folder' * 40}: not compiled with nvJPEG support\nC++ trace")

    network = load_network(BackboneRequest("embedded"))
    monkeypatch.setattr(_device_decode, "decode_jpeg", never)
    with pytest.raises(UsageError, match=r"no JPEG files here \(.*nvJPEG support\); try fast"):
        TorchEngine(Backbone(network), Means(decode="gpu"))
    TorchEngine(Backbone(network), Means())


class FakeStream:
    """Counts how often it was waited for."""

    def __init__(self) -> None:
        self.waited = 0

    def synchronize(self) -> None:
        self.waited += 1


def test_each_thread_decodes_on_a_stream_that_is_done_when_it_hands_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[FakeStream] = []

    @contextlib.contextmanager
    def on(stream: FakeStream) -> Iterator[None]:
        used.append(stream)
        try:
            yield
        finally:  # before the stream of before is taken up again
            assert stream.waited
            stream.waited = 0

    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(_device_decode, "_of_thread", threading.local())

    def work() -> None:
        for _ in range(2):
            with _device_decode._own_stream("cuda"):
                pass

    work()
    with pytest.raises(MemoryError), _device_decode._own_stream("cuda"):
        raise MemoryError
    other = threading.Thread(target=work)
    other.start()
    other.join()
    assert used[0] is used[1] is used[2]
    assert used[3] is used[4] is not used[0]
    with _device_decode._own_stream("cpu"):
        assert len(used) == 5


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
