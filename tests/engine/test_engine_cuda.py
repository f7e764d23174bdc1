"""The way of a GPU from files to codes, run on the CPU's tensors: CUDA's functions are stood in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tlfeatures.backbones import Backbone, BackboneRequest
from tlfeatures.engine import _engine, _opened
from tlfeatures.extraction import Extraction, RunOptions, extract
from tlfeatures.pictures import Pictures, load_pictures
from tlfeatures.store import relative_difference, tolerance

REQUEST = BackboneRequest("resnet18", "random:1", input_size=64)
FREE, PER_PICTURE = 1 << 30, 8 << 20  # bytes, of which 64 pictures take half
FITTING = 64
DECODERS = 3
ROUNDED = 2.0**-11  # by float16, which codes in half precision are stored in


@dataclass
class FakeGPU:
    """What was asked of the device.

    Attributes
    ----------
    pinned : set of int
        Addresses of memory that it reads by itself.
    copied : list of (int, bool)
        Of each tensor that was sent for and not waited for: pictures, and whether it was pinned.
    most : int
        Pictures that its memory holds.
    """

    pinned: set[int] = field(default_factory=set)
    copied: list[tuple[int, bool]] = field(default_factory=list)
    most: int = 10**9


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGPU:
    made = FakeGPU()
    to = torch.Tensor.to

    def on_cpu(word: Any) -> Any:
        is_device = isinstance(word, (str, torch.device))
        return "cpu" if is_device and torch.device(word).type == "cuda" else word

    def send(self: torch.Tensor, *words: Any, **more: Any) -> torch.Tensor:
        if more.get("non_blocking"):
            made.copied.append((len(self), self.data_ptr() in made.pinned))
        return to(self, *map(on_cpu, words), **{k: on_cpu(v) for k, v in more.items()})

    def pin(self: torch.Tensor) -> torch.Tensor:
        made.pinned.add(self.data_ptr())
        return self

    functions = {
        "is_available": lambda: True,
        "get_device_name": lambda: "a stand-in",
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 0,
        "max_memory_allocated": lambda: _engine.TRIED * PER_PICTURE,
        "mem_get_info": lambda: (FREE, 80 << 30),
    }
    for name, function in functions.items():
        monkeypatch.setattr(torch.cuda, name, function)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91000)
    monkeypatch.setattr(torch.Tensor, "to", send)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    codes = Backbone.codes

    def short(self: Backbone, pictures: Any) -> Any:
        if len(pictures) > made.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return codes(self, pictures)

    monkeypatch.setattr(Backbone, "codes", short)
    monkeypatch.setattr(_opened, "_open", {})  # none that is on the CPU, none that stays
    return made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """A hundred JPEG files, waves of a hundred directions."""
    root = tmp_path_factory.mktemp("waves")
    y, x = np.mgrid[:72, :96] / 8
    for i in range(100):
        waves = [np.sin(x * np.cos(i + c) + y * np.sin(i + c)) for c in range(3)]
        pixels = (127 + 100 * np.stack(waves, 2)).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{i:03}.jpg", quality=90)
    return load_pictures(root)


def run_on(device: str, pictures: Pictures, root: Path, **more: Any) -> Extraction:
    options = RunOptions(root / device, device=device, n_jobs=DECODERS, kernels="off", **more)
    return extract(pictures, REQUEST, options)


@pytest.fixture(scope="module")
def wanted(pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The codes by the CPU's own way, in float32."""
    root = tmp_path_factory.mktemp("wanted")
    options = RunOptions(root, device="cpu", precision="float32", n_jobs=1)
    return extract(pictures, REQUEST, options).codes[:]


@pytest.mark.parametrize(("precision", "allowed"), [("auto", ROUNDED), ("float32", 1e-5)])
def test_codes_are_those_of_the_cpu(
    precision: str, allowed: float, pictures: Pictures, wanted: Any, gpu: FakeGPU, tmp_path: Path
) -> None:
    """CUDA's autocast leaves the CPU's tensors in float32; the numbers are those of the path."""
    done = run_on("cuda", pictures, tmp_path, precision=precision)
    assert (done.device, done.batch_size, done.computed) == ("cuda", FITTING, len(pictures))
    assert done.codes.spec.precision == {"auto": "fp16"}.get(precision, precision)
    assert relative_difference(done.codes[:], wanted) < allowed
    assert f"one process on cuda, {DECODERS} threads decode" in done.chosen
    assert "no GPU has run this" in done.chosen


def test_batches_are_copied_from_pinned_memory(
    pictures: Pictures, gpu: FakeGPU, tmp_path: Path
) -> None:
    """Else their copies would be waited for, though nobody asked for that."""
    run_on("cuda", pictures, tmp_path)
    batches = [is_pinned for n, is_pinned in gpu.copied if n == FITTING]
    assert batches == [True, True]


def test_short_memory_halves_the_batch_and_the_run_goes_on(
    pictures: Pictures, wanted: Any, gpu: FakeGPU, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    gpu.most = FITTING // 4
    done = run_on("cuda", pictures, tmp_path)
    assert (done.batch_size, done.computed) == (FITTING // 4, len(pictures))
    assert relative_difference(done.codes[:], wanted) < ROUNDED
    said = [record.getMessage() for record in caplog.records]
    assert [line.rpartition(" ")[2] for line in said if "memory is short" in line] == ["32", "16"]


@pytest.fixture
def real_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.mark.gpu
@pytest.mark.usefixtures("real_gpu")
@pytest.mark.parametrize("precision", ["float32", "fp16", "bf16"])
def test_on_a_gpu_codes_are_those_of_the_cpu(
    precision: str, pictures: Pictures, wanted: Any, tmp_path: Path
) -> None:
    done = run_on("cuda", pictures, tmp_path, precision=precision)
    assert (done.device, done.computed) == ("cuda", len(pictures))
    assert relative_difference(done.codes[:], wanted) < tolerance(precision)
