"""tlfeatures cache: what each verb prints, and with which exit code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import pytest
from safetensors.torch import save_file

from tlfeatures.backbones import BackboneRequest, load_network
from tlfeatures.cli._app import run
from tlfeatures.store import cache_info

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def filled(folder: Path, tmp_path: Path) -> Path:
    """A cache with two layers of the embedded network."""
    words = ["extract", folder, "--backbone", "embedded", "--cache", tmp_path / "c", "--quiet"]
    assert run([*map(str, words), "--layer", "layer3", "--layer", "layer4"]) == 0
    return tmp_path / "c"


def call(capsys: Capture, *words: object, code: int = 0) -> tuple[dict[str, Any], str]:
    """The JSON of a verb, and what it prints for people."""
    capsys.readouterr()
    assert run(["cache", *map(str, words), "--json"]) == code
    data = json.loads(capsys.readouterr().out)
    run(["cache", *map(str, words)])
    answer = capsys.readouterr()
    return data, answer.out + answer.err


def damage(cache: Path) -> Path:
    path = min(cache.rglob("*.h5"))
    with h5py.File(path) as shard:
        place = shard["codes"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    return path


def test_verify_says_what_is_there_and_that_it_is_whole(filled: Path, capsys: Capture) -> None:
    data, said = call(capsys, "verify", "--cache", filled)
    assert (data["rows"], data["shards"], data["problems"]) == (72, 2, [])
    assert "72 whole rows" in said


def test_info_says_in_words_whose_codes_each_folder_holds(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    weights = tmp_path / "mine.safetensors"
    save_file(load_network(BackboneRequest("embedded", "random:5")).module.state_dict(), weights)
    root = tmp_path / "c"
    for words in ([], ["--weights", "random"], ["--weights", str(weights)]):
        extract = ["extract", str(folder), "--backbone", "embedded", "--cache", str(root)]
        assert run([*extract, *words, "--quiet"]) == 0
    data, said = call(capsys, "info", "--cache", root)
    expected = {
        "the embedded network's own weights",
        "random control: untrained weights of seed 0",
        f"weights file {weights}",
    }
    assert {each["what"] for each in data["folders"]} == expected
    lines = said.splitlines()
    for each in data["folders"]:
        place = next(i for i, line in enumerate(lines) if line.startswith(each["folder"]))
        assert lines[place + 1].strip() == each["what"]


def test_verify_of_no_cache_is_fine(tmp_path: Path, capsys: Capture) -> None:
    assert call(capsys, "verify", "--cache", tmp_path / "absent")[0]["problems"] == []


def test_verify_finds_damage_and_repair_mends_it(
    filled: Path, folder: Path, capsys: Capture
) -> None:
    path = damage(filled)
    data, said = call(capsys, "verify", "--cache", filled, code=1)
    assert data["problems"][0]["path"] == str(path)
    assert "cache verify --repair" in said
    assert run(["cache", "verify", "--repair", "--cache", str(filled), "--json"]) == 0
    mended = json.loads(capsys.readouterr().out)
    assert (mended["rescued"], mended["lost"], len(mended["moved"])) == (35, 1, 1)
    call(capsys, "verify", "--cache", filled)
    words = ["extract", folder, "--backbone", "embedded", "--cache", filled, "--json"]
    assert run([*map(str, words), "--layer", "layer3", "--layer", "layer4"]) == 0
    assert json.loads(capsys.readouterr().out)["computed"] == 1


def test_reading_a_damaged_row_names_the_way_out(
    filled: Path, folder: Path, capsys: Capture
) -> None:
    damage(filled)
    failed = 0
    for layer in ("layer3", "layer4"):
        words = ["extract", folder, "--backbone", "embedded", "--layer", layer, "--cache", filled]
        failed += run([*map(str, words), "--out", str(filled / "out.h5")])
    assert failed == 1
    assert "tlfeatures cache verify --repair" in capsys.readouterr().err


def test_gc_needs_to_be_told_what_may_go(filled: Path, capsys: Capture) -> None:
    assert run(["cache", "gc", "--cache", str(filled)]) == 2
    assert "--keep-days" in capsys.readouterr().err
    assert run(["cache", "gc", "--max-size", "much", "--cache", str(filled)]) == 2
    assert "20G" in capsys.readouterr().err


def test_gc_takes_what_was_not_used_for_long(filled: Path, capsys: Capture) -> None:
    old = cache_info(filled)[0].folder
    for path in (old / "meta.json", old):
        os.utime(path, (1, 1))
    words = ("gc", "--keep-days", 7, "--dry-run", "--cache", filled)
    data, said = call(capsys, *words)
    assert [entry["folder"] for entry in data["removed"]] == [old.name]
    assert "would go" in said
    assert old.exists()
    assert run(["cache", "gc", "--keep-days", "7", "--cache", str(filled)]) == 0
    assert not old.exists()
    data, said = call(capsys, "gc", "--max-size", "0", "--cache", filled)
    assert len(data["in_use"]) == 1
    assert "within the last hour" in said


def test_networks_that_earlier_versions_compiled_are_counted_and_taken_away(
    filled: Path, capsys: Capture
) -> None:
    without, _ = call(capsys, "info", "--cache", filled)
    assert without["compiled"] == {"files": 0, "bytes": 0}
    path = filled / "compiled" / "0123-torch-2.6.0.pt2"
    path.parent.mkdir()
    path.write_bytes(b"x" * 2_000_000)
    data, said = call(capsys, "info", "--cache", filled)
    assert data["compiled"] == {"files": 1, "bytes": 2_000_000}
    assert data["bytes"] == without["bytes"] + 2_000_000
    assert "compiled: 1 files, 2.0 MB" in said
    words = ("gc", "--keep-days", 7, "--cache", filled)
    data, said = call(capsys, *words, "--dry-run")
    assert data["compiled"] == [{"file": path.name, "bytes": 2_000_000}]
    assert "would go: compiled 0123-torch-" in said
    assert "2.0 MB would be freed" in said
    assert run(["cache", *map(str, words)]) == 0
    assert not path.parent.exists()


def test_merge_takes_another_cache(filled: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["cache", "merge", str(filled), "--cache", str(tmp_path / "new"), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["shards"], data["rows"], data["refused"]) == (2, 72, [])
    damage(filled)
    assert run(["cache", "merge", str(filled), "--cache", str(tmp_path / "newer")]) == 1
    assert "1 refused" in capsys.readouterr().out
    assert run(["cache", "merge", str(tmp_path / "absent"), "--cache", str(filled)]) == 1
    assert "no folder" in capsys.readouterr().err


def test_info_shows_the_spec_in_words(filled: Path, capsys: Capture) -> None:
    data, said = call(capsys, "info", "--cache", filled)
    assert data["rows"] == 72
    assert "layer layer3.relu2, pooling avg, 128 values in " in said
