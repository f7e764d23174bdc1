"""Weights as they are published, against what torchvision's own builders make of them.

The files hold drawn numbers under the names that the published ones have: those of DenseNets and
vision transformers are older than today's code. One network of a family runs always, the others by
`make torture`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from tests.backbones.conftest import noise, relative
from tests.backbones.test_backbones_torchvision import input_of_the_last_layer
from tlfeatures.backbones import Backbone, BackboneRequest, Network, load_backbone, load_network
from tlfeatures.backbones.sources._listing import weights_place
from tlfeatures.errors import WeightsError

NAMES = list_models(module=torchvision.models)
ALWAYS = {
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18",
    "shufflenet_v2_x0_5", "squeezenet1_1", "swin_v2_t", "vgg11", "vit_b_32",
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:A new version of MNASNet")
State = dict[str, Any]


def default_entry(name: str) -> Any:
    entries = get_model_weights(name).__members__
    return entries.get("IMAGENET1K_V1", next(iter(entries.values())))


def old_name(name: str) -> str:
    """What a parameter is called in the published file."""
    name = re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", name)
    return re.sub(
        r"(encoder_layer_\d+\.mlp)\.([03])\.",
        lambda m: f"{m[1]}.linear_{int(m[2]) // 3 + 1}.",
        name,
    )


def draw(name: str) -> nn.Module:
    """The network with drawn weights and statistics."""
    torch.manual_seed(4)
    is_slow = name.startswith(("googlenet", "inception_v3", "vgg"))
    more: State = {"init_weights": False} if is_slow else {}
    if name.startswith("vit_"):
        more["image_size"] = default_entry(name).transforms().crop_size[0]
    network = get_model(name, weights=None, **more).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network


def published(network: nn.Module) -> OrderedDict[str, torch.Tensor]:
    """Its state as the published files have it: older names, no counters of batches."""
    own = network.state_dict()
    if type(network).__name__ == "MNASNet":  # it refuses what notes no version
        return own
    return OrderedDict(
        (old_name(n), t) for n, t in own.items() if not n.endswith("num_batches_tracked")
    )


def put(state: object, name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay a state where torchvision keeps the weights of the default entry."""
    monkeypatch.setenv("TORCH_HOME", str(home))
    place = weights_place(default_entry(name).url)
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, place)
    return place


def codes_of(network: Network) -> Any:
    backbone = Backbone(network)
    pixels = backbone.preprocessing.prepare(noise((260, 233), 3))[None]
    return backbone.codes(pixels)[0][0]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ALWAYS else pytest.mark.slow) for n in NAMES]
)
def test_published_weights_give_torchvisions_own_codes_by_entry_file_and_saved_tensors(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put(published(draw(name)), name, tmp_path, monkeypatch)
    entry = default_entry(name)
    theirs = get_model(name, weights=entry).eval()
    picture = entry.transforms()(noise((260, 233), 3))[None]
    expected = input_of_the_last_layer(theirs, picture)[0]
    del theirs
    by_entry = load_network(BackboneRequest(name))
    assert relative(codes_of(by_entry), expected) <= 1e-4
    identity = by_entry.weights_id
    tensors = {
        n: torch.from_numpy(t.numpy().copy()) for n, t in by_entry.module.state_dict().items()
    }
    del by_entry
    saved = load_network(BackboneRequest(name), tensors)
    assert relative(codes_of(saved), expected) <= 1e-4
    assert saved.weights_id == identity
    del saved, tensors
    by_file = load_network(BackboneRequest(name, str(place)))
    assert relative(codes_of(by_file), expected) <= 1e-4
    assert by_file.weights_id == identity
    place.unlink()  # the largest take gigabytes


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("densenet121", ""), ("densenet121", "model.backbone."), ("mnasnet0_5", "module."),
        ("vit_b_32", "module."),
    ],
)  # fmt: skip
def test_older_names_hold_in_safetensors_and_behind_prefixes_too(
    name: str, prefix: str, tmp_path: Path
) -> None:
    network = draw(name)
    state = {f"{prefix}{n}": t.contiguous() for n, t in published(network).items()}
    save_file(state, tmp_path / "w.safetensors")  # it notes no versions of code
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    torch.save(network.state_dict(), tmp_path / "new.pth")
    ids = {
        load_network(BackboneRequest(name, str(tmp_path / file))).weights_id
        for file in ("w.safetensors", "w.pth", "new.pth")
    }
    assert len(ids) == 1


