"""Small shards are merged; whatever happens meanwhile, no row is lost and none served twice."""

import dataclasses

import h5py
import numpy as np
import pytest

from tests.store.conftest import key_of
from tlfeatures.errors import StoreError
from tlfeatures.store import CodeCache, verify_cache
from tlfeatures.store import _merge as module
from tlfeatures.store._merge import merge_group, merge_small
from tlfeatures.store.shards._shard import load_table


def fill(cache, n_shards, start=0):
    """Shards of two rows each; row i is filled with i."""
    for i in range(start, start + 2 * n_shards, 2):
        keys = np.frombuffer(key_of(i) + key_of(i + 1), "S16")
        cache.publish(keys, np.full((2, cache.spec.dim), [[i], [i + 1]], np.float32))
    return [key_of(i) for i in range(start + 2 * n_shards)]


def rows_of(cache, keys):
    return CodeCache(cache.root, cache.spec).read(keys)[:, 0].tolist()


def test_up_to_32_small_shards_stay_and_more_become_one(cache):
    keys = fill(cache, 32)
    assert merge_small(cache) == 0
    keys = fill(cache, 1, start=64)
    assert merge_small(cache) == 33
    assert len(cache.list_shards()) == 1
    assert rows_of(cache, keys) == list(range(66))
    assert not verify_cache(cache.root).problems


def test_a_run_merges_at_its_start_and_at_its_end(cache):
    keys = fill(cache, 40)
    with cache.writer(rows_per_shard=2) as writer:
        assert len(cache.list_shards()) == 1
        for i in range(80, 160):
            writer.append([key_of(i)], np.full((1, cache.spec.dim), i, np.float32))
        assert len(cache.list_shards()) == 41
    assert len(cache.list_shards()) == 1
    assert rows_of(cache, [*keys, *(key_of(i) for i in range(80, 160))]) == list(range(160))


def test_large_shards_are_left_alone(cache, monkeypatch):
    monkeypatch.setattr(CodeCache, "rows_per_shard", 3)
    keys = fill(cache, 40)
    assert merge_small(cache) == 0
    assert rows_of(cache, keys) == list(range(80))


def test_a_reader_that_listed_before_the_merge_still_reads_everything(cache):
    keys = fill(cache, 40)
    reader = CodeCache(cache.root, cache.spec)
    reader.refresh()
    merge_small(cache)
    assert reader.read(keys)[:, 0].tolist() == list(range(80))


def test_duplicates_are_merged_into_one_row_the_first_shards(cache):
    for value in range(40):
        cache.publish(
            np.frombuffer(key_of(0), "S16"), np.full((1, cache.spec.dim), value, np.float32)
        )
    before = rows_of(cache, [key_of(0)])
    merge_small(cache)
    assert rows_of(cache, [key_of(0)]) == before
    assert len(load_table(cache.list_shards()[0], cache.spec).keys) == 1


def test_nothing_is_unlinked_before_the_merged_shard_was_read_back(cache, monkeypatch):
    keys = fill(cache, 40)
    publish = CodeCache.publish

    def publish_damaged(self, *given, **more):
        path = publish(self, *given, **more)
        with h5py.File(path) as shard:
            offset = shard["codes"].id.get_offset()
        data = bytearray(path.read_bytes())
        data[offset] ^= 1
        path.write_bytes(data)
        return path

    monkeypatch.setattr(CodeCache, "publish", publish_damaged)
    merge_small(cache)
    assert len(cache.list_shards()) == 41
    monkeypatch.undo()
    for path in cache.list_shards():  # without the damaged one everything is there
        if len(load_table(path, cache.spec).keys) > 2:
            path.unlink()
    assert rows_of(cache, keys) == list(range(80))


