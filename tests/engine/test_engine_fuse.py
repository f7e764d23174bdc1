"""Fused networks say what the networks say; every pattern, and every reason not to fuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.overrides import TorchFunctionMode

from tlfeatures.backbones import Backbone, BackboneRequest, Preprocessing, load_backbone
from tlfeatures.engine import Means, _faster
from tlfeatures.engine._faster import faster_cut
from tlfeatures.engine._folded import first_convs, fold_batch_norms, keep_first_exact
from tlfeatures.engine._fuse import fuse
from tlfeatures.engine._fused import (
    FusedAttention,
    FusedConv2d,
    FusedFunction,
    FusedLinear,
)
from tlfeatures.engine._pixels import PixelConv2d
from tlfeatures.engine._settings import computing
from tlfeatures.store import relative_difference

needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="oneDNN's bf16 needs AVX-512 here",
)

NETWORKS = [
    "resnet18", "vgg11_bn", "mobilenet_v2", "mobilenet_v3_small", "squeezenet1_1", "densenet121",
    "googlenet", "shufflenet_v2_x0_5", "regnet_y_400mf", "mnasnet0_5",
]  # fmt: skip


def picture_batch(n: int, side: int = 64) -> torch.Tensor:
    noise = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))
    return noise.contiguous(memory_format=torch.channels_last)


class Tracer(fx.Tracer):
    """Takes layers whole, also those derived from torch's."""

    def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
        layers = (nn.Conv2d, nn.BatchNorm2d)
        return isinstance(m, layers) or super().is_leaf_module(m, qualified_name)


