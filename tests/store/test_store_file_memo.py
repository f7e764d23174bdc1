"""Content digests by path, believed only while nothing about the file has changed."""

import os
import time

import numpy as np
import pytest

from tlfeatures.store import FileMemo
from tlfeatures.store.memory import _file_memo

DIGESTS = [bytes([i]) * 16 for i in range(5)]


@pytest.fixture
def files(tmp_path):
    """Five files that were changed an hour ago."""
    paths = []
    for i in range(5):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(b"content %d" % i)
        paths.append(str(path))
    return paths


@pytest.fixture
def memo(tmp_path, files, monkeypatch):
    """A memo that knows the files, and forgives that they are new."""
    monkeypatch.setattr(_file_memo, "_FRESH_NS", -(10**18))
    made = FileMemo(tmp_path / "cache")
    _, facts = made.look_up(files)
    made.remember(files, facts, DIGESTS)
    return made


def test_unchanged_files_are_known_in_any_order_and_by_a_new_memo(memo, files, tmp_path):
    assert memo.look_up(files)[0] == DIGESTS
    fresh = FileMemo(tmp_path / "cache")
    assert fresh.look_up(files[::-1])[0] == DIGESTS[::-1]
    assert fresh.look_up([files[2], str(tmp_path / "other")])[0] == [DIGESTS[2], b""]


def test_a_relative_path_is_the_same_file(memo, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert memo.look_up(["3.jpg"])[0] == [DIGESTS[3]]


def rewrite(path):
    with open(path, "r+b") as file:
        file.write(b"CONTENT")


def grow(path):
    with open(path, "ab") as file:
        file.write(b"more")


def touch(path):
    os.utime(path, ns=(1, 1))


def change_mode(path):
    os.chmod(path, 0o600)  # changes only the inode's own time


def replace(path):
    facts = os.stat(path)
    os.rename(path, path + ".old")
    with open(path, "wb") as file:
        file.write(b"CONTENT 9")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("change", [rewrite, grow, touch, change_mode, replace, os.unlink])
def test_a_file_of_which_anything_has_changed_is_not_known(memo, files, change):
    time.sleep(0.02)  # the clock of the file system ticks every few milliseconds
    change(files[1])
    found, _ = memo.look_up(files)
    assert found == [DIGESTS[0], b"", *DIGESTS[2:]]


@pytest.mark.parametrize("value", range(4))
def test_each_of_the_four_facts_alone_is_looked_at(memo, files, monkeypatch, value):
    facts = _file_memo.file_facts(files)
    facts[2, value] += 1
    monkeypatch.setattr(_file_memo, "file_facts", lambda paths: facts)
    assert memo.look_up(files)[0] == [*DIGESTS[:2], b"", *DIGESTS[3:]]


def test_a_file_changed_while_it_was_read_is_not_remembered(tmp_path, files, monkeypatch):
    monkeypatch.setattr(_file_memo, "_FRESH_NS", -(10**18))
    memo = FileMemo(tmp_path / "cache")
    _, facts = memo.look_up(files)
    grow(files[0])
    memo.remember(files, facts, DIGESTS)
    assert memo.look_up(files)[0] == [b"", *DIGESTS[1:]]


def test_a_file_changed_a_moment_ago_is_not_remembered(tmp_path, files):
    memo = FileMemo(tmp_path / "cache")
    _, facts = memo.look_up(files)
    memo.remember(files, facts, DIGESTS)
    assert memo.look_up(files)[0] == [b""] * 5


def test_a_damaged_list_counts_for_nothing(memo, files, tmp_path):
    (path,) = (tmp_path / "cache").rglob("files-*.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert memo.look_up(files)[0] == [b""] * 5


def test_another_host_has_a_memory_of_its_own(memo, files, tmp_path, monkeypatch):
    monkeypatch.setattr(_file_memo.platform, "node", lambda: "another")
    assert FileMemo(tmp_path / "cache").look_up(files)[0] == [b""] * 5


def test_many_lists_become_one_and_the_latest_entry_counts(memo, files, tmp_path):
    for i in range(20):
        _, facts = memo.look_up(files[:1])
        memo.remember(files[:1], facts, [bytes([100 + i]) * 16])
    assert memo.look_up(files)[0] == [bytes([119]) * 16, *DIGESTS[1:]]
    assert len(list((tmp_path / "cache").rglob("files-*.npy"))) <= 17


def test_a_memory_that_cannot_be_written_is_no_error(tmp_path, files, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setattr(_file_memo, "_FRESH_NS", -(10**18))
    memo = FileMemo(tmp_path / "cache")
    digests, facts = memo.look_up(files)
    memo.remember(files, facts, DIGESTS)
    assert digests == [b""] * 5
    assert memo.look_up([])[0] == []


def test_facts_are_those_of_the_system(files):
    status = os.stat(files[0])
    expected = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    found = _file_memo.file_facts([files[0], files[0] + "absent", "a\0b"])
    np.testing.assert_array_equal(found, [expected, [-1] * 4, [-1] * 4])


def test_the_time_of_the_reading_counts_not_that_of_the_remembering(tmp_path, files, monkeypatch):
    memo, now = FileMemo(tmp_path / "cache"), time.time_ns()
    _, facts = memo.look_up(files)
    monkeypatch.setattr(_file_memo.time, "time_ns", lambda: now + 10**11)  # a long run later
    memo.remember(files, facts, DIGESTS)
    assert memo.look_up(files)[0] == [b""] * 5
    memo.remember(files, facts, DIGESTS)
    assert memo.look_up(files)[0] == DIGESTS
