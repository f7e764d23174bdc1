"""Output in code pages that lack the characters of a file name: no traceback, JSON stays JSON."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlfeatures.cli._app import run
from tlfeatures.cli._progress import ProgressLine
from tlfeatures.cli._verbs import all_commands
from tlfeatures.extraction import Progress

NAMES = ("ж.png", "日本.png", "née.png", "plain.png", "bad ☃.png")
PAGES = ("cp1252", "ascii", "cp437", "utf-8", "utf-16")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFEATURES_CACHE", str(cache))


@pytest.fixture(scope="module")
def odd(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders and pictures of names that no code page has all of; one is not UTF-8."""
    root = tmp_path_factory.mktemp("odd") / "čaj"
    for label, source in (("č", "disks"), ("d€", "stripes")):
        (root / label).mkdir(parents=True)
        for i, name in enumerate(NAMES):
            shutil.copy(folder / source / f"{i:02}.png", root / label / f"{label}{name}")
    (root / "č" / "čbad ☃.png").write_bytes(b"text")
    with contextlib.suppress(OSError):  # a file system that takes only UTF-8 names
        shutil.copy(folder / "disks" / "07.png", os.fsdecode(os.fsencode(root) + b"/\xc4\x8d/\xe9"))
    return root


class Pipe:
    """A stream of a strict encoding, as a pipe is, and what was written to it."""

    def __init__(self, encoding: str) -> None:
        self.bytes, self.encoding = io.BytesIO(), encoding
        self.stream = io.TextIOWrapper(self.bytes, encoding=encoding, errors="strict")

    @property
    def text(self) -> str:
        self.stream.flush()
        return self.bytes.getvalue().decode(self.encoding)


Open = Callable[[], tuple[Pipe, Pipe]]


@pytest.fixture(params=PAGES)
def pipes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Called inside a test, where pytest has put its own streams: stdout and stderr."""

    def open_both() -> tuple[Pipe, Pipe]:
        out, err = Pipe(request.param), Pipe(request.param)
        monkeypatch.setattr(sys, "stdout", out.stream)
        monkeypatch.setattr(sys, "stderr", err.stream)
        return out, err

    return open_both


def commands(odd: Path, tmp_path: Path) -> dict[str, list[str]]:
    """One command line of each verb that prints file names."""
    net = ["--backbone", "embedded"]
    model, one = str(tmp_path / "ж.model"), str(odd / "d€" / "d€日本.png")
    return {
        "extract": ["extract", str(odd), *net],
        "fit": ["fit", str(odd), *net, "--head", "knn", "--out", model],
        "predict": ["predict", model, str(odd), "--out", str(tmp_path / "č.csv")],
        "search": ["search", str(odd), *net, "--query", one, "--sheet", str(tmp_path / "ж.png")],
        "look": ["look", str(odd), "--backbone", "embedded"],
        "info": ["cache", "info", "--cache", str(tmp_path / "č")],
    }


def test_every_verb_prints_tables_and_words(pipes: Open, odd: Path, tmp_path: Path) -> None:
    out, err = pipes()
    for name, words in commands(odd, tmp_path).items():
        assert run(words) == 0, (name, err.text)
    assert "plain.png" in out.text
    assert "bad picture: " in err.text
    assert "Traceback" not in err.text


def test_json_is_one_object_that_names_the_files_exactly(
    pipes: Open, odd: Path, tmp_path: Path
) -> None:
    answers: dict[str, Any] = {}
    for name, words in commands(odd, tmp_path).items():
        out, err = pipes()
        assert run([*words, "--json"]) == 0, (name, err.text)
        answers[name] = json.loads(out.text)
    there = {str(path) for path in odd.rglob("*") if path.is_file()}
    bad = {str(odd / "č" / "čbad ☃.png")}
    assert {row["path"] for row in answers["extract"]["bad"]} == bad
    assert {row["path"] for row in answers["predict"]["predictions"]} == there - bad
    assert answers["fit"]["classes"] == ["d€", "č"]
    assert {hit["path"] for hit in answers["search"]["queries"][0]["neighbours"]} < there
    assert answers["info"]["cache"] == str(tmp_path / "č")


def test_what_a_pipe_lacks_is_shown_so_that_it_can_be_told_apart(pipes: Open, odd: Path) -> None:
    _, err = pipes()
    query = str(odd / "č" / "чужой.png")
    assert run(["search", str(odd), "--backbone", "embedded", "--query", query]) == 1
    words = query.encode(err.encoding, "backslashreplace").decode(err.encoding)
    assert f"no query can be read ({words}: " in err.text


def test_help_errors_and_progress_need_no_other_characters(pipes: Open) -> None:
    _, err = pipes()
    for words, _ in [("", None), *all_commands()]:
        assert run([*words.split(), "--help"]) == 0
    assert run(["extrakt", "ж"]) == 2
    line = ProgressLine(quiet=False)
    line(Progress(1, 2, 1.0, 1.0))
    line.say("ж ☃ \udce9")
    line(Progress(2, 2, 1.0, 0.0))
    assert "\ufffd" not in err.text


@pytest.mark.parametrize("page", ["cp1252", "ascii:strict", "utf-8"])
def test_a_process_of_its_own_says_the_same(page: str, odd: Path) -> None:
    """As a Windows pipe has it: the stream is made by Python, from the environment."""
    words = ["extract", str(odd), "--backbone", "embedded", "--json", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "tlfeatures", *words],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": page},
        check=True,
    )
    data = json.loads(done.stdout.decode(page.partition(":")[0]))
    assert [Path(row["path"]).name for row in data["bad"]] == ["čbad ☃.png"]
    assert done.stderr == b""
