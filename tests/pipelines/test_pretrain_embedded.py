"""Pretraining in miniature: the script's file fits the network and follows from its seed."""

import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tlfeatures.backbones.sources._embedded import make_embedded

SCRIPT = Path(__file__).parents[2] / "pipelines" / "pretrain_embedded.py"
SHIPPED = Path(str(files("tlfeatures.backbones") / "embedded.safetensors"))


def start(out):
    small = ["--steps", "4", "--reports", "2", "--seed", "1", "--held-out", "64"]
    words = [sys.executable, str(SCRIPT), "--out", str(out), *small]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two small runs side by side, of one seed: [(file, what was printed)]."""
    folder = tmp_path_factory.mktemp("pretrained")
    outs = [folder / name / "weights.safetensors" for name in ("once", "again")]
    processes = [start(out) for out in outs]
    printed = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return list(zip(outs, printed, strict=True))


def facts(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["pretraining"])


def script_constant(name):
    """A number from the script's head, read without running it."""
    (line,) = re.findall(r"^SEED, STEPS, BATCH_SIZE = (.*)$", SCRIPT.read_text(), re.MULTILINE)
    return dict(zip(("SEED", "STEPS", "BATCH_SIZE"), map(int, line.split(",")), strict=True))[name]


def assert_fits(path):
    state = load_file(path)
    make_embedded().load_state_dict(state)
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_the_file_fits_the_network(runs):
    assert_fits(runs[0][0])


def test_nothing_but_the_file_is_left_behind(runs):
    assert [path.name for path in runs[0][0].parent.iterdir()] == ["weights.safetensors"]


def test_the_loss_goes_down(runs):
    losses = [report["loss"] for report in facts(runs[0][0])["curve"]]
    assert len(losses) == 2
    assert losses[-1] < losses[0] - 0.5


def test_the_curve_is_printed(runs):
    out, printed = runs[0]
    assert re.search(r"step +4  loss .* glyphs .* textures .* pictures/s", printed)
    assert str(out) in printed.splitlines()[-1]


def test_the_same_seed_gives_the_same_bytes(runs):
    assert runs[0][0].read_bytes() == runs[1][0].read_bytes()


def test_the_shipped_weights_fit_the_network():
    assert_fits(SHIPPED)


def test_the_shipped_weights_are_at_most_4_mb():
    assert SHIPPED.stat().st_size <= 4_000_000


def test_the_shipped_weights_are_the_scripts_defaults(runs):
    shipped, small = facts(SHIPPED), facts(runs[0][0])
    assert shipped["seed"] == script_constant("SEED")
    assert shipped["steps"] == script_constant("STEPS")
    assert shipped["batch_size"] == small["batch_size"] == script_constant("BATCH_SIZE")
    assert shipped["generator"] == small["generator"]
    assert shipped["curve"][-1]["step"] == shipped["steps"]
