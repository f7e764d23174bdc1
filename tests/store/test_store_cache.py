"""The cache: what was appended is read again, in any order, by anyone, and only that."""

import dataclasses
import json
import multiprocessing
import os
import pickle
import shutil
import time
import types
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tlfeatures.store._cache as cache_module
from tlfeatures.errors import StoreCorruptError, StoreError, StoreFormatError
from tlfeatures.store import CodeCache, default_cache_dir
from tlfeatures.store.shards import _rows
from tlfeatures.store.shards._rows import plan_blocks


def shards(cache):
    return sorted(cache.folder.glob("*.h5"))


def test_rows_come_back_in_the_order_asked_for_with_duplicates(filled, keys, rows):
    order = [7, 3, 3, 19, 0, 7, 12]
    got = filled.read([keys[i] for i in order])
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, rows[order])


def test_find_says_which_keys_are_present(filled, keys):
    found = filled.find([keys[0], b"x" * 16, keys[19]])
    assert found.tolist() == [True, False, True]
    assert filled.index() == sorted(keys)


def test_nothing_is_made_before_the_first_write(cache, keys):
    assert cache.find(keys).tolist() == [False] * len(keys)
    with cache.writer():
        pass
    assert not cache.root.exists()
    assert cache.read([]).shape == (0, cache.spec.dim)


def test_missing_keys_are_counted(filled, keys):
    with pytest.raises(StoreError, match=r"1 of 2 codes are not in .* extract them first"):
        filled.read([keys[0], b"x" * 16])


@pytest.mark.parametrize("key", [b"short", b"x" * 17])
def test_keys_of_another_length_are_refused(filled, key):
    with pytest.raises(ValueError, match="expected 16"):
        filled.find([key])


def test_keys_with_zero_bytes_are_told_apart(cache):
    keys = [b"a" + bytes(15), bytes(16), b"a" + bytes(14) + b"\x01", bytes(15) + b"a"]
    values = np.arange(4 * cache.spec.dim, dtype=np.float32).reshape(4, -1)
    with cache.writer() as writer:
        writer.append(keys, values)
    np.testing.assert_array_equal(cache.read(keys[::-1]), values[::-1])


def test_what_another_writer_adds_is_seen_after_refresh_and_by_read(filled, keys, rows):
    other = CodeCache(filled.root, filled.spec)
    new = [b"n" * 16, b"m" * 16]
    assert not filled.find(new).any()
    with other.writer() as writer:
        writer.append(new, rows[:2])
    np.testing.assert_array_equal(filled.read(new), rows[:2])
    filled.refresh()
    assert filled.find(new).all()


def test_own_rows_are_found_without_refresh(filled, rows):
    assert not filled.find([b"n" * 16]).any()
    with filled.writer() as writer:
        writer.append([b"n" * 16], rows[:1])
    assert filled.find([b"n" * 16]).all()


def test_a_key_of_two_writers_is_served_once_from_the_first_shard(cache, keys, rows, monkeypatch):
    for shift in (100, 200):
        with CodeCache(cache.root, cache.spec).writer() as writer:
            writer.append(keys, rows + shift)
    assert len(shards(cache)) == 2
    assert cache.index() == sorted(keys)
    with h5py.File(shards(cache)[0], "r") as first:
        expected = first["codes"][:]
    names = sorted(path.name for path in cache.folder.iterdir())
    for order in (names, names[::-1]):  # a folder may list its files in any order
        monkeypatch.setattr(os, "listdir", lambda folder, order=order: order)
        np.testing.assert_array_equal(CodeCache(cache.root, cache.spec).read(keys), expected)


def test_the_same_rows_twice_make_the_same_file(cache, keys, rows):
    for _ in range(2):
        with cache.writer() as writer:
            writer.append(keys, rows)
    assert len(shards(cache)) == 1


def test_shards_are_cut_exactly_at_rows_per_shard(cache, keys, rows):
    announced = []
    with cache.writer(rows_per_shard=6, announce=announced.append) as writer:
        for start in range(0, 20, 4):
            writer.append(keys[start : start + 4], rows[start : start + 4])
    assert announced == [6, 6, 6, 2]
    np.testing.assert_array_equal(cache.read(keys), rows)


def test_by_default_a_shard_stays_below_64_megabytes(spec, tmp_path):
    wide = CodeCache(tmp_path, dataclasses.replace(spec, dim=1_000_000))
    assert wide.writer()._rows_per_shard == 16
    assert CodeCache(tmp_path, spec).writer()._rows_per_shard == 4096
    with pytest.raises(ValueError, match="at least one row"):
        wide.writer(rows_per_shard=0)


