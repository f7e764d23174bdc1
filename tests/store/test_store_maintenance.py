"""verify, repair, gc, merge, diff, export: what they find, do and say."""

import dataclasses
import os
import shutil
import time

import h5py
import numpy as np
import pytest

from tests.store.conftest import key_of
from tlfeatures.errors import StoreError
from tlfeatures.store import (
    CodeCache,
    Probes,
    cache_info,
    compiled_totals,
    folder_size,
    gc_cache,
    list_compiled,
    merge_caches,
    newest_contract,
    repair_cache,
    verify_cache,
)
from tlfeatures.store.shards._shard import shard_name
from tlfeatures.store.upkeep import _gc, _take
from tlfeatures.store.upkeep._verify import visit_all


def offset_of(path, name="codes"):
    with h5py.File(path) as shard:
        return shard[name].id.get_offset()


def damage(path, place, bit=1):
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    path.write_bytes(data)


def whole_rows(root, spec, keys, rows):
    """Every key that is served has its right row; returns how many are."""
    cache = CodeCache(root, spec)
    found = cache.find(keys)
    chosen = [key for key, there in zip(keys, found, strict=True) if there]
    np.testing.assert_array_equal(cache.read(chosen), rows[found])
    return int(found.sum())


# verify and repair


def test_a_whole_cache_has_no_problems_and_one_that_does_not_exist_neither(filled, tmp_path):
    found = verify_cache(filled.root)
    assert (found.problems, found.rows, found.shards, found.folders) == ([], 20, 4, 1)
    assert found.bytes == sum(path.stat().st_size for path in filled.folder.iterdir())
    assert verify_cache(tmp_path / "absent").problems == []


@pytest.mark.parametrize("seed", range(30))
def test_a_flipped_bit_anywhere_is_found_never_served_and_repaired(filled, keys, rows, spec, seed):
    rng = np.random.default_rng(seed)
    path = filled.list_shards()[int(rng.integers(4))]
    damage(path, int(rng.integers(path.stat().st_size)), 1 << int(rng.integers(8)))
    (problem,) = verify_cache(filled.root).problems
    assert problem.path == path
    done = repair_cache(filled.root)
    assert [moved.path for moved in done.moved] == [path]
    assert (path.parent / "broken" / path.name).exists()
    assert verify_cache(filled.root).problems == []
    n_whole = whole_rows(filled.root, spec, keys, rows)
    assert n_whole >= 14
    with CodeCache(filled.root, spec).writer() as writer:  # only what is lost is computed again
        lost = [i for i, there in enumerate(CodeCache(filled.root, spec).find(keys)) if not there]
        writer.append([keys[i] for i in lost], rows[lost])
    assert whole_rows(filled.root, spec, keys, rows) == 20


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 0.999])
def test_a_truncated_shard_is_found_and_moved_aside(filled, keys, rows, spec, share):
    path = filled.list_shards()[0]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert [problem.path for problem in verify_cache(filled.root).problems] == [path]
    repair_cache(filled.root)
    assert whole_rows(filled.root, spec, keys, rows) >= 14


def test_the_whole_rows_of_a_broken_shard_are_kept(filled, keys, rows, spec):
    path = next(p for p in filled.list_shards() if h5py.File(p)["codes"].shape[0] == 6)
    damage(path, offset_of(path) + 2 * 4 * spec.dim)
    done = repair_cache(filled.root)
    assert (done.rescued, done.lost) == (5, 1)
    assert whole_rows(filled.root, spec, keys, rows) == 19