def first_version(name: str) -> nn.Module:
    """An MNASNet as its code once was, with the same stem for all widths."""
    network, plain = draw(name), get_model("mnasnet1_0", weights=None)
    for i in range(8):
        network.layers[i] = plain.layers[i]
    stack = torchvision.models.mnasnet._stack
    network.layers[8] = stack(16, network.layers[9][0].layers[0].in_channels, 3, 2, 3, 3, 0.1)
    network._version = 1
    return network.eval()


@pytest.mark.parametrize("name", ["mnasnet0_5", "mnasnet1_3"])
def test_mnasnets_first_version_is_taken_by_entry_file_and_saved_tensors(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state = first_version(name).state_dict()
    assert state["layers.0.weight"].shape[0] == 32
    place = put(state, name, tmp_path, monkeypatch)
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "w.safetensors")
    theirs = get_model(name, weights=default_entry(name)).eval()
    picture = default_entry(name).transforms()(noise((260, 233), 3))[None]
    expected = input_of_the_last_layer(theirs, picture)[0]
    generator = torch.get_rng_state()
    networks = [
        load_network(BackboneRequest(name)),
        load_network(BackboneRequest(name, str(place))),
        load_network(BackboneRequest(name, str(tmp_path / "w.safetensors"))),
        load_network(BackboneRequest(name), dict(state)),
    ]
    assert torch.equal(generator, torch.get_rng_state())
    assert len({network.weights_id for network in networks}) == 1
    for network in networks:
        assert relative(codes_of(network), expected) <= 1e-4
    assert "MNASNet's first version" in caplog.text


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_weights_without_auxiliary_heads_are_taken_in_every_form(name: str, tmp_path: Path) -> None:
    state = {n: t for n, t in draw(name).state_dict().items() if not n.lower().startswith("aux")}
    torch.save({f"module.{n}": t for n, t in state.items()}, tmp_path / "w.pth")
    by_file = load_network(BackboneRequest(name, str(tmp_path / "w.pth")))
    saved = load_network(BackboneRequest(name), dict(by_file.module.state_dict()))
    assert by_file.module.transform_input
    assert saved.module.transform_input
    assert saved.weights_id == by_file.weights_id
    assert relative(codes_of(saved), codes_of(by_file)) <= 1e-6


def test_positions_are_interpolated_behind_a_prefix_and_with_older_names(tmp_path: Path) -> None:
    state = published(draw("vit_b_32"))
    torch.save({f"module.{n}": t for n, t in state.items()}, tmp_path / "w.pth")
    made = load_network(BackboneRequest("vit_b_32", str(tmp_path / "w.pth"), input_size=96))
    wanted = torchvision.models.vision_transformer.interpolate_embeddings(96, 32, {**state})
    found = made.module.encoder.pos_embedding
    assert torch.equal(found, wanted["encoder.pos_embedding"])


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"text" * 99])
def test_a_spoilt_file_in_torchvisions_folder_is_one_line_that_names_it(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put({}, "densenet121", tmp_path, monkeypatch)
    place.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_backbone(BackboneRequest("densenet121"))
    assert place.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_weights_of_another_form_in_torchvisions_folder_are_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(draw("resnet18").state_dict(), "densenet121", tmp_path, monkeypatch)
    with pytest.raises(WeightsError, match="not for densenet121") as caught:
        load_backbone(BackboneRequest("densenet121"))
    assert len(str(caught.value)) < 1000


def test_a_network_of_ones_own_loads_its_older_files_its_own_way(tmp_path: Path) -> None:
    class Grown(nn.Module):
        """Once its layer was called `old`, and its numbers were half of today's."""

        _version = 2

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).mean((2, 3)))

        def _load_from_state_dict(
            self, state: State, prefix: str, facts: State, *more: Any
        ) -> None:
            if facts.get("version", 1) < 2:
                state[f"{prefix}conv.weight"] = 2 * state.pop(f"{prefix}old.weight")
            super()._load_from_state_dict(state, prefix, facts, *more)

    state = Grown().state_dict()
    older = {("old.weight" if n == "conv.weight" else n): t for n, t in state.items()}
    torch.save({**older, "old.weight": older["old.weight"] / 2}, tmp_path / "w.pth")
    made = load_network(BackboneRequest(Grown, str(tmp_path / "w.pth"), preprocess="imagenet"))
    assert torch.equal(made.module.conv.weight, Grown().conv.weight)
    tensors = dict(made.module.state_dict())
    again = load_network(BackboneRequest(Grown, preprocess="imagenet"), tensors)
    assert np.array_equal(again.module.conv.weight, made.module.conv.weight)
