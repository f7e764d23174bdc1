"""The command line, in process: what it prints, where, and with which exit code."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from tlfeatures import TransferClassifier, load_pictures
from tlfeatures.cli import _app, _extract
from tlfeatures.cli._app import run
from tlfeatures.cli._progress import ProgressLine
from tlfeatures.extraction import Progress

Capture = pytest.CaptureFixture[str]
EXTRACT_KEYS = {
    "pictures", "computed", "cached", "bad", "specs", "device", "precision", "kernels",
    "batch_size", "jobs", "images_per_s", "seconds", "wait", "chosen", "notes", "remembered",
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFEATURES_CACHE", str(cache))


@pytest.fixture(scope="module")
def model(folder: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.model"
    words = ["fit", str(folder), "--backbone", "embedded", "--head", "knn", "--out", str(path)]
    assert run([*words, "--cache", str(cache), "--quiet"]) == 0
    return path


def as_json(capsys: Capture, *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*map(str, words), "--json"]) == 0
    out = capsys.readouterr().out
    data: dict[str, Any] = json.loads(out)
    return data


def test_the_help_names_every_verb(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for verb in (
        "demo",
        "extract",
        "fit",
        "look",
        "predict",
        "search",
        "finetune",
        "backbones",
        "cache",
    ):
        assert verb in out


def test_the_help_imports_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys\nfrom tlfeatures.cli._app import run\nrun(['fit', '--help'])\n"
        "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_extract_counts_every_picture_and_computes_nothing_twice(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ("extract", folder, "--backbone", "embedded", "--cache", tmp_path)
    first, second = as_json(capsys, *words), as_json(capsys, *words)
    assert set(first) == EXTRACT_KEYS
    assert (first["pictures"], first["computed"], first["cached"]) == (36, 36, 0)
    assert (second["computed"], second["cached"]) == (0, 36)
    assert first["specs"][0]["dim"] == 256
    assert first["precision"] in ("float32", "bf16", "fp16")
    assert set(first["kernels"]) <= {"resizing", "convolutions"}
    assert set(first["seconds"]) == {"total", "start", "compile", "extract"}
    assert first["chosen"][0].startswith(first["precision"])
    assert second["chosen"] == []


def test_what_extract_does_before_the_run_counts_as_starting(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    say_plan = _extract.say_plan

    def say(*given: Any) -> None:
        began = time.perf_counter()
        say_plan(*given)
        opened.append(time.perf_counter() - began)

    monkeypatch.setattr(_extract, "say_plan", say)
    words = ("extract", folder, "--backbone", "embedded", "--cache", tmp_path)
    seconds = as_json(capsys, *words)["seconds"]
    assert seconds["total"] > seconds["start"] > opened[0]


def test_extract_limit_takes_so_many_and_out_writes_one_file(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    import h5py

    out = tmp_path / "codes.h5"
    words = ("extract", folder, "--backbone", "embedded", "--limit", 5, "--out", out)
    assert as_json(capsys, *words)["pictures"] == 5
    with h5py.File(out) as file:
        assert file["codes"].shape == (5, 256)
        assert set(file["labels"].asstr()[:]) == {"checks", "disks", "stripes"}


def test_the_first_pictures_that_are_told_of_do_not_make_the_rate_too_high() -> None:
    """Workers tell of whole chunks, the first of which was done before the line's clock started."""
    line = ProgressLine(quiet=False)
    line(Progress(160, 2000, 50.0, 36.8))
    bar = line._bar
    assert (bar.initial, bar.n) == (160, 160)
    line(Progress(320, 2000, 50.0, 33.6))
    assert bar.n - bar.initial == 160
    bar.close()


