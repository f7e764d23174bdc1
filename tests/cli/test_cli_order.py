"""What is wrong with words or pictures is said before a network is downloaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torchvision

from tlfeatures import TransferClassifier, load_pictures, modelfile
from tlfeatures.cli._app import run

Capture = pytest.CaptureFixture[str]
NO_LABELS = "have no labels; use a folder of class folders or a manifest.\n"


@pytest.fixture(autouse=True)
def no_network(
    cache: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No weights on the disk; whoever asks the network for some ends the test."""

    def ask(*given: object, **named: object) -> None:
        pytest.fail("the network was asked for weights")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
    monkeypatch.setenv("TLFEATURES_CACHE", str(cache))
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", ask)


@pytest.fixture(scope="module")
def places(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders that suit and do not suit, a table, a model whose network has to be downloaded."""
    root = tmp_path_factory.mktemp("places")
    for name in ("checks", "disks"):
        shutil.copytree(
            folder / name, root / "few" / name, ignore=shutil.ignore_patterns("*[1-9]*")
        )
    shutil.copytree(folder / "stripes", root / "one class" / "stripes")
    (root / "all test.csv").write_text(
        "path,label,split\n" + "".join(f"{p},{p.parent.name},test\n" for p in folder.rglob("*.png"))
    )
    (root / "file").write_text("x")
    model = root / "far.model"
    TransferClassifier("embedded", "knn").fit(load_pictures(folder)).save(model)
    tensors, facts = modelfile.read_model_file(model)
    facts["request"] = {**facts["request"], "backbone": "resnet18"}
    modelfile.write_model_file(model, tensors, facts)
    return {
        "folder": folder, "flat": folder / "disks", "few": root / "few", "one": root / "one class",
        "table": root / "all test.csv", "file": root / "file", "model": model,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("fit {folder} --head forest", 2, "head 'forest' is unknown"),
        ("fit {folder} --head svm --head svn", 2, "head 'svn' is unknown"),
        ("fit {folder} --test 1.5", 2, "between 0 and 1"),
        ("fit {folder} --test nowhere", 1, "nowhere is not there"),
        ("fit {folder} --test {flat}", 1, "both sides need labels"),
        ("fit {folder} --train-per-class 99", 1, "is left to test on"),
        ("fit {flat}", 1, NO_LABELS),
        ("fit {one}", 1, "only class stripes"),
        ("fit {few}", 1, "has one picture"),
        ("fit {table}", 1, "none to train on"),
        ("fit {folder} --layer layr4", 2, "near ones are layer4"),
        ("fit {folder} --backbone alexnet --input-size 9", 2, "cannot be run on pictures"),
        ("fit {folder} --backbone resnet5O", 2, "did you mean 'resnet50'"),
        ("fit {folder} --weights V9", 2, "IMAGENET1K_V1"),
        ("fit {folder} --weights gone.pth", 1, "gone.pth is not there"),
        ("fit {folder} --cache {file}/x", 1, "is no folder"),
        ("finetune {folder} --recipe nope", 2, "recipe 'nope' is unknown"),
        ("finetune {folder} --recipe guide-vgg", 2, "does not fit resnet50"),
        ("finetune {folder} --recipe ulmfit --epochs 2", 2, "fewer than the recipe's"),
        ("finetune {folder} --recipe hard-sharing", 2, "--shared-with"),
        ("finetune {folder} --shared-with {folder}", 2, "--shared-with"),
        ("finetune {folder} --recipe hard-sharing --shared-with {flat}", 1, NO_LABELS),
        ("finetune {folder} --augment sideways", 2, "augmentation 'sideways'"),
        ("finetune {folder} --lr fast", 2, "--lr 'fast'"),
        ("finetune {folder} --patience soon", 2, "--patience 'soon'"),
        ("finetune {folder} --valid 1", 2, "--valid is 1"),
        ("finetune {folder} --test 2", 2, "--test 2.0 is no share"),
        ("finetune {folder} --layer fc9", 2, "layer 'fc9' does not exist"),
        ("finetune {flat}", 1, NO_LABELS),
        ("finetune {few}", 1, "has one picture"),
        ("finetune {one}", 1, "only class stripes"),
        ("finetune {flat} --plan", 1, NO_LABELS),
        ("finetune {one} --plan", 1, "only class stripes"),
        ("finetune {folder} --plan --limit 6", 1, "add at least one more of each"),
        ("finetune {folder} --plan --layer nope", 2, "layer 'nope' does not exist"),
        ("search {folder} --query gone.png", 1, "no query can be read (gone.png"),
        ("search {folder} --query gone.png --query {file}/x", 1, "no query can be read"),
        ("search {folder} --query {flat}/00.png --layer nope", 2, "does not exist"),
        ("predict {model} gone.png", 1, "bad picture: gone.png: "),
        ("predict {model} gone.png gone2.png", 1, "bad picture: gone2.png: "),
        ("predict {file} {folder}", 1, "is not a tlfeatures model"),
        ("predict {model} {flat} --report r.html", 2, "no labels"),
        ("predict {model} gone.csv", 1, "gone.csv is not there"),
        ("extract {folder} --layer layer4 --layer nope", 2, "layer 'nope' does not exist"),
        ("extract {folder} --range 3", 2, "two numbers"),
        ("backbones doctor {folder} --backbone alexnet --input-size 9", 2, "cannot be run"),
        ("backbones doctor {folder} --limit 2", 1, "2 pictures"),
    ],
)
def test_it_is_said_before_the_network_is_asked(
    line: str, code: int, said: str, places: dict[str, Path], capsys: Capture
) -> None:
    words = [word.format(**places) for word in line.split()]
    assert run(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_each_network_can_be_looked_at_without_its_weights() -> None:
    """Of each kind of torchvision's networks one; all 80 in `slow`."""
    look_at(["alexnet", "convnext_tiny", "googlenet", "mnasnet0_5", "squeezenet1_0", "swin_t",
             "vit_b_16"])  # fmt: skip


@pytest.mark.slow
def test_all_networks_can_be_looked_at_without_their_weights() -> None:
    look_at(torchvision.models.list_models(module=torchvision.models))


def look_at(names: list[str]) -> None:
    from tlfeatures.backbones import BackboneRequest, check_before_weights, load_preprocessing

    for name in names:
        side = load_preprocessing(BackboneRequest(name)).input_size
        check_before_weights(BackboneRequest(name, input_size=side), (None,))


def test_one_bad_query_does_not_end_a_search_of_many(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "text.png").write_bytes(b"text")
    queries = [folder / "disks/00.png", "gone.png", tmp_path / "text.png", folder / "checks/01.png"]
    words = ["search", str(folder), "--backbone", "embedded", "--quiet", "-k", "2"]
    words += [word for query in queries for word in ("--query", str(query))]
    assert run([*words, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [row["path"] for row in data["queries"]] == [str(queries[0]), str(queries[3])]
    assert [row["path"] for row in data["bad"]] == [str(queries[1]), str(queries[2])]
    assert run([*words, "--strict", "--sheet", str(tmp_path / "s.png")]) == 1
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        str(queries[0]), str(queries[3])
    ]  # fmt: skip
    assert (tmp_path / "s.png").is_file()


def test_a_search_whose_queries_are_all_bad_fails(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "text.png").write_bytes(b"text")
    words = ["search", str(folder), "--backbone", "embedded", "--query", str(tmp_path / "text.png")]
    assert run([*words, "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["queries"] == []
    assert "text.png: not a picture" in err
    assert "on_bad" not in err


def test_search_names_copies_in_its_table_and_json(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(folder / "disks", tmp_path / "all")
    shutil.copy(tmp_path / "all/03.png", tmp_path / "all/copy.png")
    query = str(tmp_path / "all" / "03.png")
    words = ["search", str(tmp_path / "all"), "--backbone", "embedded", "--query", query, "-k", "3"]
    assert run([*words, "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["queries"][0]["neighbours"]
    assert [(Path(hit["path"]).name, hit["copy"]) for hit in hits[:1]] == [("copy.png", "file")]
    assert [hit["copy"] for hit in hits[1:]] == [None] * 3
    assert query not in [hit["path"] for hit in hits]
    assert run(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("copy.png\ta copy of the file")
    assert len(lines) == 5


def test_predict_tries_bad_pictures_again_as_it_advises(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    model = tmp_path / "m.model"
    TransferClassifier("embedded", "knn").fit(load_pictures(folder)).save(model)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"text")
    shutil.copy(folder / "disks" / "00.png", tmp_path / "in")
    words = ["predict", str(model), str(tmp_path / "in")]
    run(words)
    capsys.readouterr()
    assert run(words) == 0
    assert "--retry-bad tries them" in capsys.readouterr().err
    assert run([*words, "--retry-bad"]) == 0
    assert "known from earlier runs" not in capsys.readouterr().err


def test_quiet_and_json_together_print_one_object_and_errors_still(
    folder: Path, capsys: Capture
) -> None:
    words = ["extract", str(folder), "--backbone", "embedded", "--quiet", "--json"]
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["pictures"] == 36
    assert err == ""
    assert run([*words, "--layer", "nope"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
