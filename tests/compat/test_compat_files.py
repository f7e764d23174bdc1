"""Files of the first version open, and its command lines say the same figures.

A figure that an issue changes on purpose is changed in `lines.json`, and named in the CHANGELOG.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from make_compat_files import look_up, whole_model

from tlfeatures.cli._app import run

HERE = Path(__file__).resolve().parent
LINES: dict[str, dict[str, Any]] = json.loads((HERE / "lines.json").read_text())
TUNED = "755ba78b35ade8e39e8ea401afd7b420bd3b3d56d41d1bd1346e95094e98425f"


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this folder's files, the fine-tuned model whole again."""
    root = tmp_path_factory.mktemp("compat")
    shutil.copytree(HERE, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py"))
    (root / "tuned.model").write_bytes(whole_model())
    return root


def test_the_fine_tuned_model_is_the_one_that_was_saved(kept: Path) -> None:
    assert hashlib.sha256((kept / "tuned.model").read_bytes()).hexdigest() == TUNED


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split(" --backbone")[0])
def test_a_command_line_says_what_it_said(
    line: str,
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(kept / "cache_v2", cache)
    monkeypatch.chdir(kept)
    assert run([str(cache) if word == "CACHE" else word for word in line.split()]) == 0
    found = json.loads(capsys.readouterr().out)
    for key, value in LINES[line].items():
        assert_same(look_up(found, key), value, key)


def assert_same(found: Any, expected: Any, key: str) -> None:
    """Equal, numbers to 1e-3; a dict may have gained keys."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert_same(found[name], value, f"{key}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), key
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{key}.{i}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-3), key
    else:
        assert found == expected, key