@pytest.mark.parametrize("stop_after", [0, 1, 7])
def test_a_merge_that_was_killed_is_finished_by_the_next_one(cache, monkeypatch, stop_after):
    keys = fill(cache, 40)
    unlink, n_unlinked = module.Path.unlink, []

    def unlink_some(self, missing_ok=False):
        if self.suffix == ".h5" and not self.name.startswith("."):
            if len(n_unlinked) == stop_after:
                raise KeyboardInterrupt
            n_unlinked.append(self)
        unlink(self, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(module.Path, "unlink", unlink_some)
        with pytest.raises(KeyboardInterrupt):
            merge_small(cache)
    assert rows_of(cache, keys) == list(range(80))
    assert len(cache.list_shards()) == 41 - stop_after
    fill(cache, 33, start=80)
    merge_small(cache)
    assert rows_of(cache, keys) == list(range(80))
    assert len(cache.list_shards()) <= 2


def test_shards_that_somebody_else_merged_meanwhile_are_no_error(cache, monkeypatch):
    keys = fill(cache, 40)
    tables = [load_table(path, cache.spec) for path in cache.list_shards()]
    merge_small(CodeCache(cache.root, cache.spec))
    with pytest.raises(FileNotFoundError):
        merge_group(cache, tables)
    assert rows_of(cache, keys) == list(range(80))


def test_two_that_merge_the_same_shards_at_once_lose_nothing(cache, monkeypatch):
    keys = fill(cache, 40)
    other = CodeCache(cache.root, cache.spec)
    read_back, done = module._read_back, []

    def other_first(path, spec):
        if not done:
            done.append(True)
            merge_small(other)
        return read_back(path, spec)

    monkeypatch.setattr(module, "_read_back", other_first)
    merge_small(cache)
    assert rows_of(cache, keys) == list(range(80))


def test_a_damaged_small_shard_is_left_where_it_is(cache, caplog):
    keys = fill(cache, 40)
    path = cache.list_shards()[5]
    lost = set(load_table(path, cache.spec).keys.tolist())
    with h5py.File(path) as shard:
        offset = shard["codes"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    merge_small(cache)
    assert "were not merged" in caplog.text
    assert path.exists()
    path.unlink()
    kept = [key for key in keys if key not in lost]
    assert len(rows_of(cache, kept)) == 78


def test_shards_that_may_not_be_removed_are_not_merged(cache, monkeypatch):
    keys = fill(cache, 40)
    monkeypatch.setattr(module, "_may_unlink", lambda path: False)
    assert merge_small(cache) == 0
    assert len(cache.list_shards()) == 40
    assert rows_of(cache, keys) == list(range(80))


def test_a_merge_that_is_refused_by_the_system_ends_no_run(cache, monkeypatch, caplog):
    keys = fill(cache, 40)

    def refuse(self, missing_ok=False):
        raise PermissionError(1, "Operation not permitted", str(self))

    monkeypatch.setattr(module.Path, "unlink", refuse)
    with cache.writer() as writer:
        writer.append([key_of(900)], np.full((1, cache.spec.dim), 900, np.float32))
    monkeypatch.undo()
    assert "Operation not permitted" in caplog.text
    assert rows_of(cache, [*keys, key_of(900)]) == [*range(80), 900]


def publish(cache, numbers, value=None, **more):
    """A shard of these keys; row i is filled with i, or with `value`."""
    keys = np.frombuffer(b"".join(map(key_of, numbers)), "S16")
    values = [i if value is None else value for i in numbers]
    return cache.publish(keys, np.repeat(np.float32(values)[:, None], cache.spec.dim, 1), **more)


def test_a_shard_that_lacks_rows_of_what_it_replaces_replaces_nothing(cache, spec):
    """Whatever it says of itself: those rows stand nowhere else."""
    whole, other = publish(cache, [1, 2]), publish(cache, [3, 4])
    lacking = publish(cache, [1, 2, 3], replaces=[whole.name, other.name])
    with pytest.raises(StoreError, match=f"lacks rows of .*{other.name}; both are kept"):
        module._unlink_replaced(cache, lacking, [other.name])
    merge_small(cache, most_small=0)
    assert rows_of(cache, [key_of(i) for i in (1, 2, 3, 4)]) == [1, 2, 3, 4]


@pytest.mark.parametrize("lost", [0, 1, 79])
def test_a_merge_that_loses_a_row_keeps_the_shard_that_has_it(cache, monkeypatch, caplog, lost):
    keys, plain = fill(cache, 40), CodeCache.publish

    def publish_fewer(self, keys, codes, **more):
        return plain(self, np.delete(keys, lost), np.delete(codes, lost, axis=0), **more)

    monkeypatch.setattr(CodeCache, "publish", publish_fewer)
    merge_small(cache)
    assert "both are kept" in caplog.text
    assert rows_of(cache, keys) == list(range(80))


def test_what_a_killed_merge_left_is_unlinked_not_merged_again(cache, monkeypatch):
    left = [publish(cache, [i]) for i in range(3)]
    merged = publish(cache, [0, 1, 2, 3], replaces=[path.name for path in left])
    size = merged.stat().st_size
    monkeypatch.setattr(CodeCache, "rows_per_shard", 2 * size // (4 * cache.spec.dim) + 1)
    assert merge_small(cache, most_small=0) == 3
    assert cache.list_shards() == [merged]


def test_shards_that_have_gone_already_are_not_counted_as_replaced(cache):
    publish(cache, [0, 1], replaces=["00" * 16 + ".h5"])
    assert merge_small(cache, most_small=0) == 0


WIDE = 4096  # values a row, so that headers play no part in what is small


@pytest.fixture
def wide(tmp_path, spec, monkeypatch):
    """A cache whose full shards have ten rows."""
    monkeypatch.setattr(CodeCache, "rows_per_shard", 10)
    return CodeCache(tmp_path / "wide", dataclasses.replace(spec, dim=WIDE))


def test_merged_shards_are_full_and_never_more_than_full(wide):
    keys = fill(wide, 35)
    assert merge_small(wide) == 35
    n_rows = [len(load_table(path, wide.spec).keys) for path in wide.list_shards()]
    assert n_rows == [10] * 7
    assert rows_of(wide, keys) == list(range(70))


def test_large_shards_neither_count_nor_take_part(wide):
    large = [publish(wide, range(1000 + 10 * i, 1010 + 10 * i)) for i in range(5)]
    keys = fill(wide, 30)
    assert merge_small(wide) == 0
    keys = fill(wide, 33)
    assert merge_small(wide) == 33
    assert set(large) < set(wide.list_shards())
    assert rows_of(wide, keys) == list(range(66))


def test_rows_keep_the_order_of_the_shards(cache):
    """Pictures that were coded together lie together."""
    fill(cache, 33)
    before = np.concatenate([load_table(path, cache.spec).keys for path in cache.list_shards()])
    merge_small(cache)
    (merged,) = cache.list_shards()
    np.testing.assert_array_equal(load_table(merged, cache.spec).keys, before)


@pytest.mark.parametrize("first", ["float16", "float32"])
def test_rows_of_both_dtypes_keep_every_bit(tmp_path, spec, first):
    half = dataclasses.replace(spec, precision="bf16")
    cache = CodeCache(tmp_path, half)
    codes = np.random.default_rng(0).random((40, spec.dim), np.float32)
    dtypes = ["float16", "float32"] if first == "float16" else ["float32", "float16"]
    for i, row in enumerate(codes):
        cache.publish(np.frombuffer(key_of(i), "S16"), row[None], dtype=dtypes[i % 2])
    keys = [key_of(i) for i in range(40)]
    before = cache.read(keys)
    assert merge_small(cache) == 40
    np.testing.assert_array_equal(CodeCache(tmp_path, half).read(keys), before)
