"""What opening a network imports and draws: nothing that it does not need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from tests.backbones.test_backbones_torchvision import NAMES, a_tenth_always
from tlfeatures._torch_private import COMPILER, without_compiler
from tlfeatures.backbones.sources._torchvision import make_empty_network, make_network

OPENED = """
import json, sys
from tlfeatures.backbones import BackboneRequest
from tlfeatures.extraction import RunOptions, open_engine
open_engine(BackboneRequest("resnet18", "random"), RunOptions(device="cpu", precision=PRECISION))
print(json.dumps([name for name in ("torch._dynamo", "sympy") if name in sys.modules]))
"""
ASKING = """
import sys
import tlfeatures.backbones.sources._lean
from tlfeatures._torch_private import COMPILER
import torchvision
asked = torchvision.ops.roi_align.__globals__["is_compile_supported"]
assert COMPILER not in sys.modules, "the stand-in stays"
answer = asked("cpu")
import torch._dynamo.utils as real
assert answer == real.is_compile_supported("cpu"), answer
assert type(real).__name__ == "module" and real.counters is not None
"""
STANDING_IN = """
import sys
from tlfeatures._torch_private import COMPILER, without_compiler
with without_compiler():
    stand_in = sys.modules[COMPILER]
    from torch._dynamo.utils import counters
    assert sys.modules[COMPILER] is not stand_in
import torch._dynamo.utils as real
assert counters is real.counters and sys.modules[COMPILER] is real
"""


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_opening_a_network_imports_neither_the_compiler_nor_a_computer_algebra(
    precision: str,
) -> None:
    assert json.loads(_run(OPENED.replace("PRECISION", repr(precision)))) == []


def test_what_torchvision_asks_of_the_compiler_the_real_one_answers() -> None:
    _run(ASKING)


def test_any_other_name_that_is_asked_of_the_stand_in_is_the_real_ones() -> None:
    _run(STANDING_IN)


def test_where_the_compiler_is_there_already_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, COMPILER, json)
    with without_compiler():
        assert sys.modules[COMPILER] is json
    assert sys.modules[COMPILER] is json


@pytest.mark.parametrize("name", a_tenth_always(NAMES))
def test_a_network_made_for_weights_to_come_has_all_that_are_not_weights(name: str) -> None:
    drawn, empty = make_network(name), make_empty_network(name)
    theirs, ours = drawn.state_dict(), empty.state_dict()
    assert {k: (v.shape, v.dtype) for k, v in theirs.items()} == {
        k: (v.shape, v.dtype) for k, v in ours.items()
    }
    assert not any(t.is_meta for t in ours.values())
    for key, values in drawn.named_buffers():
        if not key.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(empty.get_buffer(key), values)
    empty.load_state_dict(theirs)
    assert [p.requires_grad for p in empty.parameters()] == [True] * len(list(drawn.parameters()))
    if name != "inception_v3":  # takes larger pictures
        batch = torch.rand(1, 3, 224, 224)
        with torch.inference_mode():
            assert torch.equal(drawn(batch), empty(batch))


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
