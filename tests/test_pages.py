"""The command lines of the pages in docs/ run, on small pictures with small networks."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfeatures.backbones import list_backbones
from tlfeatures.cli._app import run
from tlfeatures.cli._verbs import find_command

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "advice", "cache-format", "doctor", "fine-tuning", "networks", "pictures", "sources", "speed",
)  # fmt: skip
TIMM = "timm:vit_small_patch14_dinov2.lvd142m"
TAKES_A_NETWORK = {"look", "fit", "search", "finetune", "extract", "doctor"}
SMALL = "--weights random --input-size 32"  # for networks that must be of a kind
NEEDS = {  # a recipe: the kind of network that it is written for, at its smallest
    "teh-D": f"resnet18 {SMALL}",
    "classifier": f"vgg11 {SMALL}",
    "guide-vgg": f"vgg11_bn {SMALL} --plan",  # minutes to train: 130 million numbers
}
QUICK = ("--recipe head --epochs 2", "--plan --sheet augmentation.png")  # ends of lines
EPOCHS = {"classifier": 1, "guide-resnet": 2, "backwards": 5, "ulmfit": 5}
SCRIPTS = {
    "ants_and_bees": "--epochs 1 --seeds 1",
    "cifar10_recipes": "--epochs 1 --runs C",
    "pretrain_embedded": "--steps 4 --reports 2 --held-out 64",
}


def commands(page: str) -> list[str]:
    """The command lines of a page: those of its blocks, in docs/sources.md those in backticks."""
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    if page == "sources":
        return list(dict.fromkeys(re.findall(r"`((?:tlfeatures [a-z]+ |python )[^`]*)`", text)))
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    return [line.partition("#")[0].strip() for line in blocks.splitlines()]


def is_slow(line: str) -> bool:
    """Trains, computes with a large network, or starts a process; two trainings are not slow."""
    if "finetune" in line or "predict tuned" in line:
        return not line.endswith(QUICK)
    return line.startswith("python") or "timm:" in line or ("fc7" in line and "fc6" not in line)


def option(line: str, name: str) -> str | None:
    """The value of an option in a command line."""
    words = shlex.split(line)
    return words[words.index(name) + 1] if name in words else None


def typed() -> Iterator[object]:
    for page in PAGES:
        for line in commands(page):
            marks = [pytest.mark.slow] if is_slow(line) else []
            yield pytest.param(line, marks=marks, id=f"{page}: {line}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages name."""
    place, rng = tmp_path_factory.mktemp("pages"), np.random.default_rng(0)
    for name, n in (("my_pictures", 10), ("other_pictures", 6)):
        for label, colour in (("red", (200, 60, 60)), ("green", (60, 200, 60))):
            folder = place / name / label
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = np.clip(rng.normal(colour, 30, (64, 64, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    shutil.copy(place / "my_pictures/red/0.png", place / "one.jpg")
    (place / "my_package").mkdir()
    (place / "my_package/networks.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 9, 9), "
        "nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    return place


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("TLFEATURES_CACHE", str(place / "cache"))
    return place


def is_from_a_model(line: str) -> bool:
    return (option(line, "--backbone") or "").endswith(".model")


def with_small_network(line: str) -> list[str]:
    """The words after `tlfeatures`, with a network that is here in the place of the one named."""
    verb = line.split()[2 if " doctor " in line else 1]
    if verb not in TAKES_A_NETWORK or "my_package" in line or is_from_a_model(line):
        return shlex.split(line)[1:]
    named, recipe = option(line, "--backbone"), option(line, "--recipe")
    line = re.sub(r" --(backbone|weights) \S+", "", line)
    if named == TIMM:
        line += " --backbone timm:vit_tiny_patch16_224 --weights random --limit 2"
    elif "fc7" in line or recipe in NEEDS:
        line += f" --backbone {NEEDS[recipe] if recipe else f'{named} --weights random --limit 2'}"
    else:
        line += " --backbone embedded"
    if recipe in EPOCHS and "--plan" not in line:
        line = f"{re.sub(r' --epochs [0-9]+', '', line)} --epochs {EPOCHS[recipe]}"
    return shlex.split(line)[1:]


@pytest.mark.parametrize("line", list(typed()))
def test_a_command_of_a_page_runs(
    line: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if line.startswith("python"):
        run_script(line, here)
        return
    if "timm:" in line:
        pytest.importorskip("timm", reason="the extra 'timm' is not installed")
    prepare(line)
    code = run(with_small_network(line))
    assert code == 0, capsys.readouterr().err


def prepare(line: str) -> None:
    """What an earlier line of the page makes."""
    if "my_package" in line:
        import torch
        from my_package.networks import make  # type: ignore[import-not-found]

        torch.save(make().state_dict(), "trained.pth")
    if "predict tuned" in line or is_from_a_model(line):
        words = "finetune my_pictures --backbone embedded --recipe head --epochs 1 --out"
        model = option(line, "--backbone") or line.split()[2]
        assert run([*words.split(), model]) == 0
    if "cache" in line.split()[1]:
        assert run(["extract", "my_pictures", "--backbone", "embedded"]) == 0


def run_script(line: str, here: Path) -> None:
    """A script of pipelines/, with its least of work."""
    _, script, *words = shlex.split(line)
    name = Path(script).stem
    if "--images" in words:
        words += ["--backbone", "embedded", "--cache", "cache"]
    if name in ("ants_and_bees", "cifar10_recipes"):
        words += ["--input-size", "64", "--out", f"{name}.jsonl"]
    words += SCRIPTS.get(name, "").split()
    command = [sys.executable, str(ROOT / script), *words]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_every_option_of_every_command_of_a_page_exists(page: str) -> None:
    lines = [line for line in commands(page) if line.startswith("tlfeatures")]
    assert lines
    for line in lines:
        words = shlex.split(line)[1:]
        command = find_command(words)
        assert command is not None, line
        n_verbs = 2 if words[0] in ("backbones", "cache") else 1
        command.make_context(command.name, words[n_verbs:])  # click refuses what it does not know


def test_every_network_and_weights_entry_that_a_page_names_exists() -> None:
    entries = {row.name: {entry.name for entry in row.entries} for row in list_backbones()}
    lines = [line for page in PAGES for line in commands(page)]
    named = [(option(line, "--backbone"), option(line, "--weights")) for line in lines]
    networks = [(name, weights) for name, weights in named if name and not re.search(r"[:.]", name)]
    assert len(networks) > 10
    for name, weights in networks:
        assert name in entries
        is_file = weights is not None and "." in weights
        assert weights is None or is_file or weights in entries[name]