def traced(module: nn.Module) -> fx.GraphModule:
    """With random batch-norm statistics, so that folding them wrongly would show."""
    generator = torch.Generator().manual_seed(2)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            for tensor in (each.weight.data, each.bias.data, each.running_mean, each.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    graph = Tracer().trace(module.eval())
    return fx.GraphModule(module, graph).eval()


def differ(network: fx.GraphModule, dtype: torch.dtype = torch.float32) -> float:
    """Relative difference of the fused network's answer."""
    precision = "float32" if dtype == torch.float32 else "bf16"
    batch = picture_batch(2)
    fused = fuse(network, dtype, batch[:1], 2)
    with computing("cpu", "float32"):
        wanted = network(batch).flatten(1).numpy()
    with computing("cpu", precision):
        found = fused(batch).float().flatten(1).numpy()
    return relative_difference(found, wanted)


@pytest.mark.parametrize("name", NETWORKS)
@needs_bf16
def test_fused_networks_give_the_codes_of_the_plain_ones(name: str) -> None:
    backbone = load_backbone(BackboneRequest(name, "random:1", input_size=96))
    pictures = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    with computing("cpu", "float32"):
        wanted = backbone.codes(pictures)[0]
    plain = backbone.cut
    for precision, allowed in (("float32", 1e-5), ("bf16", 0.03)):
        backbone.cut = plain
        backbone.cut = made = faster_cut(backbone, Means(precision=precision))
        assert any(isinstance(m, FusedConv2d) for m in made.modules()), "nothing was fused"
        assert not any(isinstance(m, nn.Conv2d) for m in made.modules())
        with computing("cpu", precision):
            found = backbone.codes(pictures)[0]
        assert relative_difference(found, wanted) < allowed, precision


@needs_bf16
def test_half_precision_keeps_the_cosine_of_the_embedded_network_above_the_bar() -> None:
    plain, fast = (load_backbone(BackboneRequest("embedded")) for _ in range(2))
    fast.cut = faster_cut(fast, Means(precision="bf16"))
    pictures = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    with computing("cpu", "float32"):
        wanted = torch.from_numpy(plain.codes(pictures)[0]).double()
    with computing("cpu", "bf16"):
        found = torch.from_numpy(fast.codes(pictures)[0]).double()
    assert torch.cosine_similarity(found, wanted).min() >= 0.9995


class Block(nn.Module):
    """Convolution, batch norm, something; then what a subclass does with it."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.activation = activation or nn.ReLU(inplace=True)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.activation(self.norm(self.first(x))))


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.Hardswish(), nn.Hardsigmoid(), nn.Sigmoid(), nn.Tanh(),
        nn.GELU(), nn.GELU("tanh"), nn.ELU(), nn.LeakyReLU(0.3),
    ],
)  # fmt: skip
def test_activations_are_the_same_fused_or_not(activation: nn.Module) -> None:
    assert differ(traced(Block(activation))) < 1e-5


class Skip(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.first(x))
        return torch.relu(self.second(y) + y)


class SkipUsedLater(Block):
    """The skip's memory must not be overwritten: it is looked at again."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.first(x))
        z = torch.relu(self.second(y) + y)
        return z * 2 + y


class SkipThroughView(Block):
    """A view of the skip is looked at after the sum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        view = y.flatten(1)
        return torch.relu(self.second(y) + y).flatten(1) + view


class SkipInPlace(Block):
    """An in-place activation hands on the memory of what came before it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        z = self.activation(y)
        return self.second(z) + z + y


class SkipOfInput(nn.Module):
    """The caller's own batch must stay as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + x


class Doubled(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return y + y


class Broadcast(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.second(y) + y.mean((2, 3), keepdim=True)


class SharedConv(Block):
    """One convolution called twice, once with an activation after it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.second(torch.relu(self.second(y)))


class NormUsedTwice(Block):
    """The convolution's own output is wanted too, so the norm must not be folded into it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.norm(y) * 0.5 + y


@pytest.mark.parametrize(
    "block",
    [
        Skip, SkipUsedLater, SkipThroughView, SkipInPlace, SkipOfInput, Doubled, Broadcast,
        SharedConv, NormUsedTwice,
    ],
)  # fmt: skip
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
@needs_bf16
def test_sums_and_shared_parts_are_the_same_fused_or_not(
    block: type[nn.Module], dtype: torch.dtype, allowed: float
) -> None:
    network = traced(block())
    before = picture_batch(2).clone()
    batch = picture_batch(2)
    assert differ(network, dtype) < allowed
    fused = fuse(network, torch.float32, batch[:1], 2)
    with torch.inference_mode():
        fused(batch)
    assert torch.equal(batch, before)


def test_derived_classes_and_hooked_modules_are_left_alone() -> None:
    class Conv(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    class NormAndReLU(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(super().forward(x) - 1)

    for change in ("derived", "norm", "hook", "same", "reflect"):
        block = Block()
        if change == "derived":
            block.first = Conv(3, 8, 3, padding=1)
        if change == "norm":
            block.norm = NormAndReLU(8)
        if change == "same":
            block.first = nn.Conv2d(3, 8, 3, padding="same")
        if change == "reflect":
            block.first = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
        network = traced(block)
        if change == "hook":
            network.get_submodule("norm").register_forward_hook(lambda m, i, o: o + 1)
        assert differ(network) < 1e-5, change


def test_folding_alone_keeps_the_answer_and_leaves_the_network_as_it_was() -> None:
    network = traced(Block())
    batch = picture_batch(2)
    with torch.inference_mode():
        wanted = network(batch)
        folded = fold_batch_norms(network)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        torch.testing.assert_close(folded(batch), wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(network(batch), wanted, rtol=0, atol=0)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@needs_bf16
def test_linear_layers_take_their_activation_along(dtype: torch.dtype, allowed: float) -> None:
    network = traced(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 32), nn.ReLU()))
    fused = fuse(network, dtype, picture_batch(1), 2)
    assert [type(m) for m in fused.children() if not isinstance(m, nn.Flatten)] == [FusedLinear]
    assert differ(network, dtype) < allowed


class Attending(nn.Module):
    """Attention of 64 columns of 192 numbers to themselves, in 3 heads."""

    def __init__(self, **how: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(192, 3, **{"batch_first": True, **how})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row = x.flatten(1, 2).transpose(1, 2)
        return self.attention(row, row, row, need_weights=False)[0]


class AttendingToAnother(Attending):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row = x.flatten(1, 2).transpose(1, 2)
        return self.attention(row, row.relu(), row, need_weights=False)[0]


class AttendingWithWeights(Attending):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row = x.flatten(1, 2).transpose(1, 2)
        return self.attention(row, row, row)[1]


class AttendingMasked(Attending):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row = x.flatten(1, 2).transpose(1, 2)
        mask = torch.ones(64, 64, dtype=torch.bool).triu(1)
        return self.attention(row, row, row, need_weights=False, attn_mask=mask)[0]


@pytest.mark.parametrize(
    ("module", "is_fused"),
    [
        (Attending(), True),
        (Attending(bias=False), True),
        (Attending(add_bias_kv=True), False),
        (Attending(add_zero_attn=True), False),
        (Attending(kdim=192, vdim=192, batch_first=False), False),
        (AttendingToAnother(), False),
        (AttendingWithWeights(), False),
        (AttendingMasked(), False),
    ],
)
def test_attention_to_the_sequence_itself_is_fused_in_float32(
    module: nn.Module, is_fused: bool
) -> None:
    network = traced(module)
    fused = fuse(network, torch.float32, picture_batch(1), 2)
    assert any(isinstance(each, FusedAttention) for each in fused.modules()) is is_fused
    assert differ(network) < 1e-5
    in_bf16 = fuse(network, torch.bfloat16, picture_batch(1), 2)
    assert not any(isinstance(each, FusedAttention) for each in in_bf16.modules())


def test_a_vision_transformer_is_fused_whole() -> None:
    backbone = load_backbone(BackboneRequest("vit_b_32", "random:1", input_size=64))
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    wanted = backbone.codes(pictures)[0]
    backbone.cut = faster_cut(backbone, Means())
    kinds = [type(each) for each in backbone.cut.modules()]
    assert (kinds.count(FusedAttention), nn.Linear in kinds) == (12, False)
    assert relative_difference(backbone.codes(pictures)[0], wanted) < 1e-5


class Untraceable(nn.Module):
    """Two linear layers, the second one used by its weights alone."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, 8, 3)
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)
            self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 1e9:
            return x
        y = self.first(self.conv(x).mean((2, 3))).relu()
        y = nn.functional.linear(y, self.second.weight, self.second.bias)
        return self.head(y[:, : self.second.out_features])


