"""What a folder says of itself in meta.json."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.store.conftest import key_of
from tlfeatures.store import CodeCache, Probes, cache_info, merge_caches, verify_cache
from tlfeatures.store.upkeep._info import UNSAID

WHAT = "random control: untrained weights of seed 0"


def publish(cache, number=1):
    cache.publish(np.frombuffer(key_of(number), "S16"), np.ones((1, cache.spec.dim), np.float32))


def said(root):
    (folder,) = cache_info(root)
    return folder.what


@pytest.mark.parametrize("first", ["shard", "probes", "bad picture"])
def test_whoever_makes_a_folder_says_whose_codes_it_holds(tmp_path, spec, rows, first):
    cache = CodeCache(tmp_path, spec, what=WHAT)
    if first == "shard":
        publish(cache)
    elif first == "probes":
        cache.write_probes(Probes(rows[1:4], {}))
    else:
        cache.remember_bad({key_of(9): "truncated"})
    publish(CodeCache(tmp_path, spec, what="another word for the same"), 2)
    assert said(tmp_path) == WHAT
    assert not verify_cache(tmp_path).problems


def test_the_words_change_neither_key_nor_spec(tmp_path, spec, rows):
    cache = CodeCache(tmp_path, spec, what=WHAT)
    publish(cache)
    (folder,) = cache_info(tmp_path)
    assert (folder.spec, folder.folder.name) == (spec, spec.folder_name)
    assert CodeCache(tmp_path, spec).find([key_of(1)]).all()


@pytest.mark.parametrize("meta", [None, "{}", "no JSON", '{"what": 3}', '{"what": " "}', "[1]"])
def test_a_folder_that_does_not_say_it_is_said_to_be_unknown(tmp_path, spec, meta):
    cache = CodeCache(tmp_path, spec, what=WHAT)
    publish(cache)
    path = cache.folder / "meta.json"
    path.unlink() if meta is None else path.write_text(meta)
    assert said(tmp_path) == UNSAID


def test_folders_of_before_are_said_to_be_unknown():
    for version in (1, 2):
        root = Path(__file__).with_name("formats") / f"v{version}"
        assert {folder.what for folder in cache_info(root)} == {UNSAID}


def test_the_words_are_one_line_whatever_the_file_holds(tmp_path, spec):
    cache = CodeCache(tmp_path, spec, what="one\nline\tof words")
    publish(cache)
    assert said(tmp_path) == "one line of words"


def test_a_merge_takes_the_words_along(tmp_path, spec, rows):
    other = CodeCache(tmp_path / "other", spec, what=WHAT)
    other.write_probes(Probes(rows[1:4], {}))
    publish(other)
    merge_caches(tmp_path / "mine", tmp_path / "other")
    assert said(tmp_path / "mine") == WHAT


def test_the_example_of_the_documents_reads_the_folder_whose_key_it_is_given(
    tmp_path, spec, monkeypatch
):
    """A cache holds the random control of the same network and layer beside it, and others."""
    document = Path(__file__).parents[2] / "docs" / "cache-format.md"
    snippet = document.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert snippet.count('"2a0170bff1bc"') == 1
    specs = [dataclasses.replace(spec, weights_id=letter * 8) for letter in "abcdef"]
    for number, each in enumerate(specs):
        cache = CodeCache(tmp_path / "CACHE", each)
        row = np.full((1, spec.dim), number, np.float32)
        cache.publish(np.frombuffer(key_of(number), "S16"), row)
    monkeypatch.chdir(tmp_path)
    for number, each in enumerate(specs):
        for key in (each.key, each.key[:12]):
            names = {}
            exec(snippet.replace("2a0170bff1bc", key), names)
            assert names["spec"] == each.to_json()
            assert {k: v[0] for k, v in names["rows"].items()} == {key_of(number): number}


def test_the_documents_example_of_a_meta_file_names_what_is_in_it(tmp_path, spec):
    cache = CodeCache(tmp_path, spec, what=WHAT)
    publish(cache)
    text = (Path(__file__).parents[2] / "docs" / "cache-format.md").read_text(encoding="utf-8")
    paragraph = next(line for line in text.splitlines() if line.startswith("`meta.json` holds"))
    for name in json.loads((cache.folder / "meta.json").read_text()):
        assert f"`{name}`" in paragraph