def test_meta_json_of_another_spec_or_none_is_found_and_made_anew(filled, spec, keys, rows):
    meta = filled.folder / "meta.json"
    for text in ("{", '{"spec": 7}', meta.read_text().replace('"resize": 256', '"resize": 232')):
        meta.write_text(text)
        assert [problem.path for problem in verify_cache(filled.root).problems] == [meta]
        repair_cache(filled.root)
        assert verify_cache(filled.root).problems == []
        assert cache_info(filled.root)[0].spec == spec
    assert whole_rows(filled.root, spec, keys, rows) == 20


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_without_numbers_are_found_and_computed_again(filled, tmp_path, keys, rows, value):
    """No writer takes them; another program may have written them with a right checksum."""
    codes = np.ones((3, filled.spec.dim), np.float32)
    codes[1, 2] = value
    path = filled.publish(np.frombuffer(key_of(90) + key_of(91) + key_of(92), "S16"), codes)
    (problem,) = verify_cache(filled.root).problems
    assert (problem.path, problem.reason[:16]) == (path, "1 of 3 rows fail")
    taken = merge_caches(tmp_path / "other", filled.root)
    assert [each.path for each in taken.refused] == [path]
    done = repair_cache(filled.root)
    assert (done.rescued, done.lost) == (2, 1)
    assert CodeCache(filled.root, filled.spec).find([key_of(90), key_of(91)]).tolist() == [
        True,
        False,
    ]
    assert whole_rows(filled.root, filled.spec, keys, rows) == 20