class AtRandom(Untraceable):
    """Says something else each time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + torch.rand_like(x))


def load_own(kind: type[nn.Module]) -> Backbone:
    return load_backbone(BackboneRequest(kind, preprocess=Preprocessing(32, 32)))


@pytest.mark.parametrize(("precision", "allowed"), [("float32", 1e-5), ("bf16", 0.03)])
@needs_bf16
def test_linear_layers_of_untraced_networks_are_fused(precision: str, allowed: float) -> None:
    plain, fast = load_own(Untraceable), load_own(Untraceable)
    cut, state = fast.cut, set(fast.network.state_dict())
    fast.cut = faster_cut(fast, Means(precision=precision))
    assert sum(isinstance(each, FusedLinear) for each in fast.cut.modules()) == 3
    assert not any(isinstance(each, FusedLinear) for each in cut.modules())
    assert set(fast.network.state_dict()) == state
    whole = {each.data_ptr() for each in cut.parameters()}
    assert {each.data_ptr() for each in fast.cut.parameters()} == whole  # not copied
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    with computing("cpu", "float32"):
        wanted = plain.codes(pictures)[0]
    with computing("cpu", precision):
        found = fast.codes(pictures)[0]
    assert relative_difference(found, wanted) < allowed


def test_untraced_networks_that_cannot_be_fused_run_as_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert faster_cut(load_own(AtRandom), Means()) is None
    monkeypatch.setattr(Untraceable, "__deepcopy__", lambda *_: 1 / 0, raising=False)
    assert faster_cut(load_own(Untraceable), Means()) is None
    monkeypatch.undo()
    assert faster_cut(load_own(Untraceable), Means("mps")) is None
    assert caplog.records == []


TIMMS = {
    "resnet10t": {FusedConv2d},
    "mobilenetv3_small_050": {FusedConv2d},
    "tf_efficientnet_b0": {FusedConv2d},
    "convnext_atto": {FusedConv2d},
    "vit_tiny_patch16_224": {FusedConv2d, FusedLinear},
    "eva02_tiny_patch14_224": {FusedConv2d, FusedLinear},
    "levit_128s": {FusedConv2d, FusedLinear},
    "mobilevit_xxs": {FusedConv2d, FusedLinear},  # with modules that cannot be traced
    "crossvit_tiny_240": {FusedLinear},  # as a whole
}
UNFOLDED = ("tf_efficientnet_b0", "mobilevit_xxs")  # its first convolution; what is left whole


@pytest.mark.parametrize("name", TIMMS)
def test_networks_of_timm_are_fused(name: str) -> None:
    pytest.importorskip("timm", reason="the extra 'timm' is not installed")
    backbone = load_backbone(BackboneRequest(f"timm:{name}", "random:1"))
    side = backbone.preprocessing.input_size
    pictures = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    wanted = backbone.codes(pictures)[0]
    made = faster_cut(backbone, Means())
    assert made is not None
    kinds = {type(each) for each in made.modules()}
    assert TIMMS[name] <= kinds
    assert nn.Linear not in kinds
    assert not kinds & {nn.BatchNorm2d, nn.ReLU} or name in UNFOLDED
    backbone.cut = made
    assert relative_difference(backbone.codes(pictures)[0], wanted) < 1e-5


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "densenet121"])
@needs_bf16
def test_timms_networks_take_pixels_as_their_namesakes_do(name: str) -> None:
    pytest.importorskip("timm", reason="the extra 'timm' is not installed")
    kinds = []
    for each in (name, f"timm:{name}"):
        backbone = load_backbone(BackboneRequest(each, "random:1", input_size=64))
        made = faster_cut(backbone, Means(precision="bf16"))
        assert made is not None
        assert getattr(made, "takes_pixels", False)
        kinds.append(sum(isinstance(module, PixelConv2d) for module in made.modules()))
    assert kinds == [1, 1]


class Listening(TorchFunctionMode):
    """Counts linear layers that are functions."""

    n_linears = 0

    def __torch_function__(self, function: Any, _: Any, given: Any = (), words: Any = None) -> Any:
        self.n_linears += function is nn.functional.linear
        return function(*given, **(words or {}))


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t"])  # the second computes a bias
@pytest.mark.parametrize(("precision", "allowed"), [("float32", 1e-5), ("bf16", 0.02)])
@needs_bf16
def test_linear_layers_within_functions_are_fused(
    name: str, precision: str, allowed: float
) -> None:
    backbone = load_backbone(BackboneRequest(name, "random:1", input_size=64))
    biases = [each for path, each in backbone.cut.named_parameters() if path.endswith("bias")]
    generator = torch.Generator().manual_seed(0)
    for bias in biases:  # torchvision's begin near naught
        bias.data = 0.1 * torch.randn(bias.shape, generator=generator)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    with Listening() as plain:
        wanted = backbone.codes(pictures)[0]
    made = faster_cut(backbone, Means(precision=precision))
    assert made is not None
    assert FusedFunction in {type(each) for each in made.modules()}
    backbone.cut = made
    with computing("cpu", precision), Listening() as fused:
        found = backbone.codes(pictures)[0]
    assert (plain.n_linears > 0, fused.n_linears) == (True, 0)
    assert relative_difference(found, wanted) < allowed


@fx.wrap
def turned(x: torch.Tensor, weight: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """A matrix of the network's own, one that is computed, and the first one once more."""
    x = nn.functional.linear(x, weight) + nn.functional.linear(x, weight.T, shift)
    return nn.functional.linear(bias=shift, input=x, weight=weight)