def test_words_go_to_stderr_and_quiet_silences_them(folder: Path, capsys: Capture) -> None:
    assert run(["extract", str(folder), "--backbone", "embedded"]) == 0
    loud = capsys.readouterr()
    assert "36 pictures in 3 classes" in loud.err
    assert "cache:" in loud.err
    assert run(["extract", str(folder), "--backbone", "embedded", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_bad_pictures_are_listed_and_strict_makes_them_an_error(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "a.png").write_bytes(Path(load_pictures(folder).paths[0]).read_bytes())
    (tmp_path / "b.png").write_bytes(b"text")
    words = ("extract", tmp_path, "--backbone", "embedded")
    data = as_json(capsys, *words)
    assert [Path(b["path"]).name for b in data["bad"]] == ["b.png"]
    assert data["pictures"] == data["computed"] + data["cached"] + 1
    assert run([*map(str, words), "--strict"]) == 1
    assert "bad picture" in capsys.readouterr().err


def test_fit_prints_heads_and_controls(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    report = tmp_path / "r.html"
    words = ["fit", str(folder), "--backbone", "embedded", "--report", str(report)]
    assert run(words) == 0
    out = capsys.readouterr().out
    for name in ("linear SVM", "logistic regression", "k nearest", "raw pixels", "random weights"):
        assert name in out
    assert "data-test-head" in report.read_text(encoding="utf-8")


def test_fit_json_names_the_model(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "m.model"
    data = as_json(
        capsys, "fit", folder, "--backbone", "embedded", "--head", "svm", "--out", out, "--quiet"
    )
    assert data["model"] == str(out)
    assert data["chosen"] == "svm"
    assert 0 <= data["heads"]["svm"]["accuracy"] <= 1
    assert out.is_file()


def test_predict_gives_labels_as_json_and_as_a_table(
    model: Path, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "p.csv"
    data = as_json(capsys, "predict", model, folder / "stripes", "--top", 2, "--out", table)
    assert {p["label"] for p in data["predictions"]} == {"stripes"}
    assert len(data["predictions"][0]["top"]) == 2
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [row["label"] for row in rows] == ["stripes"] * 12


@pytest.mark.parametrize("head", ["svm", "logistic", "knn"])
def test_predict_computes_a_code_and_labels_it_without_scikit_learn(
    head: str, folder: Path, tmp_path: Path
) -> None:
    out, paths = tmp_path / "m.model", load_pictures(folder).paths
    fitted = TransferClassifier("embedded", head).fit(load_pictures(folder))
    fitted.save(out)
    words = ["predict", str(out), *paths, "--cache", str(tmp_path / "new"), "--json"]
    code = (
        f"import sys\nfrom tlfeatures.cli._app import run\nrun({words!r})\n"
        "sys.exit('torch' not in sys.modules or 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    data = json.loads(done.stdout)
    assert [p["label"] for p in data["predictions"]] == fitted.predict(paths).tolist()
    probabilities = fitted.predict_proba(paths).max(axis=1)
    found = [p["probability"] for p in data["predictions"]]
    np.testing.assert_allclose(found, probabilities, atol=0.01)


def test_predict_takes_several_folders_and_fails_where_nothing_was_predicted(
    model: Path, folder: Path, capsys: Capture
) -> None:
    single = folder / "disks" / "00.png"
    data = as_json(capsys, "predict", model, folder / "stripes", folder / "checks", single)
    assert len(data["predictions"]) == 25
    assert not data["bad"]
    assert run(["predict", str(model), "no_such_folder"]) == 1
    assert "bad picture: no_such_folder: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["extract", "{folder}", "--jobs", "\u00b2"],
        ["extract", "{folder}", "--weights", "random:\u00b2"],
    ],
)
def test_words_that_cannot_be_meant_are_refused(
    words: list[str], folder: Path, capsys: Capture
) -> None:
    assert run([word.format(folder=folder) for word in words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.lower().startswith("error: ")


def test_search_lists_bad_pictures_in_json(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    query = tmp_path / "good.png"
    query.write_bytes((folder / "stripes" / "00.png").read_bytes())
    data = as_json(capsys, "search", tmp_path, "--query", query, "--backbone", "embedded")
    assert [Path(each["path"]).name for each in data["bad"]] == ["bad.jpg"]


def test_search_lists_neighbours_and_draws_them(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    query, sheet = folder / "stripes" / "00.png", tmp_path / "s.png"
    words = (
        "search",
        folder,
        "--backbone",
        "embedded",
        "--query",
        query,
        "-k",
        2,
        "--sheet",
        sheet,
    )
    (answer,) = as_json(capsys, *words)["queries"]
    assert answer["path"] == str(query)
    assert [set(n) for n in answer["neighbours"]] == [{"path", "label", "distance", "copy"}] * 2
    assert str(query) not in [n["path"] for n in answer["neighbours"]]
    assert sheet.is_file()


def test_backbones_list_names_the_networks(capsys: Capture) -> None:
    names = [b["name"] for b in as_json(capsys, "backbones", "list")["backbones"]]
    assert names[0] == "embedded"
    assert {"resnet18", "resnet50", "vgg16", "mobilenet_v2", "squeezenet1_0"} <= set(names)
    assert run(["backbones", "list"]) == 0
    assert "resnet50" in capsys.readouterr().out


def test_cache_says_where_it_is_and_what_is_in_it(
    folder: Path, cache: Path, capsys: Capture
) -> None:
    run(["extract", str(folder), "--backbone", "embedded", "--quiet"])
    assert as_json(capsys, "cache", "info")["cache"] == str(cache)
    data = as_json(capsys, "cache", "info")
    assert data["rows"] >= 36
    assert any(f["spec"]["backbone"] == "embedded" for f in data["folders"])
    assert run(["cache", "info"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["extract", "no/such/folder"], 1, "is not there"),
        (["extract", "{empty}"], 1, "no pictures"),
        (["fit", "{one}", "--backbone", "embedded"], 1, "class"),
        (["extract", "{folder}", "--backbone", "resnet5O"], 2, "did you mean 'resnet50'"),
        (["extract", "{folder}", "--backbone", "embedded", "--layer", "layr4"], 2, "layer4"),
        (["extract", "{folder}", "--backbone", "embedded", "--weights", "no.pth"], 1, "no.pth"),
        (["extract", "{folder}", "--backbone", "resnet18", "--weights", "V9"], 2, "IMAGENET1K_V1"),
        (["extract", "{folder}", "--backbone", "embedded", "--cache", "{file}/x"], 1, "file"),
        (["extract", "{folder}", "--no-such-option"], 2, "no-such-option"),
        (["extract", "{folder}", "--batch-size", "many"], 2, "--batch-size"),
        (["fit", "{folder}", "--backbone", "embedded", "--head", "svn"], 2, "did you mean 'svm'"),
        (["fit", "{folder}", "--backbone", "embedded", "--test", "1.5"], 2, "between 0 and 1"),
        (["predict", "{file}", "{folder}"], 1, "model"),
        (["predict", "no.model", "{folder}"], 1, "no.model"),
        (["search", "{folder}", "--backbone", "embedded", "--query", "no.png"], 1, "no.png"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_bad_input_gets_one_clear_line_and_its_exit_code(
    words: list[str], code: int, said: str, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "only").symlink_to(folder / "stripes")
    (tmp_path / "file").write_bytes(b"text")
    places = {"folder": folder, "empty": tmp_path / "empty", "one": tmp_path / "one"}
    filled = [word.format(**places, file=tmp_path / "file") for word in words]
    assert run(filled) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert "error:" in err.lower()


def test_weights_of_another_network_name_its_parameters(folder: Path, capsys: Capture) -> None:
    import tlfeatures.backbones

    weights = Path(tlfeatures.backbones.__file__).parent / "embedded.safetensors"
    words = ["extract", str(folder), "--backbone", "squeezenet1_0", "--weights", str(weights)]
    assert run(words) == 1
    err = capsys.readouterr().err
    assert "missing" in err
    assert "unexpected" in err


def test_an_interrupt_says_that_the_work_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    import tlfeatures.extraction

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tlfeatures.extraction, "extract_layers", stop)
    assert run(["extract", str(folder), "--backbone", "embedded"]) == 1
    assert "the same command goes on" in capsys.readouterr().err


def test_what_nobody_expected_is_a_line_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    import tlfeatures.extraction

    def break_down(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("division by\nzero")

    monkeypatch.setattr(tlfeatures.extraction, "extract_layers", break_down)
    words = ["extract", str(folder), "--backbone", "embedded", "--quiet"]
    assert run(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ZeroDivisionError: division by zero; with --debug")
    assert said.count("\n") == 1
    assert run(["--debug", *words]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys: Capture) -> None:
    assert run(["--debug", "extract", "no/such/folder"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_names_that_are_not_utf8_are_printed(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    content = Path(load_pictures(folder).paths[0]).read_bytes()
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (tmp_path / name).write_bytes(content)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (tmp_path / "b.png").write_bytes(Path(load_pictures(folder).paths[1]).read_bytes())
    query = str(tmp_path / "b.png")
    assert run(["search", str(tmp_path), "--backbone", "embedded", "--query", query]) == 0
    assert "caf" in capsys.readouterr().out


def test_the_console_script_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_app, "run", lambda words: 2)
    monkeypatch.setattr(_app, "gc", MagicMock())  # of this process, which goes on
    with pytest.raises(SystemExit) as caught:
        _app.main(["x"])
    assert caught.value.code == 2


@pytest.mark.parametrize("modules", ["", "import triton"])
def test_a_process_ends_without_a_word_of_its_own(modules: str) -> None:
    if modules:
        pytest.importorskip("triton")
    code = f"import torch\n{modules}\nfrom tlfeatures.cli import main\nmain(['cache', 'info'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.shared
def test_each_awkward_file_is_decoded_or_named_bad(
    shared: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = shared / "data/awkward"
    with (folder / "LIST.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    data = as_json(capsys, "extract", folder, "--backbone", "embedded", "--cache", tmp_path)
    assert data["pictures"] == len(rows) == 40
    assert data["pictures"] == data["computed"] + data["cached"] + len(data["bad"])
    expected = {row["file"] for row in rows if row["expected"] == "bad"}
    assert {Path(b["path"]).name for b in data["bad"]} == expected
