"""`tlfeatures advise`: plain words, one JSON object, one clear line for bad input."""

from __future__ import annotations

import json
import re
import shlex
from importlib import import_module
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


def test_the_line_that_settles_it_is_about_the_network_of_the_advice(
    folder: Path, capsys: Capture
) -> None:
    words = ["--backbone", "embedded", "--layer", "layer3", "--input-size", "48", "--seed", "3"]
    assert run(["advise", str(folder), *words, "--json", "--quiet"]) == 0
    line = json.loads(capsys.readouterr().out)["experiment"]
    _, verb, *pasted = shlex.split(re.split("[,;]", line)[0])
    command = import_module(f"tlfeatures.cli._{verb}").command
    given = command.make_context(verb, pasted).params
    assert (given["backbone"], given["input_size"], given["seed"]) == ("embedded", 48, 3)
    assert given["layer"] is not None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["{one}"], 1, "two"),
        (["{flat}"], 1, "no labels"),
        (["{folder}", "--verify"], 2, "--verify"),
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