class Turning(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3)
        self.weight = nn.Parameter(torch.randn(6, 6, generator=generator))
        self.shift = nn.Parameter(torch.randn(6, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return turned(self.conv(x).mean((2, 3)), self.weight, self.shift)


def test_a_function_may_multiply_by_what_it_computes() -> None:
    network, batch = Turning().eval(), torch.randn(2, 3, 8, 8)
    made = fuse(fx.symbolic_trace(network), torch.float32, batch, 2)
    assert FusedFunction in {type(each) for each in made.modules()}
    with torch.inference_mode(), Listening() as fused:
        torch.testing.assert_close(made(batch), network(batch))
    assert fused.n_linears == 3 + 1  # of the plain one, and that by the matrix that was computed


class Functions(nn.Module):
    """A batch norm and a linear layer as functions."""

    def __init__(self, *, is_training: bool = False, has_bias: bool = True) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.weight = nn.Parameter(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)))
        self.thirds = nn.Parameter(torch.arange(3.0))
        self.is_training, self.has_bias = is_training, has_bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm = self.norm
        means = norm.running_mean, norm.running_var
        x = nn.functional.batch_norm(
            self.conv(x), *means, norm.weight, norm.bias, self.is_training, eps=norm.eps
        )
        bias = torch.cat((self.thirds, self.thirds)) if self.has_bias else None
        x = nn.functional.linear(x.mean((2, 3)), self.weight, bias)
        return nn.functional.gelu(x, approximate="tanh")


