"""A user's own network: module, factory, or where to import it from."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.backbones.conftest import noise, relative
from tlfeatures.backbones import BackboneRequest, Preprocessing, describe_backbone, load_backbone
from tlfeatures.errors import UnknownBackboneError, UnknownLayerError, UsageError

SMALL = Preprocessing(resize=20, input_size=16)


class Tiny(nn.Module):
    """A traceable network; `sign` changes its forward and nothing that can be hashed."""

    sign = 1.0

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 3)
        self.fc = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc((self.conv(x) * self.sign).relu().mean((2, 3)))


class Untraceable(Tiny):
    """Its forward looks at values, so that torch.fx cannot follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        if y.sum() > 0:
            y = y * 2
        return self.fc(y.relu().mean((2, 3)))


def own(backbone: object, **words: object) -> BackboneRequest:
    return BackboneRequest(backbone, **{"preprocess": SMALL, **words})


def batch_of(n: int = 2) -> np.ndarray:
    return np.stack([SMALL.prepare(noise((30, 22), seed)) for seed in range(n)])


@pytest.mark.parametrize("kind", [Tiny, Untraceable])
def test_the_default_layer_is_the_input_of_the_last_layer(kind: type[Tiny]) -> None:
    backbone = load_backbone(own(kind))
    heard: list[torch.Tensor] = []
    network = kind().eval()
    network.fc.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    with torch.inference_mode():
        pixels = torch.from_numpy(batch_of()).permute(0, 3, 1, 2) / 255
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (SMALL.mean, SMALL.std))
        network((pixels - mean) / std)
    assert relative(backbone.codes(batch_of())[0], heard[0]) <= 1e-5
    assert backbone.dims == (5,)


def test_a_module_given_itself_is_copied_not_changed() -> None:
    network = Tiny().train()
    load_backbone(own(network))
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_module_factory_and_import_path_are_one_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_networks.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Net(nn.Sequential):\n    pass\n\n"
        "def make():\n    torch.manual_seed(3)\n    return Net(nn.Conv2d(3, 4, 3), nn.ReLU(),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    by_path = load_backbone(own("my_networks:make"))
    make = sys.modules["my_networks"].make
    by_factory, by_module = load_backbone(own(make)), load_backbone(own(make()))
    assert by_path.weights_id == by_factory.weights_id == by_module.weights_id
    assert {b.name for b in (by_path, by_factory, by_module)} == {"my_networks.Net"}
    assert str(tmp_path) not in sys.path
    monkeypatch.delitem(sys.modules, "my_networks")


def test_identity_follows_weights_class_and_repr() -> None:
    def changed(change: str) -> nn.Module:
        network = Tiny()
        if change == "weights":
            nn.init.zeros_(network.fc.bias)
        elif change == "repr":
            network.conv.stride = (2, 2)
        elif change == "class":
            network = Untraceable()
        return network

    kinds = ("nothing", "weights", "repr", "class")
    ids = [load_backbone(own(changed(kind))).weights_id for kind in kinds]
    assert len(set(ids)) == 4
    assert load_backbone(own(Tiny)).weights_id == ids[0]


def test_a_weights_id_of_ones_own_stands_for_the_hash() -> None:
    ids = {
        load_backbone(own(Tiny, weights_id=words)).weights_id for words in (None, "run 7", "run 8")
    }
    assert len(ids) == 3


def test_random_weights_are_drawn_anew_for_a_network_that_comes_with_its_own() -> None:
    trained, drawn = load_backbone(own(Tiny)), load_backbone(own(Tiny, weights="random:1"))
    assert not torch.equal(trained.network.conv.weight, drawn.network.conv.weight)
    again = load_backbone(own(Tiny, weights="random:1"))
    assert torch.equal(again.network.conv.weight, drawn.network.conv.weight)


def test_a_weights_file_fills_an_own_network(tmp_path: Path) -> None:
    network = Tiny()
    nn.init.constant_(network.conv.bias, 0.25)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    backbone = load_backbone(own(Tiny, weights=str(tmp_path / "w.pth")))
    assert (backbone.network.conv.bias == 0.25).all()


