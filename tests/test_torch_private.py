"""What torch does not document is there, and networks run where it has gone."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tlfeatures import _torch_private as private
from tlfeatures.backbones import BackboneRequest, load_backbone
from tlfeatures.backbones.sources import _torchvision
from tlfeatures.engine import Means, _faster, _fused

UNFUSED = "networks run unfused on a CPU"
PRIVATE = [
    ("torch", "ops.mkldnn._reorder_convolution_weight", UNFUSED),
    ("torch", "ops.mkldnn._convolution_pointwise", UNFUSED),
    ("torch", "ops.mkldnn._convolution_pointwise_.binary", UNFUSED),
    ("torch", "ops.mkldnn._reorder_linear_weight", UNFUSED),
    ("torch", "ops.mkldnn._linear_pointwise", UNFUSED),
    ("torch.nn", "Module._load_from_state_dict", "weights of older versions are not renamed"),
    ("torch.nn", "Module._apply", "networks are filled with random numbers first"),
    ("torch", "cpu._is_avx512_bf16_supported", "outside Linux precision auto is float32"),
    ("torch", "cpu._is_amx_tile_supported", "outside Linux precision auto is float32"),
    ("torch", "_assert", "networks with torch's own asserts are not fused"),
    (private.COMPILER, "is_compile_supported", "torchvision takes a second more to import"),
]
OF_MODULES = [
    ("_forward_pre_hooks", UNFUSED),
    ("_forward_hooks", UNFUSED),
    ("_load_state_dict_pre_hooks", "weights of older versions are not renamed"),
    ("_qkv_same_embed_dim", "attention is not fused"),
]


def gone(name: str, otherwise: str) -> str:
    return f"torch {torch.__version__} has no {name} any more: {otherwise}"


@pytest.mark.parametrize(("module", "name", "otherwise"), PRIVATE)
def test_each_private_name_is_there(module: str, name: str, otherwise: str) -> None:
    try:
        attrgetter(name)(import_module(module))
    except (ImportError, AttributeError):
        pytest.fail(gone(f"{module}.{name}", otherwise))


@pytest.mark.parametrize(("name", "otherwise"), OF_MODULES)
def test_modules_have_each_private_attribute(name: str, otherwise: str) -> None:
    assert hasattr(nn.MultiheadAttention(4, 1), name), gone(f"Module.{name}", otherwise)


def test_a_state_dict_says_by_which_version_it_was_written() -> None:
    versions = private.versions_of(nn.Sequential(nn.BatchNorm2d(2)).state_dict())
    assert versions.get("0") == {"version": 2}, gone("_metadata of a state dict", "old files fail")
    state: Any = SimpleNamespace()
    private.with_versions(state, versions)
    assert private.versions_of(state) is versions


def test_hooks_are_those_that_were_registered() -> None:
    module = nn.Identity()
    before = module.register_forward_pre_hook(lambda *_: None)
    after = module.register_forward_hook(lambda *_: None)
    assert (len(private.hooks_before(module)), len(private.hooks_after(module))) == (1, 1)
    before.remove()
    after.remove()
    assert not private.hooks_before(module)
    assert not private.hooks_after(module)


class Renaming(nn.Linear):
    """As modules that know older names do."""

    def _load_from_state_dict(self, state: Any, prefix: str, *more: Any) -> None:
        state[f"{prefix}weight"] = state.pop(f"{prefix}old")
        super()._load_from_state_dict(state, prefix, *more)


def test_who_loads_its_own_way_is_known_and_renames() -> None:
    module, state = Renaming(2, 2, bias=False), {"a.old": torch.ones(2, 2)}
    assert private.loads_its_own_way(module)
    assert not private.loads_its_own_way(nn.Linear(2, 2))
    assert not private.loads_its_own_way(nn.BatchNorm2d(2))
    private.load_its_own_way(module, state, "a.", {})
    assert list(state) == ["a.weight"]


def test_what_has_gone_is_as_if_it_said_no() -> None:
    bare: Any = object()
    assert private.versions_of(bare) == {}
    assert not private.is_of_one_width(bare)
    assert not private.is_assertion(None)
    assert not private.loads_its_own_way(bare)
    assert not private.change_tensors(bare, torch.zeros_like)


def test_a_network_is_filled_with_random_numbers_where_it_cannot_be_left_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_torchvision, "change_tensors", lambda *_: False)
    made = _torchvision.make_empty_network("squeezenet1_1")
    assert not any(each.is_meta for each in made.state_dict().values())


@pytest.mark.parametrize("name", ["lay_out_convolution", "convolve", "multiply", "lay_out_linear"])
def test_without_one_of_the_operations_a_network_runs_unfused_and_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: Any) -> Any:
        raise AttributeError(f"no such operation for {name}")

    monkeypatch.setattr(_fused, name, missing)
    backbone = load_backbone(BackboneRequest("alexnet", "random:1", layer="fc7", input_size=64))
    assert _faster.faster_cut(backbone, Means()) is None
    assert f"alexnet runs unfused, which is slower: no such operation for {name}" in caplog.text
