"""The README's own lines run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfeatures.cli._app import run

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def my_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """my_pictures/, new_pictures/, query.png, one.jpg in the current folder, a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLFEATURES_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for label, colour in (("red", (200, 60, 60)), ("green", (60, 200, 60))):
        folder = tmp_path / "my_pictures" / label
        folder.mkdir(parents=True)
        for i in range(10):
            pixels = np.clip(rng.normal(colour, 30, (64, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "new_pictures").mkdir()
    for name in ("new_pictures/a.png", "query.png", "one.jpg"):
        shutil.copy(tmp_path / "my_pictures/red/0.png", tmp_path / name)
    return tmp_path


def test_the_python_lines_run_as_they_stand(my_pictures: Path) -> None:
    names: dict[str, object] = {}
    exec("\n".join(blocks("python")), names)
    codes = names["codes"]
    assert isinstance(codes, np.ndarray)
    assert codes.shape == (20, 256)


def test_the_shell_lines_for_ones_own_pictures_run(
    my_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line for line in shell_lines() if line.split()[1] not in ("extract", "cache")]
    assert [line.split()[1] for line in lines] == [
        "fit", "predict", "search", "advise", "finetune"
    ]  # fmt: skip
    for line in lines:
        words = line.replace("resnet18", "embedded").split()[1:]
        assert run(words) == 0, capsys.readouterr().err
    assert (my_pictures / "my.html").is_file()
    assert (my_pictures / "neighbours.png").is_file()
    assert (my_pictures / "tuned.html").is_file()


def test_the_shell_lines_for_other_networks_run(
    my_pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm", reason="the extra 'timm' is not installed")
    import torch

    (my_pictures / "my_package").mkdir()
    (my_pictures / "my_package/networks.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 9, 9), "
        "nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    monkeypatch.syspath_prepend(my_pictures)
    from my_package.networks import make  # type: ignore[import-not-found]

    torch.save(make().state_dict(), "trained.pth")
    untrained = {
        "vgg16": "vgg16 --weights random",
        "timm:vit_small_patch14_dinov2.lvd142m": "timm:vit_tiny_patch16_224 --weights random",
    }
    lines = [line for line in shell_lines() if "extract" in line and "resnet18" not in line]
    lines = [line.partition("#")[0] for line in lines]
    assert len(lines) == 3
    for line in lines:
        for trained, words in untrained.items():
            line = line.replace(trained, words)
        assert run([*line.split()[1:], "--limit", "2"]) == 0, capsys.readouterr().err


def test_the_shell_lines_about_speed_run(
    my_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line for line in shell_lines() if "extract" in line and "resnet18" in line]
    assert len(lines) == 2
    for line in lines:
        words = line.partition("#")[0].replace("resnet18", "embedded").split()[1:]
        assert run(words) == 0, capsys.readouterr().err


def test_the_shell_lines_about_the_cache_run(
    my_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["extract", "my_pictures", "--backbone", "embedded"]) == 0
    lines = [line.partition("#")[0] for line in shell_lines() if line.split()[1] == "cache"]
    assert len(lines) == 3
    for line in lines:
        assert run(line.split()[1:]) == 0, capsys.readouterr().err


def shell_lines() -> list[str]:
    return [line for line in "".join(blocks("sh")).splitlines() if line.startswith("tlfeatures ")]


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (Path(__file__).resolve().parents[1] / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake (\w+)", README):
        assert f"\n{target}:" in makefile, target