def test_a_callable_preprocess_makes_the_networks_input() -> None:
    def dark(picture: Image.Image) -> np.ndarray:
        return np.asarray(picture.resize((16, 16)), np.float32).transpose(2, 0, 1) / 1000

    backbone = load_backbone(own(Tiny, preprocess=dark))
    prepared = backbone.preprocessing.prepare(noise((30, 22)))
    assert (prepared.shape, prepared.dtype) == ((3, 16, 16), np.float32)
    with torch.inference_mode():
        x = Tiny().conv(torch.from_numpy(prepared)[None]).relu().mean((2, 3))
    assert relative(backbone.codes(prepared[None])[0], x) <= 1e-5
    assert "dark" in str(backbone.preprocessing.to_json())


def test_impossible_own_networks_are_refused_with_a_way_out() -> None:
    with pytest.raises(UnknownBackboneError, match=r"package\.module:attribute"):
        load_backbone(own("no_such_module:net"))
    with pytest.raises(UsageError, match=r"no torch\.nn\.Module"):
        load_backbone(own(lambda: 7))
    with pytest.raises(UsageError, match="neither a network nor a function"):
        load_backbone(own(7))
    with pytest.raises(UsageError, match="give `preprocess`"):
        load_backbone(BackboneRequest(Tiny))
    with pytest.raises(UsageError, match="has no entries"):
        load_backbone(own(Tiny, weights="IMAGENET1K_V1"))
    with pytest.raises(UsageError, match=r"must give \(3, H, W\)"):
        load_backbone(own(Tiny, preprocess=lambda picture: np.zeros((16, 16))))
    with pytest.raises(UnknownLayerError, match="no layer with weights"):
        load_backbone(own(nn.ReLU))
    with pytest.raises(UsageError, match="of your own"):
        load_backbone(BackboneRequest("embedded", weights_id="mine"))


@pytest.mark.parametrize("kind", [Tiny, Untraceable])
def test_layers_of_an_own_network_have_the_same_names_either_way(kind: type[Tiny]) -> None:
    backbone = load_backbone(own(kind), layers=("conv", "logits"))
    maps = load_backbone(own(kind, layer="conv", pooling="flatten")).codes(batch_of())[0]
    found = backbone.codes(batch_of())
    assert backbone.layers == ("conv", "fc")
    assert relative(found[0], maps.reshape(2, 5, -1).mean(2)) <= 1e-5
    assert found[1].shape == (2, 4)


def test_an_own_network_is_described() -> None:
    made = describe_backbone(BackboneRequest(Tiny, preprocess=SMALL))
    assert made.totals.parameters == 3 * 5 * 9 + 5 + 5 * 4 + 4
    assert made.input_shape == (3, 16, 16)
    by_size = describe_backbone(BackboneRequest(Untraceable, input_size=32))
    assert by_size.input_shape == (3, 32, 32)
    conv = next(step for step in by_size.layers if step.name == "conv")
    assert conv.multiply_adds == 5 * 30 * 30 * 3 * 9


class Shared(nn.Module):
    """One linear layer three times; its forward cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 7, stride=4), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).mean((2, 3))
        if x.sum() > 1e9:
            return x
        for _ in range(3):
            x = torch.tanh(self.fc(x))
        return x


def test_the_default_layer_of_a_shared_last_layer_is_its_last_input() -> None:
    network = Shared().eval()
    heard: list[torch.Tensor] = []
    network.fc.register_forward_pre_hook(lambda _, given: heard.append(given[0].clone()))
    backbone = load_backbone(own(Shared(), weights_id="x"))
    backbone.network.load_state_dict(network.state_dict())
    found = backbone.codes(batch_of())[0]
    with torch.inference_mode():
        network(torch.from_numpy(_normal(batch_of())))
    assert relative(found, heard[2]) <= 1e-5


def _normal(batch: np.ndarray) -> np.ndarray:
    pixels = batch.transpose(0, 3, 1, 2).astype(np.float32) / 255
    mean, std = (np.float32(v).reshape(1, 3, 1, 1) for v in (SMALL.mean, SMALL.std))
    return (pixels - mean) / std


class Functional(nn.Module):
    """Parameters without modules."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(8, 3, 3, 3))
        self.v = nn.Parameter(torch.randn(5, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.conv2d(x, self.w).relu().mean((2, 3))
        return nn.functional.linear(x, self.v)


def test_a_network_of_functions_has_layers_a_default_and_a_description() -> None:
    assert load_backbone(own(Functional)).dims == (8,)
    assert load_backbone(own(Functional, layer="relu")).dims == (8,)
    made = describe_backbone(BackboneRequest(Functional, preprocess=SMALL))
    assert made.totals.parameters == 8 * 27 + 40
    with pytest.raises(UnknownLayerError, match="near ones are relu"):
        load_backbone(own(Functional, layer="relo"))


class Tuples(nn.Module):
    """Blocks that give tuples, an answer in a dictionary."""

    class Block(nn.Module):
        def __init__(self, n_in: int) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(n_in, 8, 3), nn.Conv2d(8, 8, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.b(self.a(x)).relu()
            return y, y.mean()

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([self.Block(3), self.Block(8)])
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        for block in self.blocks:
            x = block(x)[0]
        if x.sum() > 1e9:
            x = x * 2
        return {"logits": self.head(x.mean((2, 3)))}


def test_tuples_and_dictionaries_on_the_way_are_no_obstacle() -> None:
    assert load_backbone(own(Tuples)).dims == (8,)
    made = describe_backbone(BackboneRequest(Tuples, preprocess=SMALL))
    assert made.unused == 0
    assert "blocks.1" in made.names
    with pytest.raises(UsageError, match="gives a tuple, no tensor"):
        load_backbone(own(Tuples, layer="blocks.1"))


class Attention(nn.Module):
    """A part whose weights are used without calling the module that holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 8, stride=8)
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.fc = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        if x.sum() > 1e9:
            x = x * 2
        return self.fc(self.encoder(x).mean(1))


def test_weights_used_without_calling_their_module_are_not_called_unused() -> None:
    made = describe_backbone(BackboneRequest(Attention, preprocess=SMALL))
    assert made.unused == 0
    assert sum(s.parameters for s in made.layers) == sum(
        p.numel() for p in Attention().parameters()
    )


class Loop(nn.Module):
    """Takes its batch apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 16, 7, stride=8), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.fc(self.conv(one[None]).mean((2, 3)))[0] for one in x])