def test_damaged_probes_and_lists_of_bad_pictures_are_found(filled, rows):
    filled.write_probes(Probes(rows[:3], {"torch": "2"}))
    filled.remember_bad({key_of(7): "truncated"})
    paths = [filled.folder / "probes.json", *filled.folder.glob("bad-*.json")]
    for path in paths:
        damage(path, path.stat().st_size // 2)
    assert {problem.path for problem in verify_cache(filled.root).problems} == set(paths)
    assert filled.read_bad() == {}
    assert len(repair_cache(filled.root).moved) == 2
    assert verify_cache(filled.root).problems == []


def test_a_file_that_cannot_be_read_now_is_no_problem_of_the_file(filled, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(filled.folder), "read_bytes", refuse)
    with pytest.raises((StoreError, PermissionError), match="Permission denied"):
        verify_cache(filled.root)
    with pytest.raises((StoreError, PermissionError), match="Permission denied"):
        repair_cache(filled.root)
    monkeypatch.undo()
    assert verify_cache(filled.root).problems == []


# gc


def other_spec(spec, **changes):
    return dataclasses.replace(spec, **changes)


def make_folder(root, spec, rows, days_ago):
    cache = CodeCache(root, spec)
    cache.publish(np.frombuffer(key_of(1), "S16"), rows[:1])
    when = time.time() - days_ago * 86400
    for path in (cache.folder / "meta.json", cache.folder):
        os.utime(path, (when, when))
    return cache.folder


@pytest.fixture
def aged(tmp_path, spec, rows):
    """Folders last used 1, 10 and 100 days ago."""
    return {
        days: make_folder(tmp_path, other_spec(spec, layer=f"layer{days}"), rows, days)
        for days in (1, 10, 100)
    }


def test_folders_that_were_not_used_for_long_go(aged, tmp_path):
    done = gc_cache(tmp_path, keep_days=30)
    assert [entry.folder for entry in done.removed] == [aged[100]]
    assert not aged[100].exists()
    assert aged[10].exists()
    assert not list(tmp_path.glob(".trash-*"))


def test_the_least_recently_used_go_until_the_rest_is_small_enough(aged, tmp_path):
    sizes = {entry.folder: entry.bytes for entry in cache_info(tmp_path)}
    done = gc_cache(tmp_path, max_bytes=sizes[aged[1]] + sizes[aged[10]])
    assert [entry.folder for entry in done.removed] == [aged[100]]
    assert len(gc_cache(tmp_path, max_bytes=0).removed) == 2


def test_a_dry_run_takes_nothing_away(aged, tmp_path):
    assert len(gc_cache(tmp_path, keep_days=0.5, dry_run=True).removed) == 3
    assert all(folder.exists() for folder in aged.values())


def test_reading_and_writing_count_as_use(aged, tmp_path, spec, rows):
    CodeCache(tmp_path, other_spec(spec, layer="layer100")).read([key_of(1)])
    assert [e.folder for e in gc_cache(tmp_path, keep_days=5).removed] == [aged[10]]


def test_shards_count_as_use_where_meta_json_may_not_be_touched(aged, tmp_path, spec, rows):
    """Another user's folder, in which one may write files of one's own."""
    meta = aged[100] / "meta.json"
    before = meta.stat().st_mtime_ns
    cache = CodeCache(tmp_path, other_spec(spec, layer="layer100"))
    cache.publish(np.frombuffer(key_of(2), "S16"), rows[:1])
    os.utime(meta, ns=(before, before))
    assert [e.folder for e in gc_cache(tmp_path, keep_days=5).removed] == [aged[10]]


def test_the_size_of_a_folder_is_that_of_its_files_whatever_else_is_there(filled):
    known = verify_cache(filled.root).bytes
    assert folder_size(filled.root) == known
    (filled.folder / "broken").mkdir()
    (filled.folder / "broken" / "x.h5").write_bytes(b"12345")
    (filled.folder / "gone").symlink_to("nowhere")
    assert folder_size(filled.root) == known + 5
    assert folder_size(filled.root / "nothing") == 0


def test_a_folder_used_within_the_hour_stays_whatever_its_size(filled):
    done = gc_cache(filled.root, max_bytes=0)
    assert not done.removed
    assert [entry.folder for entry in done.in_use] == [filled.folder]


def test_rows_published_while_a_folder_is_taken_away_come_back(
    aged, tmp_path, spec, rows, monkeypatch
):
    folder, replace = aged[100], os.replace

    def replace_late(source, target):
        if str(source) == str(folder):  # a writer is quicker by a hair
            late = CodeCache(tmp_path, other_spec(spec, layer="layer100"))
            late.publish(np.frombuffer(key_of(2), "S16"), rows[2:3])
        replace(source, target)

    monkeypatch.setattr(_gc.os, "replace", replace_late)
    gc_cache(tmp_path, keep_days=30)
    cache = CodeCache(tmp_path, other_spec(spec, layer="layer100"))
    assert cache.read([key_of(2)])[0, 0] == 2


def test_a_run_that_begins_while_gc_looks_keeps_its_folder(aged, tmp_path, spec, monkeypatch):
    take_away = _gc._take_away

    def used_after_listing(entry, root):
        CodeCache(tmp_path, other_spec(spec, layer="layer100")).read([key_of(1)])
        return take_away(entry, root)

    monkeypatch.setattr(_gc, "_take_away", used_after_listing)
    done = gc_cache(tmp_path, keep_days=30)
    assert [entry.folder for entry in done.in_use] == [aged[100]]
    assert CodeCache(tmp_path, other_spec(spec, layer="layer100")).read([key_of(1)]).shape == (1, 8)


def test_what_a_killed_gc_had_not_decided_on_comes_back(aged, tmp_path, spec):
    trash = tmp_path / f".trash-{aged[100].name}-1234abcd"
    os.rename(aged[100], trash)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gc, "IN_USE_S", -1.0)
        gc_cache(tmp_path, keep_days=10**6)
    assert CodeCache(tmp_path, other_spec(spec, layer="layer100")).read([key_of(1)]).shape == (1, 8)
    assert not trash.exists()


def test_a_writer_in_another_process_keeps_every_row_while_gc_runs(tmp_path):
    from tests.store.test_store_torture import SPEC, check_all, finish, start

    child = start("write", tmp_path, 2, 200)
    while child.poll() is None:
        assert not gc_cache(tmp_path, max_bytes=0).removed
    finish([child])
    check_all(tmp_path, 200)
    assert (tmp_path / SPEC.folder_name).exists()


