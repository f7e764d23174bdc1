"""The recipes run on a small folder and print their result beside what was published."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"


@pytest.mark.parametrize("name", ["linear_svm", "logistic_regression", "knn_retrieval"])
def test_a_recipe_prints_its_result(name: str, folder: Path, cache: Path, tmp_path: Path) -> None:
    words = ["--images", str(folder), "--backbone", "embedded", "--cache", str(cache)]
    script = str(PIPELINES / f"{name}.py")
    answer = subprocess.run(
        [sys.executable, script, *words], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "published:" in answer.stdout
    assert "%" in answer.stdout
