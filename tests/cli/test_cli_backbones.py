"""backbones list, describe and doctor, and extracting several layers."""

from __future__ import annotations

import json
import shutil
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
    for words in (["backbones", "list"], ["--help"], ["backbones", "doctor", "--help"]):
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


@pytest.fixture(scope="module")
def own_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    from tlfeatures.backbones import BackboneRequest, load_network

    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file(load_network(BackboneRequest("embedded")).module.state_dict(), path)
    return path


def test_doctor_prints_the_verdict_and_what_it_rests_on(
    folder: Path, own_weights: Path, capsys: Capture
) -> None:
    words = ["backbones", "doctor", folder, "--backbone", "embedded", "--weights", own_weights]
    words += ["--preprocess", "caffe", "--input-size", "64"]
    made = as_json(capsys, *words)
    assert made["verdict"] == "caffe"
    assert made["expected"]
    assert {row["excluded"] for row in made["candidates"]} > {None, "batch norms"}
    assert run([*map(str, words)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "verdict: caffe"
    assert out[1] == made["words"]
    assert len(out) == 3 + len(made["candidates"]) + 2


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--backbone", "package:network"], 2, "published networks only"),
        (["--backbone", "embedded", "--weights", "none.pth"], 1, "is not there"),
        (["--backbone", "embedded", "--limit", "1"], 1, "1 picture that can be read"),
        (["--backbone", "resnet18", "--weights", "random"], 2, "random weights expect nothing"),
    ],
)
def test_doctor_says_in_one_line_what_it_cannot_examine(
    more: list[str], code: int, words: str, folder: Path, capsys: Capture
) -> None:
    assert run(["backbones", "doctor", str(folder), "--quiet", *more]) == code
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_doctor_of_an_empty_folder_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    assert run(["backbones", "doctor", str(tmp_path), "--backbone", "embedded", "--quiet"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_doctor_leaves_bad_pictures_out_and_strict_counts_them(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(folder, tmp_path / "p")
    (tmp_path / "p/disks/broken.png").write_bytes(b"broken")
    words = ["backbones", "doctor", str(tmp_path / "p"), "--backbone", "embedded"]
    assert as_json(capsys, *words)["bad"][0]["path"].endswith("broken.png")
    assert run([*words, "--strict"]) == 1
    assert "bad picture" in capsys.readouterr().err


def test_fit_warns_of_local_weights_that_expect_another_preprocessing(
    folder: Path, own_weights: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ["fit", folder, "--backbone", "embedded", "--head", "knn", "--cache", tmp_path]
    wrong = [*words, "--weights", own_weights, "--preprocess", "caffe", "--input-size", "64"]
    warnings = as_json(capsys, *wrong)["warnings"]
    assert [w for w in warnings if w.startswith("caffe: these weights look as if they expect")]
    assert as_json(capsys, *wrong)["warnings"] == warnings  # the second run says the same
    usual = as_json(capsys, *words, "--weights", own_weights)["warnings"]
    assert not [w for w in usual if "these weights" in w]


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