def test_rows_that_waited_long_enough_are_published(cache, keys, rows, monkeypatch):
    now = [0.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("tlfeatures.store._writer.time", clock)
    announced = []
    with cache.writer(seconds_per_shard=10, announce=announced.append) as writer:
        writer.append(keys[:2], rows[:2])
        now[0] = 9.0
        writer.append(keys[2:4], rows[2:4])
        assert announced == []
        now[0] = 10.5
        writer.append(keys[4:5], rows[4:5])
        assert announced == [5]
        assert writer.n_pending == 0


def test_rows_are_copied_so_that_a_buffer_may_be_used_again(cache, keys, rows):
    buffer = rows[:2].copy()
    with cache.writer() as writer:
        writer.append(keys[:2], buffer)
        buffer[:] = -1
    np.testing.assert_array_equal(cache.read(keys[:2]), rows[:2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused_and_the_others_kept(cache, keys, rows, value):
    bad = rows[:3].copy()
    bad[1, 4] = value
    writer = cache.writer()
    writer.append(keys[5:6], rows[5:6])
    with pytest.raises(ValueError, match=r"1 of 3 codes hold NaN .*row 1"), writer:
        writer.append(keys[:3], bad)
    assert cache.index() == [keys[5]]


def test_codes_of_another_width_are_refused(cache, keys):
    with cache.writer() as writer, pytest.raises(ValueError, match=r"expected \(2, 8\)"):
        writer.append(keys[:2], np.zeros((2, 9), np.float32))


def test_a_closed_writer_takes_nothing(cache, keys, rows):
    with cache.writer() as writer:
        pass
    with pytest.raises(StoreError, match="closed"):
        writer.append(keys, rows)


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_rows_appended_before_an_exception_are_kept(cache, keys, rows, kind):
    def append_and_fail():
        with cache.writer() as writer:
            writer.append(keys[:5], rows[:5])
            raise kind

    with pytest.raises(kind):
        append_and_fail()
    np.testing.assert_array_equal(cache.read(keys[:5]), rows[:5])


def test_meta_json_says_the_spec_in_words_and_values(filled):
    meta = json.loads((filled.folder / "meta.json").read_text())
    assert meta["words"] == filled.spec.describe()
    assert meta["spec"] == filled.spec.to_json()
    assert meta["format_version"] == 2


def test_a_folder_of_an_unknown_version_is_refused(filled, keys):
    (filled.folder / "meta.json").write_text('{"format_version": 3}')
    with pytest.raises(StoreFormatError, match=r"format version 3.*update tlfeatures"):
        CodeCache(filled.root, filled.spec).find(keys)


def test_rows_are_served_without_meta_json(filled, keys, rows):
    (filled.folder / "meta.json").write_text("not JSON")
    np.testing.assert_array_equal(CodeCache(filled.root, filled.spec).read(keys), rows)


def test_specs_do_not_see_each_other(filled, keys):
    other = CodeCache(filled.root, dataclasses.replace(filled.spec, precision="bf16"))
    assert not other.find(keys).any()


def test_a_shard_of_another_spec_in_the_folder_is_refused(filled, keys):
    other = CodeCache(filled.root, dataclasses.replace(filled.spec, contract=2))
    shutil.copytree(filled.folder, other.folder)
    with pytest.raises(StoreCorruptError, match=r"another spec \(contract: 1, not 2\)"):
        other.find(keys)


def test_a_folder_that_vanishes_is_made_again(cache, keys, rows):
    with cache.writer() as writer:
        writer.append(keys[:2], rows[:2])
        writer.flush()
        shutil.rmtree(cache.root)
        writer.append(keys[2:4], rows[2:4])
    assert cache.index() == sorted(keys[2:4])
    assert (cache.folder / "meta.json").exists()


def test_a_folder_that_vanishes_just_before_the_rename_is_made_again(
    cache, keys, rows, monkeypatch
):
    replace, calls = os.replace, []

    def vanish_once(source, target):
        calls.append(target)
        if len(calls) == 2:  # the first one is meta.json
            shutil.rmtree(cache.root)
        replace(source, target)

    monkeypatch.setattr(os, "replace", vanish_once)
    with cache.writer() as writer:
        writer.append(keys, rows)
    np.testing.assert_array_equal(cache.read(keys), rows)


def test_shards_replaced_by_a_merged_one_are_followed(filled, keys, rows):
    filled.refresh()
    old = shards(filled)
    with CodeCache(filled.root, filled.spec).writer() as writer:
        writer.append(keys, rows)
    for path in old:
        path.unlink()
    np.testing.assert_array_equal(filled.read(keys), rows)


def test_a_file_that_goes_between_listing_and_opening_is_listed_again(
    filled, keys, rows, monkeypatch
):
    load, gone = cache_module.load_table, []

    def go_once(path, spec):
        if not gone:
            gone.append(path.rename(path.with_suffix(".aside")))
        return load(path, spec)

    monkeypatch.setattr(cache_module, "load_table", go_once)
    assert filled.find(keys).sum() == 14


def test_a_folder_that_never_stands_still_gives_up_with_a_line(filled, keys, monkeypatch):
    def always_gone(path, spec):
        raise FileNotFoundError(path)

    monkeypatch.setattr(cache_module, "load_table", always_gone)
    with pytest.raises(StoreError, match="keeps changing"):
        filled.find(keys)


def test_temporary_files_older_than_a_day_are_swept(filled):
    old, young = filled.folder / ".tmp-a-1-x.h5", filled.folder / ".tmp-b-2-y.h5"
    for path, age in ((old, 25 * 3600), (young, 23 * 3600)):
        path.write_bytes(b"half a shard")
        os.utime(path, (time.time() - age,) * 2)
    filled.writer()
    assert not old.exists()
    assert young.exists()
    assert len(filled.index()) == 20


def test_the_number_of_reads_is_bounded_by_blocks(cache, spec, monkeypatch):
    many = [b"%016d" % number for number in range(3000)]
    values = np.random.default_rng(0).standard_normal((3000, spec.dim), dtype=np.float32)
    with cache.writer(rows_per_shard=1000) as writer:
        writer.append(many, values)
    cache.refresh()
    reads, real = [], _rows._read_into
    monkeypatch.setattr(_rows, "_read_into", lambda *given: (reads.append(given), real(*given))[1])
    order = np.random.default_rng(1).permutation(3000)[:2000]
    np.testing.assert_array_equal(cache.read([many[i] for i in order]), values[order])
    assert len(reads) == 3


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1), st.sampled_from([4, 16384, 100_000, 10**8]))
def test_blocks_cover_every_row_once_and_stay_short(numbers, row_bytes):
    chosen = np.sort(np.array(numbers))
    blocks = plan_blocks(chosen, row_bytes)
    assert [i for first, last in blocks for i in range(first, last)] == list(range(len(chosen)))
    spans = [chosen[last - 1] - chosen[first] + 1 for first, last in blocks]
    assert all(span == 1 or span * row_bytes <= 8 << 20 for span in spans)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(0, 19), max_size=30))
