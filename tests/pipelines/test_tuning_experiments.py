"""The fine-tuning experiments run, keep one line a run, and go on where they stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"


def run(script: str, folder: Path, out: Path, cache: Path, *more: str) -> str:
    words = [
        sys.executable, str(PIPELINES / script), "--images", str(folder), "--backbone", "embedded",
        "--input-size", "64", "--cache", str(cache), "--out", str(out), "--epochs", "1", *more,
    ]  # fmt: skip
    answer = subprocess.run(words, capture_output=True, text=True, check=True)
    return answer.stdout


@pytest.mark.parametrize(
    ("script", "more", "words"),
    [
        ("ants_and_bees.py", ("--seeds", "1"), "published: base 60.13, fine-tuned 86.71"),
        ("cifar10_recipes.py", ("--runs", "C"), "order there: C"),
    ],
)
def test_an_experiment_runs_once_and_remembers(
    script: str, more: tuple[str, ...], words: str, folder: Path, tmp_path: Path, cache: Path
) -> None:
    out = tmp_path / "runs.jsonl"
    first = run(script, folder, out, cache, *more)
    assert words in first
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len(lines) == 1
    assert 0 <= lines[0]["tuned"]["accuracy"] <= 1
    assert run(script, folder, out, cache, *more) == first
    assert len(out.read_text("utf-8").splitlines()) == 1