class OfPictures(Functions):
    """Functions of numbers that depend on the pictures, or are not of a convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm = self.norm
        x = self.conv(x) * 2
        x = nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        scale = x.mean()
        x = nn.functional.linear(x.mean((2, 3)), self.weight * scale)
        return nn.functional.linear(
            x, self.weight.T, torch.cat((self.thirds, self.thirds)).repeat(2)[:8]
        )


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (Functions(), {FusedConv2d, FusedLinear}),
        (Functions(has_bias=False), {FusedConv2d, FusedLinear}),
        (OfPictures(), {FusedConv2d}),
    ],
)
def test_functions_of_own_weights_are_fused_as_modules_are(
    module: nn.Module, kinds: set[type[nn.Module]]
) -> None:
    network = traced(module)
    functions = {node.target for node in network.graph.nodes}
    fused = fuse(network, torch.float32, picture_batch(1), 2)
    found = {type(each) for each in fused.modules()}
    assert found - {nn.Module, type(fused)} == kinds
    assert functions == {node.target for node in network.graph.nodes}  # it is not changed
    assert differ(network) < 1e-5


def test_a_batch_norm_of_the_batch_at_hand_is_not_folded() -> None:
    network = traced(Functions(is_training=True))
    folded = fold_batch_norms(network)
    assert nn.functional.batch_norm in {node.target for node in folded.graph.nodes}


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_both_ways_to_compute_gelu(approximate: str) -> None:
    class Gelu(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.gelu(self.fc(x), approximate=approximate)

    network = traced(Gelu())
    fused = fuse(network, torch.float32, picture_batch(1), 2)
    assert [node.op for node in fused.graph.nodes] == ["placeholder", "call_module", "output"]
    assert differ(network) < 1e-5


class Whole(nn.Module):
    """Taken as it is, with a linear layer inside."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) if x.sum() > 0 else -self.fc(x)


def test_linear_layers_inside_of_what_is_left_whole_are_fused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Whole()).eval()

    class TracerOfParts(Tracer):
        def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
            return isinstance(m, Whole) or super().is_leaf_module(m, qualified_name)

    network = fx.GraphModule(module, TracerOfParts().trace(module)).eval()
    fused = fuse(network, torch.float32, picture_batch(1), 2)
    kinds = {type(each) for each in fused.modules()}
    assert {FusedConv2d, Whole, FusedLinear} <= kinds
    assert nn.Linear not in kinds
    assert differ(network) < 1e-5


