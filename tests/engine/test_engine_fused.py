"""The first convolution on pixels says what float64 says; pooling of bits what torch's says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

from tlfeatures.backbones import BackboneRequest, Preprocessing, load_backbone, make_preprocessing
from tlfeatures.engine import Means, _pixels
from tlfeatures.engine._faster import faster_cut
from tlfeatures.engine._fuse import fuse
from tlfeatures.engine._fused import (
    NONE,
    RELU,
    FusedConv2d,
    PositiveMaxPool2d,
)
from tlfeatures.engine._pixels import PixelConv2d, is_exact_on_pixels, round_keeping_sums
from tlfeatures.engine._settings import computing
from tlfeatures.store import relative_difference

HALF_STEP = 2.0**-8  # of bfloat16, relative
needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="oneDNN's bf16 needs AVX-512 here",
)
PRESETS = ("imagenet", "caffe", "tf")


def preset(name: str, **words: Any) -> Preprocessing:
    made = make_preprocessing(name, None, input_size=20)
    assert isinstance(made, Preprocessing)
    return replace(made, **words)


def pixels(n: int = 2, height: int = 20, width: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    made = torch.randint(256, (n, height, width, 3), generator=generator, dtype=torch.uint8)
    return made.permute(0, 3, 1, 2)


def convolution(**words: Any) -> nn.Conv2d:
    torch.manual_seed(4)
    return nn.Conv2d(3, 16, **words).requires_grad_(False)


def reference(conv: nn.Conv2d, given: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """From the words of the preset alone, in float64."""
    x = given.double() if preprocessing.order == "RGB" else given.flip(1).double()
    mean, std = (
        torch.tensor(each, dtype=torch.float64)[:, None, None]
        for each in (preprocessing.mean, preprocessing.std)
    )
    x = (x / preprocessing.divide_by - mean) / std
    bias = None if conv.bias is None else conv.bias.double()
    return nn.functional.conv2d(
        x, conv.weight.double(), bias, conv.stride, conv.padding, conv.dilation
    )


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    "words",
    [
        {"kernel_size": 7, "stride": 2, "padding": 3, "bias": False},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 5), "padding": (0, 2), "stride": (1, 2)},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 4, "stride": 4},
    ],
)
@needs_bf16
def test_pixels_give_what_the_normalised_picture_gives(name: str, words: dict[str, Any]) -> None:
    conv, preprocessing, given = convolution(**words), preset(name), pixels(2, 20, 24)
    made = PixelConv2d(conv, NONE, preprocessing, tuple(given.shape))
    found, wanted = made(given), reference(conv, given, preprocessing)
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert relative_difference(found.float().numpy(), wanted.numpy()) < 2 * HALF_STEP


@needs_bf16
def test_the_border_stands_for_the_mean_also_where_it_is_no_whole_number() -> None:
    """Dark pixels and a mean of 0.4 of one: padding with a whole number would be far off."""
    preprocessing = preset("imagenet", divide_by=1.0, mean=(0.4, 0.4, 0.3), std=(1.0, 1.0, 1.0))
    conv = convolution(kernel_size=3, padding=1)
    given = torch.zeros_like(pixels())
    found = PixelConv2d(conv, RELU, preprocessing, tuple(given.shape))(given)
    wanted = torch.relu(reference(conv, given, preprocessing))
    np.testing.assert_allclose(found.float().numpy(), wanted.numpy(), rtol=0.005, atol=0.002)


@needs_bf16
def test_a_normalised_batch_is_taken_too_in_float32() -> None:
    conv, given = convolution(kernel_size=3, padding=1), torch.rand(2, 3, 20, 20)
    made = PixelConv2d(conv, NONE, preset("imagenet"), tuple(given.shape))
    torch.testing.assert_close(made(given), conv(given))


def test_sums_over_a_kernel_are_those_of_the_weights_to_one_rounding() -> None:
    weight = convolution(kernel_size=7).weight.double()
    rounded = round_keeping_sums(weight).double()
    step = 2 * HALF_STEP * weight.abs()
    largest = step.amax((2, 3), keepdim=True)
    assert ((rounded - weight).abs() <= step / 2 + largest).all()
    off = (rounded - weight).sum((2, 3)).abs()
    one_by_one = (weight.to(torch.bfloat16).double() - weight).sum((2, 3)).abs()
    assert (off <= largest[..., 0, 0]).all()
    assert off.mean() < 0.5 * one_by_one.mean()


def test_flat_pictures_are_nearer_than_with_weights_rounded_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preprocessing, conv = preset("imagenet"), convolution(kernel_size=7)
    colours = torch.randint(256, (64, 3), generator=torch.Generator().manual_seed(6))
    given = colours.to(torch.uint8)[:, :, None, None].expand(-1, -1, 8, 8).contiguous()
    given = given.to(memory_format=torch.channels_last)
    wanted = reference(conv, given, preprocessing)

    def mean_error() -> float:
        mean = torch.tensor(preprocessing.pixel_mean, dtype=torch.float64)
        made = _pixels._without_normalising(conv, preprocessing, mean - mean.round()).double()
        found = made(given - mean.round()[:, None, None])
        return float((found - wanted).abs().mean())

    kept = mean_error()
    monkeypatch.setattr(_pixels, "round_keeping_sums", lambda weight: weight.to(torch.bfloat16))
    assert kept < 0.5 * mean_error()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_whole_pixels(name: str) -> None:
    assert is_exact_on_pixels(preset(name))


def test_the_mean_is_that_of_the_pixels_red_first() -> None:
    np.testing.assert_allclose(preset("caffe").pixel_mean, (123.68, 116.779, 103.939))
    np.testing.assert_allclose(preset("imagenet").pixel_mean, (123.675, 116.28, 103.53))
    np.testing.assert_allclose(preset("imagenet").pixel_std, (58.395, 57.12, 57.375))
    in_bgr = preset("caffe", std=(1.0, 2.0, 4.0))
    assert in_bgr.pixel_std == (4.0, 2.0, 1.0)


@pytest.mark.parametrize("mean", [(0.5, 0.5, 1.01), (-0.01, 0.5, 0.5)])
def test_a_mean_beyond_the_pixels_leaves_the_first_convolution_in_float32(
    mean: tuple[float, float, float],
) -> None:
    preprocessing = preset("imagenet", mean=mean)
    assert not is_exact_on_pixels(preprocessing)
    assert not takes_pixels(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), preprocessing)


class LooksTwice(nn.Module):
    """The picture is looked at beside the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + x


