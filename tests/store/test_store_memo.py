"""The spec memo: it saves time, and never says what is no longer so."""

import os

import pytest

from tlfeatures.store import SpecMemo

WORDS = {"backbone": "resnet18", "layer": None, "torch": "2.9"}


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"numbers")
    return path


@pytest.fixture
def memo(tmp_path, spec, weights):
    memo = SpecMemo(tmp_path / "cache")
    memo.put(WORDS, spec, [weights])
    return memo


def test_the_same_words_give_the_same_spec(memo, spec, tmp_path):
    assert memo.get(WORDS) == spec
    assert SpecMemo(tmp_path / "cache").get(dict(reversed(WORDS.items()))) == spec


def test_other_words_give_nothing(memo):
    assert memo.get({**WORDS, "torch": "2.10"}) is None
    assert memo.get({}) is None


def rewrite(path):
    path.write_bytes(b"numberz")


def replace_keeping_size_and_time(path):
    facts = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"NUMBERS")
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.replace(path)


def touch(path):
    os.utime(path, (1, 1))


@pytest.mark.parametrize("change", [rewrite, replace_keeping_size_and_time, touch, os.unlink])
def test_a_changed_weights_file_gives_nothing(memo, weights, change):
    change(weights)
    assert memo.get(WORDS) is None


def test_only_the_files_that_would_be_used_now_count(memo, spec, weights, tmp_path):
    assert memo.get(WORDS, lambda: [weights]) == spec
    assert memo.get(WORDS, lambda: [tmp_path / "elsewhere.pth"]) is None
    assert memo.get(WORDS, list) is None


def test_networks_without_files_are_remembered(memo, spec):
    memo.put({"backbone": "embedded"}, spec)
    assert memo.get({"backbone": "embedded"}) == spec


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"spec": 3, "files": []}', "\udcff"])
def test_a_corrupt_memo_is_ignored_and_written_anew(memo, spec, weights, tmp_path, text):
    (path,) = (tmp_path / "cache" / "memo").glob("*.json")
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert memo.get(WORDS) is None
    memo.put(WORDS, spec, [weights])
    assert memo.get(WORDS) == spec


def test_what_cannot_be_remembered_is_not(spec, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    memo = SpecMemo(tmp_path / "cache")
    memo.put(WORDS, spec)
    assert memo.get(WORDS) is None
    other = SpecMemo(tmp_path / "other")
    other.put(WORDS, spec, [tmp_path / "absent.pth"])
    assert other.get(WORDS) is None
    other.put({"words": object()}, spec)
    assert other.get({"words": object()}) is None