def test_a_network_that_takes_its_batch_apart_is_refused_not_misread() -> None:
    backbone = load_backbone(own(Loop))
    with pytest.raises(UsageError, match="treats the whole batch at once"):
        backbone.codes(batch_of(3))


class TwoInputs(Tiny):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.fc((self.conv(x) + y).mean((2, 3)))


class Extra(Tiny):
    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: object) -> None:
        pass


def raising() -> nn.Module:
    raise RuntimeError("no file found")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (raising, "RuntimeError: no file found"),
        (lambda n: Tiny(), "without arguments"),
        (lambda: torch.jit.trace(Tiny().eval(), torch.zeros(1, 3, 16, 16)), "TorchScript"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(5)), "lazy layers"),
        (TwoInputs, "missing 1 required positional argument"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_networks_that_cannot_be_used_are_one_line_each(network: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_backbone(own(network))
    with pytest.raises(UsageError, match=said):
        describe_backbone(BackboneRequest(network, preprocess=SMALL))


def test_networks_in_double_precision_or_with_extra_state_are_taken() -> None:
    assert load_backbone(own(lambda: Tiny().double())).dims == (5,)
    assert load_backbone(own(Extra)).dims == (5,)


def test_a_map_with_other_proportions_is_pooled_over_its_places() -> None:
    def tall(picture: Image.Image) -> np.ndarray:
        return np.asarray(picture.resize((16, 32)), np.float32).transpose(2, 0, 1)

    def network() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.Flatten(), nn.Linear(32 * 512, 2))

    backbone = load_backbone(own(network, preprocess=tall, layer="0"))
    flat = load_backbone(own(network, preprocess=tall, layer="0", pooling="flatten"))
    flat.network.load_state_dict(backbone.network.state_dict())
    batch = backbone.preprocessing.prepare(noise((40, 40)))[None]
    maps = flat.codes(batch)[0].reshape(32, -1)
    assert relative(backbone.codes(batch)[0][0], maps.mean(1)) <= 1e-4


def test_a_preprocess_function_that_fails_says_its_own_error() -> None:
    def broken(picture: Image.Image) -> np.ndarray:
        raise KeyError("colour")

    with pytest.raises(UsageError, match=r"broken failed: KeyError: 'colour'"):
        load_backbone(own(Tiny, preprocess=broken))


def test_prefixes_that_are_the_networks_own_stay(tmp_path: Path) -> None:
    class Wrap(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Tiny()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x)

    torch.save(Wrap().state_dict(), tmp_path / "w.pth")
    load_backbone(own(Wrap, weights=str(tmp_path / "w.pth")))
    torch.save({f"module.{k}": v for k, v in Wrap().state_dict().items()}, tmp_path / "m.pth")
    load_backbone(own(Wrap, weights=str(tmp_path / "m.pth")))