class TwoStems(LooksTwice):
    """Two convolutions of the picture, one of them without an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.other, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(x)) + self.other(x)


class TwoActivated(TwoStems):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(x)) + self.relu(self.other(x))


class Halved(LooksTwice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x / 2)


def takes_pixels(module: nn.Module, preprocessing: Preprocessing | None) -> bool:
    network = fx.symbolic_trace(module.eval())
    example = torch.rand(1, 3, 20, 20).to(memory_format=torch.channels_last)
    made = fuse(network, torch.bfloat16, example, 2, preprocessing)
    has_one = any(isinstance(each, PixelConv2d) for each in made.modules())
    assert getattr(made, "takes_pixels", False) == has_one
    with computing("cpu", "bf16"):
        made(example)  # normalised batches go on being taken
    return has_one


@needs_bf16
def test_only_networks_that_convolve_the_picture_first_take_pixels() -> None:
    known = preset("imagenet")
    assert takes_pixels(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), known)
    assert not takes_pixels(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), None)
    assert takes_pixels(TwoActivated(), known)
    assert not takes_pixels(TwoStems(), known)
    assert not takes_pixels(nn.Sequential(nn.Conv2d(3, 4, 3)), known)
    assert not takes_pixels(nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.ReLU()), known)
    assert not takes_pixels(nn.Sequential(nn.Conv2d(3, 3, 3, padding="same"), nn.ReLU()), known)
    assert not takes_pixels(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3)), known)
    assert not takes_pixels(LooksTwice(), known)
    assert not takes_pixels(Halved(), known)


@pytest.mark.parametrize("preprocess", PRESETS)
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ["relu", "maxpool", "layer1", None]),
        ("squeezenet1_1", ["features.2", "features.3", None]),
        ("densenet121", ["features.pool0", "features.denseblock1", None]),
    ],
)
@needs_bf16
def test_codes_of_pictures_are_those_of_float32(
    name: str, layers: list[str | None], preprocess: str
) -> None:
    """All the way from uint8 pictures, early and late layers."""
    request = BackboneRequest(name, "random:1", input_size=64, preprocess=preprocess)
    plain, fast = (load_backbone(request, layers=layers) for _ in range(2))
    fast.cut = faster_cut(fast, Means(precision="bf16"))
    assert any(isinstance(each, PixelConv2d) for each in fast.cut.modules())
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    with computing("cpu", "float32"):
        wanted = plain.codes(pictures)
    with computing("cpu", "bf16"):
        found = fast.codes(pictures)
    for a, b in zip(found, wanted, strict=True):
        assert relative_difference(a, b) < 0.03


def test_float32_takes_normalised_pictures_only() -> None:
    fast = load_backbone(BackboneRequest("resnet18", "random:1", input_size=64))
    fast.cut = faster_cut(fast, Means())
    made = {type(each) for each in fast.cut.modules()}
    assert FusedConv2d in made
    assert PixelConv2d not in made


POOLS = [
    nn.MaxPool2d(2),
    nn.MaxPool2d(2, 2),
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d((3, 3), (2, 2), 1),
]
OTHER_POOLS = [
    nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, 1), nn.MaxPool2d(3),
    nn.MaxPool2d((2, 3), 2), nn.MaxPool2d(2, 2, 1), nn.MaxPool2d(3, 2, 1, dilation=2),
    nn.MaxPool2d(2, return_indices=True), nn.MaxPool2d(3, 2, (1, 0)),
]  # fmt: skip


def positive(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(5)).relu().to(dtype)
    return made.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    "batch",
    [
        positive(2, 8, 12, 20),
        positive(2, 8, 2, 2),
        positive(1, 5, 13, 20),  # odd sides
        positive(1, 5, 12, 21),
        positive(1, 5, 12, 20, dtype=torch.float32),
        positive(1, 5, 12, 20).contiguous(),  # channels first
        torch.tensor([0.0, float("inf"), 1e-40, 3e38]).bfloat16().view(1, 1, 2, 2),
    ],
)
def test_pooling_by_bits_gives_the_bits_of_torchs(pool: nn.MaxPool2d, batch: torch.Tensor) -> None:
    assert PositiveMaxPool2d.can_pool(pool)
    found, wanted = PositiveMaxPool2d(pool)(batch), pool(batch)
    assert found.dtype == wanted.dtype
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("pool", OTHER_POOLS)
def test_other_windows_are_left_to_torch(pool: nn.MaxPool2d) -> None:
    assert not PositiveMaxPool2d.can_pool(pool)


@pytest.mark.parametrize(
    ("before", "dtype", "expected"),
    [
        (nn.ReLU(), torch.bfloat16, True),
        (nn.ReLU(), torch.float32, False),
        (nn.Tanh(), torch.bfloat16, False),  # negative numbers are in the other order
        (nn.Identity(), torch.bfloat16, False),
    ],
)
@needs_bf16
def test_only_what_a_relu_gives_is_pooled_by_bits(
    before: nn.Module, dtype: torch.dtype, expected: bool
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), before, nn.MaxPool2d(2)).eval()
    traced, batch = fx.symbolic_trace(network), pixels()
    fused = fuse(traced, dtype, batch.float(), 2, preset("imagenet", input_size=20))
    assert any(isinstance(each, PositiveMaxPool2d) for each in fused.modules()) == expected


def modules_called(network: Any) -> list[fx.Node]:
    return [node for node in network.graph.nodes if node.op == "call_module"]


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "densenet121"])
@needs_bf16
def test_pooled_networks_have_it(name: str) -> None:
    fast = load_backbone(BackboneRequest(name, "random:1", input_size=64))
    fast.cut = faster_cut(fast, Means(precision="bf16"))
    assert any(isinstance(each, PositiveMaxPool2d) for each in fast.cut.modules())
    called = {type(fast.cut.get_submodule(str(node.target))) for node in modules_called(fast.cut)}
    assert nn.MaxPool2d not in called
