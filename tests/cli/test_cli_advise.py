"""`tlfeatures advise`: plain words, one JSON object, one clear line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tlfeatures.cli._app import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFEATURES_CACHE", str(cache))


def test_advise_says_what_to_do_in_plain_words(folder: Path, capsys: Capture) -> None:
    assert run(["advise", str(folder), "--backbone", "embedded"]) == 0
    out, err = capsys.readouterr()
    assert "a linear classifier on" in out.splitlines()[0]
    assert "settle it" in out
    assert "cache:" in err


def test_advise_gives_one_json_object(folder: Path, capsys: Capture) -> None:
    assert run(["advise", str(folder), "--backbone", "embedded", "--json", "--quiet"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {"recommendation", "rule", "size", "similarity", "scores", "bad"} <= set(data)
    assert data["outcome"] is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["{one}"], 1, "two"),
        (["{flat}"], 1, "no labels"),
        (["{folder}", "--epochs", "0"], 2, "--epochs"),
        (["{folder}", "--limit", "2"], 1, "add at least one more"),
    ],
)
def test_bad_input_gets_one_clear_line(
    words: list[str], code: int, said: str, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "only").symlink_to(folder / "stripes")
    places = {"folder": folder, "one": tmp_path / "one", "flat": folder / "stripes"}
    filled = [word.format(**places) for word in words]
    assert run(["advise", *filled, "--backbone", "embedded"]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
