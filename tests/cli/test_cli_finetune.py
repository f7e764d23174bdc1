"""`tlfeatures finetune`: the plan first, then the training, one result, one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tlfeatures.cli._app import run
from tlfeatures.cli._tuning import EpochLines
from tlfeatures.errors import OutputError
from tlfeatures.finetuning import EpochRow


def full_disk(*given: object) -> None:
    raise OutputError("the page cannot be written (No space left on device)")


@pytest.fixture
def words(folder: Path, tmp_path: Path, cache: Path) -> list[str]:
    """The least that is typed; the embedded network, one epoch."""
    return [
        "finetune", str(folder), "--recipe", "full", "--backbone", "embedded",
        "--cache", str(cache), "--precision",
        "float32", "--train-precision", "float32", "--epochs", "1", "--train-batch-size", "8",
        "--out", str(tmp_path / "m.safetensors"),
    ]  # fmt: skip


def test_it_says_the_plan_trains_and_leaves_a_model(
    words: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "r.html"
    assert run([*words, "--report", str(report)]) == 0
    said = capsys.readouterr()
    lines = said.err.splitlines()
    plan = next(i for i, line in enumerate(lines) if line.startswith("recipe full"))
    assert "1 epoch, one-cycle; trains" in lines[plan + 1]
    assert any(line.strip().startswith("head") and "rate 0.0003" in line for line in lines)
    assert any("expected time: about" in line for line in lines)
    assert any(line.startswith("epoch 0: carved split") for line in lines)
    assert "fine-tuned network" in said.out
    assert "kept: " in said.out
    assert "<svg" in report.read_text("utf-8")
    assert not (tmp_path / "m.safetensors.checkpoint").exists()
    model = str(tmp_path / "m.safetensors")
    assert run(["predict", model, str(folder), "--cache", words[7], "--quiet"]) == 0


def test_json_has_the_plan_and_the_epochs(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--json", "--quiet"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {"baseline", "final", "epochs", "kept", "plan", "p_value", "model"} <= data.keys()
    assert data["n_train"] + data["n_valid"] + data["n_test"] == 36
    assert data["kept"] in ("baseline", "fine-tuned")


def test_a_stopped_run_goes_on(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say = EpochLines.__call__

    def stop(self: EpochLines, what: Any) -> None:
        say(self, what)
        if isinstance(what, EpochRow) and what.epoch == 1:
            raise KeyboardInterrupt

    words = [*words, "--epochs", "3"]
    with monkeypatch.context() as patch:
        patch.setattr(EpochLines, "__call__", stop)
        assert run(words) == 1
    assert "the same command goes on after the last epoch" in capsys.readouterr().err
    assert run(words) == 0
    said = capsys.readouterr().err
    assert "going on from" in said
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("epoch ")] == [
        "epoch 2 (all)", "epoch 3 (all)"
    ]  # fmt: skip


def test_a_stopped_run_that_keeps_nothing_says_so(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: EpochLines, what: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EpochLines, "__call__", stop)
    assert run(words[: words.index("--out")]) == 1
    assert "the training is lost: with --out or --checkpoint" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_in_the_end_does_not_cost_the_result(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tlfeatures.report.save_page", full_disk)
    assert run([*words, "--report", str(tmp_path / "r.html")]) == 1
    said = capsys.readouterr()
    assert "fine-tuned network" in said.out
    assert "error: " in said.err
    assert (tmp_path / "m.safetensors").exists()


def test_the_rate_is_searched(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "r.html"
    assert run([*words, "--lr", "find", "--report", str(report)]) == 0
    assert "learning-rate search: --lr" in capsys.readouterr().err
    assert (tmp_path / "r-rates.html").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--recipe", "guide-vgg"], 2, "those that do: "),
        (["--recipe", "ulmfti"], 2, "did you mean 'ulmfit'"),
        (["--lr", "fast"], 2, "--lr 'fast': write a number above 0"),
        (["--patience", "0"], 2, "--patience '0': write a number above 0"),
        (["--augment", "sideways"], 2, "augmentation 'sideways' is unknown"),
        (["--recipe", "hard-sharing"], 2, "a second task's pictures, --shared-with"),
        (["--limit", "2"], 1, "at least one more"),
        (["--layer", "layer9"], 2, "layer9"),
    ],
)
def test_bad_words_are_one_line(
    words: list[str],
    more: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([*words, *more]) == code
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(error) == 1
    assert message in error[0]
