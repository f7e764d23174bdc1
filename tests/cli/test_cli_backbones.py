"""backbones list and describe, and extracting several layers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest

from tlfeatures.cli._app import run

Capture = pytest.CaptureFixture[str]


def as_json(capsys: Capture, *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*map(str, words), "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_list_says_what_each_network_costs_and_under_which_licence(capsys: Capture) -> None:
    rows = {row["name"]: row for row in as_json(capsys, "backbones", "list")["backbones"]}
    assert len(rows) == 81
    vgg16 = rows["vgg16"]
    assert (vgg16["dim"], vgg16["parameters"], vgg16["gflop"]) == (4096, 138_357_544, 15.47)
    assert vgg16["top1"] == pytest.approx(0.71592)
    assert [entry["name"] for entry in vgg16["entries"]] == ["IMAGENET1K_V1", "IMAGENET1K_FEATURES"]
    assert vgg16["entries"][1]["top1"] is None
    swag = next(e for e in rows["regnet_y_16gf"]["entries"] if "SWAG" in e["name"])
    assert (swag["licence"], vgg16["licence"], rows["embedded"]["licence"]) == (
        "swag", "imagenet", "own",
    )  # fmt: skip
    assert rows["embedded"]["on_disk"] is True


def test_list_shows_every_entry_on_demand(capsys: Capture) -> None:
    assert run(["backbones", "list"]) == 0
    short = capsys.readouterr().out
    assert run(["backbones", "list", "--all"]) == 0
    every = capsys.readouterr().out
    assert "IMAGENET1K_V2" not in short
    assert "IMAGENET1K_V2" in every
    assert "not for commercial use" in every
    assert "MB to fetch" in short


def test_weights_on_disk_are_said_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/resnet18-f37072fd.pth").touch()
    rows = {row["name"]: row for row in as_json(capsys, "backbones", "list")["backbones"]}
    assert rows["resnet18"]["on_disk"] is True
    assert rows["resnet34"]["on_disk"] is False


def test_the_list_and_the_help_import_no_torch() -> None:
    for words in (["backbones", "list"], ["--help"], ["backbones", "describe", "--help"]):
        code = (
            f"import sys\nfrom tlfeatures.cli._app import run\nrun({words!r})\n"
            "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_describe_shows_the_table_with_the_right_sum(capsys: Capture) -> None:
    assert run(["backbones", "describe", "vgg16"]) == 0
    out = capsys.readouterr().out
    for words in ("15,237,608", "138,357,544", "138,344,128", "60,950,432 bytes", "fc7 ", "head"):
        assert words in out
    made = as_json(capsys, "backbones", "describe", "vgg16")
    assert made["totals"]["values"] == 15_237_608
    assert made["aliases"]["fc6"] == {"layer": "classifier.1", "dim": 4096}
    assert made["layers"][0]["shape"] == [3, 224, 224]
    assert made["heavy"]["parameters"][0][0] == "classifier.0"


def test_describe_takes_timm_names_and_own_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pytest.importorskip("timm", reason="the extra 'timm' is not installed")
    assert as_json(capsys, "backbones", "describe", "timm:resnet10t")["dim"] == 512
    (tmp_path / "described_net.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), "
        "nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ("backbones", "describe", "described_net:make", "--input-size", 50)
    made = as_json(capsys, *words)
    assert made["input_shape"] == [3, 50, 50]
    assert made["totals"]["parameters"] == 4 * 27 + 4 + 4 * 2 + 2
    monkeypatch.delitem(sys.modules, "described_net")


def test_describe_of_nothing_known_is_one_line_with_a_way_out(capsys: Capture) -> None:
    assert run(["backbones", "describe", "vgg61"]) == 2
    assert "did you mean 'vgg1" in capsys.readouterr().err


def test_several_layers_come_of_one_extraction(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ["extract", folder, "--backbone", "embedded", "--cache", tmp_path / "c"]
    layers = ["--layer", "block-2", "--layer", "layer4", "--out", tmp_path / "codes.h5"]
    data = as_json(capsys, *words, *layers)
    assert [(spec["layer"], spec["dim"]) for spec in data["specs"]] == [
        ("layer3.relu2", 128),
        ("layer4.relu2", 256),
    ]
    for layer, dim in (("layer3.relu2", 128), ("layer4.relu2", 256)):
        with h5py.File(tmp_path / f"codes-{layer}.h5") as file:
            assert file["codes"].shape == (36, dim)