def test_the_cache_reads_like_a_dictionary(filled, keys, rows, order):
    model = dict(zip(keys, rows, strict=True))
    got = filled.read([keys[i] for i in order])
    assert len(got) == len(order)
    for row, number in zip(got, order, strict=True):
        np.testing.assert_array_equal(row, model[keys[number]])


def test_a_pickled_cache_reads_in_a_spawned_process(filled, keys, rows):
    filled.refresh()
    assert pickle.loads(pickle.dumps(filled))._index is None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        got = pool.apply(filled.read, (keys,))
    np.testing.assert_array_equal(got, rows)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_reading_goes_on_on_both_sides_of_a_fork(filled, keys, run_python):
    code = """
import os, pickle, sys
import numpy as np
cache, keys = pickle.loads(bytes.fromhex(sys.argv[1]))
before = cache.read(keys)
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        same = all(np.array_equal(cache.read(keys), before) for _ in range(20))
        os._exit(0 if same else 1)
    children.append(child)
assert all(np.array_equal(cache.read(keys), before) for _ in range(20))
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""
    run_python(code, pickle.dumps((filled, keys)).hex())


def test_the_cache_folder_comes_from_the_environment_or_the_system(monkeypatch, tmp_path):
    monkeypatch.setenv("TLFEATURES_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("TLFEATURES_CACHE")
    assert default_cache_dir().is_absolute()
    assert "tlfeatures" in default_cache_dir().name


def test_the_store_reaches_neither_torch_nor_scikit_learn(run_python):
    code = "import sys, tlfeatures.store; print({'torch', 'sklearn', 'PIL'} & set(sys.modules))"
    assert run_python(code).stdout.strip() == "set()"


def test_the_snippet_of_the_documents_reads_a_cache(spec, keys, rows, tmp_path, monkeypatch):
    document = Path(__file__).parents[2] / "docs" / "cache-format.md"
    snippet = document.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert len([line for line in snippet.splitlines() if line]) <= 10
    with CodeCache(tmp_path / "CACHE", spec).writer(rows_per_shard=6) as writer:
        writer.append(keys, rows)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(snippet.replace("2a0170bff1bc", spec.key), names)
    assert names["spec"] == spec.to_json()
    np.testing.assert_array_equal([names["rows"][key] for key in keys], rows)


def test_rows_whose_successors_are_long_in_coming_do_not_wait_for_them(
    cache, keys, rows, monkeypatch
):
    clock = [100.0]
    monkeypatch.setattr("tlfeatures.store._writer.time.monotonic", lambda: clock[0])
    with cache.writer() as writer:
        clock[0] += 30
        writer.append(keys[:1], rows[:1])
        assert writer.n_pending == 0
        clock[0] += 1
        writer.append(keys[1:2], rows[1:2])
        assert writer.n_pending == 1


def test_every_new_folder_above_is_on_the_disk_before_rows_are_announced(
    tmp_path, spec, keys, rows, monkeypatch
):
    import tlfeatures.store._folder as module

    synced, real = [], module.sync_folder
    monkeypatch.setattr(module, "sync_folder", lambda folder: (synced.append(folder), real(folder)))
    cache = CodeCache(tmp_path / "new" / "cache", spec)
    with cache.writer() as writer:
        writer.append(keys, rows)
    assert set(synced) == {tmp_path, tmp_path / "new", tmp_path / "new" / "cache"}