def test_folders_that_are_not_the_caches_are_left_alone(filled, tmp_path, keys, rows, spec):
    thesis, web = filled.root / "thesis", filled.root / "web"
    for folder, names in ((thesis, ("results.h5", "notes.txt")), (web, ("meta.json", "a.html"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_text("{}")
            os.utime(folder / name, (1, 1))
    assert verify_cache(filled.root).problems == []
    assert repair_cache(filled.root).moved == []
    assert len(cache_info(filled.root)) == 1
    gc_cache(filled.root, keep_days=1, max_bytes=0)
    assert (thesis / "notes.txt").exists()
    assert (web / "meta.json").exists()


def test_a_renamed_folder_is_named_and_left_whole(filled):
    renamed = filled.root / "my-backup-of-codes"
    filled.folder.rename(renamed)
    names = sorted(path.name for path in renamed.iterdir())
    assert {p.path.parent for p in verify_cache(filled.root).problems} == {renamed, filled.root}
    assert repair_cache(filled.root).moved == []
    assert sorted(path.name for path in renamed.iterdir()) == names


def test_files_of_a_later_version_are_named_but_not_moved(filled, tmp_path):
    path = filled.list_shards()[0]
    with h5py.File(path, "r+") as shard:
        shard.attrs["format_version"] = 7
    later = path.with_name(shard_name(path.read_bytes()))
    path.rename(later)
    (problem,) = verify_cache(filled.root).problems
    assert "update tlfeatures" in problem.reason
    assert repair_cache(filled.root).moved == []
    assert later.exists()


def test_a_file_broken_twice_is_kept_twice(filled):
    path = filled.list_shards()[0]
    data = path.read_bytes()
    for length in (100, 200):
        path.write_bytes(data[:length])
        repair_cache(filled.root)
    sizes = sorted(p.stat().st_size for p in (filled.folder / "broken").iterdir())
    assert sizes == [100, 200]


def test_a_folder_that_cannot_be_read_now_never_falls_back_to_an_old_contract(
    tmp_path, spec, rows, monkeypatch
):
    for contract in (1, 1001):
        make_folder(tmp_path, other_spec(spec, contract=contract), rows, 0)
    read = type(tmp_path).read_text

    def refuse(self, *given, **more):
        if other_spec(spec, contract=1001).folder_name in str(self):
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *given, **more)

    monkeypatch.setattr(type(tmp_path), "read_text", refuse)
    with pytest.raises(StoreError, match="allow reading there"):
        newest_contract(tmp_path, spec)


def test_a_folder_made_anew_in_the_middle_of_a_run_has_its_probes(tmp_path, spec, rows):
    cache = CodeCache(tmp_path, spec)
    cache.write_probes(Probes(rows[1:4], {"torch": "2"}))
    shutil.rmtree(cache.folder)
    cache.publish(np.frombuffer(key_of(1), "S16"), rows[:1])
    assert CodeCache(tmp_path, spec).read_probes().made_with == {"torch": "2"}


@pytest.fixture
def compiled(tmp_path):
    """Own operations, of today and last used 10 days ago; a network of an earlier version."""
    found = {}
    for name, days in (("kernels/new.so", 0), ("kernels/old.so", 10), ("compiled/aa.pt2", 0)):
        path = found[name[:-3].rpartition("/")[2]] = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 1000)
        os.utime(path, (time.time() - days * 86400,) * 2)
    return found


def names(files):
    return [file.path.name for file in files]


def test_compiled_files_are_counted(compiled, tmp_path):
    assert compiled_totals(list_compiled(tmp_path)) == (3, 3000)
    assert compiled_totals(list_compiled(tmp_path / "absent")) == (0, 0)


def test_networks_of_earlier_versions_go_and_own_operations_that_are_old(compiled, aged, tmp_path):
    (tmp_path / "compiled" / "bb.so").write_bytes(b"x")  # as earlier versions kept operations
    done = gc_cache(tmp_path, keep_days=30)
    assert names(done.compiled_removed) == ["aa.pt2", "bb.so"]
    assert not (tmp_path / "compiled").exists()
    done = gc_cache(tmp_path, keep_days=5)
    assert names(done.compiled_removed) == ["old.so"]
    assert names(done.compiled_kept) == ["new.so"]
    assert sorted(tmp_path.glob("kernels/*")) == [compiled["new"]]


def test_compiled_files_count_among_what_is_too_much(compiled, aged, tmp_path):
    done = gc_cache(tmp_path, max_bytes=0, dry_run=True)
    assert (len(done.removed), len(done.compiled_removed)) == (3, 2)
    assert all(path.exists() for path in compiled.values())
    gc_cache(tmp_path, max_bytes=0)
    assert [path for path in compiled.values() if path.exists()] == [compiled["new"]]


def test_nothing_is_removed_through_links_or_that_is_not_ours(tmp_path):
    cache, outside = tmp_path / "cache", tmp_path / "outside"
    for folder in (outside / ".tmp-1", cache / "compiled" / "folder.pt2"):
        folder.mkdir(parents=True)
    for path in (outside / "theirs.pt2", outside / ".tmp-2", cache / "compiled" / "notes.txt"):
        path.write_bytes(b"x")
    for path in (outside / ".tmp-1", outside / ".tmp-2"):
        os.utime(path, (1, 1))
    (cache / "compiled" / "link.pt2").symlink_to(outside / "theirs.pt2")
    (cache / "compiled" / ".tmp-3").symlink_to(outside / ".tmp-1")
    (cache / "kernels").symlink_to(outside)
    assert names(gc_cache(cache, max_bytes=0).compiled_removed) == ["link.pt2"]
    left = {path.name for path in (cache / "compiled").iterdir()}
    assert left - {".tmp-3"} == {"notes.txt", "folder.pt2"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "compiled").symlink_to(outside)
    assert gc_cache(tmp_path / "other", max_bytes=0).compiled_removed == []
    left = {path.name for path in outside.iterdir()}
    assert left == {".tmp-1", ".tmp-2", "theirs.pt2"}


def test_what_killed_compiling_left_is_swept_in_its_folder_only(compiled, tmp_path):
    for folder in (tmp_path / "compiled", tmp_path / "kernels", tmp_path / "thesis"):
        (folder / ".tmp-1").mkdir(parents=True)
        os.utime(folder / ".tmp-1", (1, 1))
    gc_cache(tmp_path, keep_days=30)
    assert not (tmp_path / "compiled").exists()
    assert not (tmp_path / "kernels" / ".tmp-1").exists()
    assert (tmp_path / "thesis" / ".tmp-1").exists()


# merge, diff, export


def test_merging_takes_what_is_not_here_and_changes_nothing_there(
    filled, keys, rows, tmp_path, spec
):
    other = CodeCache(tmp_path / "other", spec)
    other.publish(np.frombuffer(key_of(50), "S16"), rows[:1])
    other.remember_bad({key_of(51): "text"})
    for cache in (filled, other):
        cache.write_probes(Probes(rows[1:4], {"torch": "2"}))
    before = sorted(path.name for path in other.folder.iterdir())
    done = merge_caches(filled.root, other.root)
    assert (done.shards, done.rows, done.present, done.refused) == (1, 1, 0, [])
    assert CodeCache(filled.root, spec).read([key_of(50)])[0, 0] == 0
    assert whole_rows(filled.root, spec, keys, rows) == 20
    assert CodeCache(filled.root, spec).read_bad() == {key_of(51): "text"}
    assert sorted(path.name for path in other.folder.iterdir()) == before
    assert merge_caches(filled.root, other.root).present == 1


def test_broken_shards_and_contradicting_probes_are_refused(filled, tmp_path, spec, rows):
    other = CodeCache(tmp_path / "other", spec)
    path = other.publish(np.frombuffer(key_of(50), "S16"), rows[:1])
    damage(path, offset_of(path))
    done = merge_caches(filled.root, other.root)
    assert (done.shards, [problem.path for problem in done.refused]) == (0, [path])
    filled.write_probes(Probes(rows[1:4], {}))
    (unknown,) = merge_caches(filled.root, other.root).refused
    assert "only one side" in unknown.reason
    other.write_probes(Probes(rows[1:4] * 1.01, {}))
    (refused,) = merge_caches(filled.root, other.root).refused
    assert "probe pictures differ" in refused.reason


def test_probes_without_shards_are_compared_too(tmp_path, spec, rows):
    """An own network's are written before its first row is."""
    mine, other = (CodeCache(tmp_path / name, spec) for name in ("mine", "other"))
    mine.write_probes(Probes(rows[1:4], {}))
    other.publish(np.frombuffer(key_of(50), "S16"), rows[:1])
    (unknown,) = merge_caches(mine.root, other.root).refused
    assert "only one side" in unknown.reason
    other.write_probes(Probes(rows[1:4] * 1.01, {}))
    (refused,) = merge_caches(mine.root, other.root).refused
    assert "probe pictures differ" in refused.reason
    assert not mine.list_shards()


def test_damaged_probes_of_the_other_cache_refuse_their_folder_alone(tmp_path, spec, rows):
    mine = CodeCache(tmp_path / "mine", spec)
    for layer in ("layer1", "layer2"):
        other = CodeCache(tmp_path / "other", other_spec(spec, layer=layer))
        other.publish(np.frombuffer(key_of(50), "S16"), rows[:1])
        other.write_probes(Probes(rows[1:4], {}))
        if layer == "layer1":
            (other.folder / "probes.json").write_text("{}")
            broken = other.folder
    done = merge_caches(mine.root, other.root)
    assert (done.shards, [problem.path for problem in done.refused]) == (1, [broken])
    assert "probes.json is damaged" in done.refused[0].reason


def test_shards_that_are_merged_while_they_are_taken_are_not_missed(
    tmp_path, spec, rows, monkeypatch
):
    other = CodeCache(tmp_path / "other", spec)
    small = [other.publish(np.frombuffer(key_of(i), "S16"), rows[i : i + 1]) for i in range(3)]
    check, left = _take.check_file, [1]

    def merge_first(path, spec):
        if left and left.pop():
            keys = np.frombuffer(b"".join(key_of(i) for i in range(3)), "S16")
            other.publish(keys, rows[:3])
            for each in small:
                each.unlink()
        return check(path, spec)

    monkeypatch.setattr(_take, "check_file", merge_first)
    done = merge_caches(tmp_path / "mine", other.root)
    assert (done.rows, done.present, done.refused) == (3, 0, [])
    mine = CodeCache(tmp_path / "mine", spec)
    np.testing.assert_array_equal(mine.read([key_of(i) for i in range(3)]), rows[:3])


def test_files_that_vanish_again_and_again_are_not_taken_for_seen(tmp_path):
    visited = []

    def gone(path):
        visited.append(path)
        raise FileNotFoundError

    assert not visit_all(lambda: [tmp_path / "a"], gone)
    assert len(visited) > 1
    assert visit_all(lambda: [tmp_path / "a", tmp_path / "b"], lambda path: None)


def test_the_newest_contract_is_that_of_the_same_program(tmp_path, spec, rows):
    assert newest_contract(tmp_path, spec) == 0
    for contract in (1, 1001, 1002, 2, 2001):
        make_folder(tmp_path, other_spec(spec, contract=contract), rows, 0)
    assert newest_contract(tmp_path, spec) == 1002
    assert newest_contract(tmp_path, other_spec(spec, contract=2)) == 2001
    assert newest_contract(tmp_path, other_spec(spec, pooling="max")) == 0


def test_a_missing_shard_is_missing_rows_never_zeros(filled, keys, rows, tmp_path, spec):
    filled.list_shards()[0].unlink()
    left = whole_rows(filled.root, spec, keys, rows)
    assert 14 <= left < 20
    again = CodeCache(filled.root, spec)
    assert len(again.index()) == left


def test_a_cache_copied_while_it_is_used_can_be_merged_back(filled, keys, rows, tmp_path, spec):
    shutil.copytree(filled.root, tmp_path / "copy")
    for path in filled.list_shards()[:2]:
        path.unlink()
    assert merge_caches(filled.root, tmp_path / "copy").shards == 2
    assert whole_rows(filled.root, spec, keys, rows) == 20