class TwoEyes(nn.Module):
    """Two convolutions look at the pixels, one of them past an activation; a third does not."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.last, self.relu = nn.Conv2d(16, 4, 3), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.one(x), self.relu(self.other(self.relu(x)))], 1))


@needs_bf16
def test_convolutions_that_look_at_pixels_stay_in_float32() -> None:
    network = traced(TwoEyes())
    assert {str(node.target) for node in first_convs(network)} == {"one", "other"}
    exact = keep_first_exact(network)
    fused = fuse(network, torch.bfloat16, picture_batch(1), 2)
    seen: list[tuple[str, torch.dtype]] = []
    for made in (exact, fused):
        for name, module in made.named_modules():
            if type(module) in (nn.Conv2d, FusedConv2d):
                module.register_forward_hook(
                    lambda m, x, y, name=name: seen.append((name, y.dtype))
                )
        with computing("cpu", "bf16"):
            made(picture_batch(1))
    of_float32 = [name for name, dtype in seen if dtype == torch.float32]
    assert len(seen) == 6
    assert len(of_float32) == 4
    assert not any("last" in name for name in of_float32)
    assert differ(network, torch.bfloat16) < 0.02


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "vit_b_16"])
def test_codes_of_flat_pictures_are_as_exact_as_others(name: str) -> None:
    """A grey that bf16 has not, in a network without any other rounding."""
    size = 224 if name == "vit_b_16" else 64
    backbone = load_backbone(BackboneRequest(name, "random:1", input_size=size))
    first = next(iter(first_convs(backbone.cut)))
    only = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in backbone.cut.graph.nodes:
        copies[node] = only.node_copy(node, lambda each: copies[each])
        if node is first:
            break
    only.output(copies[first])
    network = keep_first_exact(fx.GraphModule(backbone.cut, only))
    batch = torch.full((1, 3, size, size), 0.3337)
    with computing("cpu", "float32"):
        wanted = network(batch).numpy()
    with computing("cpu", "bf16"):
        found = network(batch).numpy()
    np.testing.assert_array_equal(found, wanted)


def test_a_network_that_says_something_else_when_fused_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = load_backbone(BackboneRequest("embedded"))
    wrong = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 256, 3)))
    monkeypatch.setattr(_faster, "fuse", lambda *_: wrong)
    assert faster_cut(backbone, Means()) is None

    def missing(*_: object) -> None:
        raise AttributeError("no such operation here")

    monkeypatch.setattr(_faster, "fuse", missing)
    assert faster_cut(backbone, Means()) is None


def test_codes_do_not_depend_on_the_size_of_the_batch() -> None:
    backbone = load_backbone(BackboneRequest("resnet18", "random:1", input_size=64))
    backbone.cut = faster_cut(backbone, Means())
    pictures = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    together = backbone.codes(pictures)[0]
    alone = np.concatenate([backbone.codes(pictures[i : i + 1])[0] for i in range(16)])
    assert relative_difference(alone, together) < 1e-5


class SkipSeenThroughView(Block):
    """A view of the skip, which the convolution itself does not look at, is read after the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        view = y.transpose(2, 3)
        return torch.relu(self.other(x) + y) + view


class SkipChangedInPlace(SkipSeenThroughView):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        z = torch.relu_(y)
        return torch.relu(self.other(x) + y) + z


class Weighted(SkipSeenThroughView):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.add(self.other(x), self.first(x), alpha=0.3)


class TwoNorms(SkipSeenThroughView):
    """One convolution, called twice, each time with another norm after it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm2 = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.first(x)) * 2 + self.norm2(self.first(x))


@pytest.mark.parametrize("block", [SkipSeenThroughView, SkipChangedInPlace, Weighted, TwoNorms])
def test_memory_that_is_looked_at_later_is_not_overwritten(block: type[nn.Module]) -> None:
    torch.manual_seed(3)
    assert differ(traced(block())) < 1e-5


def test_a_default_dtype_of_the_caller_changes_nothing() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        backbone = load_backbone(BackboneRequest("resnet18", "random:1", input_size=64))
        assert faster_cut(backbone, Means()) is not None
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("words", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_first_convolutions_that_cannot_be_fused_stay_in_float32_too(words: dict[str, Any]) -> None:
    network = traced(nn.Sequential(nn.Conv2d(3, 8, 3, **words)))
    fused = fuse(network, torch.bfloat16, picture_batch(1), 2)
    with computing("cpu", "bf16"):
        found = fused(picture_batch(2))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, network(picture_batch(2)))
