"""Codes and what is made of them: a matrix on the disk, an export, an account of the cache."""

import dataclasses
import json
import multiprocessing
import pickle
import tracemalloc

import h5py
import numpy as np
import pytest

from tlfeatures.errors import StoreError
from tlfeatures.store import CodeCache, Codes, CodeSpec, cache_info, cache_totals, export_codes


@pytest.fixture
def codes(make_codes):
    return make_codes(labels=["cat", "dog"] * 10)


def test_codes_say_their_shape_without_reading(cache, keys):
    codes = Codes(cache, keys, [""] * 20)
    assert codes.shape == (20, 8)
    assert codes.ndim == 2
    assert len(codes) == 20
    assert codes.dtype == np.float32
    assert codes.spec is cache.spec
    assert codes.labels is None
    assert "shape=(20, 8)" in repr(codes)


ONE_ROW = [0, -1, np.int64(3), (2, 5)]
SEVERAL_ROWS = [slice(2, 9), slice(None, None, -3), [4, 4, 1], [], np.arange(20) % 3 == 0, ...]
WITH_COLUMNS = [(slice(1, 3), ...), ([3, 1], ...), (slice(4), slice(2)), (..., 3)]


@pytest.mark.parametrize("index", [*ONE_ROW, *SEVERAL_ROWS, *WITH_COLUMNS], ids=str)
def test_codes_are_indexed_like_an_array(codes, rows, index):
    expected = rows[np.array(index, int) if isinstance(index, list) else index]
    got = codes[index]
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("index", [20, [0, -21], [0.5], (0, [1, 2]), [[1, 2]], "a", None])
def test_an_index_that_chooses_no_rows_is_an_error(codes, index):
    with pytest.raises(IndexError):
        codes[index]


def test_chunks_and_iteration_give_every_row_in_order(codes, rows):
    chunks = list(codes.iter_chunks(rows=7))
    assert [len(chunk) for chunk in chunks] == [7, 7, 6]
    np.testing.assert_array_equal(np.concatenate(chunks), rows)
    np.testing.assert_array_equal(list(codes), rows)
    with pytest.raises(ValueError, match="at least one row"):
        next(codes.iter_chunks(rows=0))


def test_codes_become_an_array_of_any_dtype_but_not_without_a_copy(codes, rows):
    np.testing.assert_array_equal(np.asarray(codes), rows)
    assert np.asarray(codes, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="without a copy"):
        codes.__array__(copy=False)


def test_keys_paths_and_labels_must_agree_in_length(cache, keys):
    with pytest.raises(ValueError, match="20 keys, 1 paths and no labels"):
        Codes(cache, keys, ["a"])
    with pytest.raises(ValueError, match="20 paths and 3 labels"):
        Codes(cache, keys, [""] * 20, ["a"] * 3)


def test_codes_are_read_in_a_spawned_process(codes, rows):
    copied = pickle.loads(pickle.dumps(codes))
    assert (copied.keys, copied.paths, copied.labels) == (codes.keys, codes.paths, codes.labels)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(np.asarray, (codes,)), rows)


def test_an_export_holds_everything_in_the_order_of_the_pictures(codes, keys, rows, tmp_path):
    out = export_codes(codes, tmp_path / "new" / "codes.h5", rows_per_chunk=6)
    with h5py.File(out, "r") as file:
        np.testing.assert_array_equal(file["codes"][:], rows)
        assert file["codes"].dtype == np.float32
        assert [key.tobytes() for key in file["keys"][:]] == keys
        assert file["paths"].asstr()[:].tolist() == codes.paths
        assert file["labels"].asstr()[:].tolist() == codes.labels
        assert json.loads(file.attrs["spec"]) == codes.spec.to_json()
        assert file.attrs["format_version"] == 1
    assert [path.name for path in out.parent.iterdir()] == ["codes.h5"]


def test_paths_of_any_bytes_go_through_an_export(make_codes, tmp_path):
    paths = ["ascii", "größe/猫.png", b"caf\xe9.png".decode("utf-8", "surrogateescape"), ""] * 5
    out = export_codes(make_codes(paths=paths, labels=[None, "ä"] * 10), tmp_path / "codes.h5")
    with h5py.File(out, "r") as file:
        assert file["paths"].asstr(errors="surrogateescape")[:].tolist() == paths
        assert file["paths"][2] == b"caf\xe9.png"
        assert file["labels"].asstr()[:2].tolist() == ["", "ä"]


def test_an_export_of_many_rows_and_long_paths_is_whole(cache, tmp_path):
    keys = [b"%016d" % number for number in range(30_000)]
    values = np.random.default_rng(0).standard_normal((30_000, 8), dtype=np.float32)
    with cache.writer() as writer:
        writer.append(keys, values)
    paths = [f"{'folder/' * 10}{number}.png" for number in range(30_000)]
    out = export_codes(Codes(cache, keys, paths), tmp_path / "codes.h5")
    with h5py.File(out, "r") as file:
        np.testing.assert_array_equal(file["codes"][:], values)
        assert file["paths"].asstr()[:].tolist() == paths
        assert "labels" not in file


def test_no_rows_can_be_exported(cache, tmp_path):
    out = export_codes(Codes(cache, [], []), tmp_path / "codes.h5")
    with h5py.File(out, "r") as file:
        assert file["codes"].shape == (0, 8)
        assert file["keys"].shape == (0, 16)


def test_an_export_that_fails_leaves_the_old_file(codes, tmp_path):
    out = export_codes(codes, tmp_path / "codes.h5")
    before = out.read_bytes()
    codes.keys[-1] = b"x" * 16
    with pytest.raises(StoreError, match="not in"):
        export_codes(codes, out)
    assert out.read_bytes() == before
    assert not list(tmp_path.glob(".tmp-*"))


def test_cache_info_counts_rows_shards_and_bytes_of_every_spec(filled, keys, rows):
    other = CodeCache(filled.root, dataclasses.replace(filled.spec, backbone="alexnet"))
    with other.writer() as writer:
        writer.append(keys[:3], rows[:3])
    (filled.root / "memo").mkdir()
    (filled.root / ".trash-1").mkdir()
    first, second = cache_info(filled.root)
    assert (first.spec, first.rows, first.shards) == (other.spec, 3, 1)
    assert (second.spec, second.rows, second.shards) == (filled.spec, 20, 4)
    assert second.folder == filled.folder
    assert second.bytes == sum(path.stat().st_size for path in filled.folder.iterdir())
    assert cache_totals([first, second]) == (23, first.bytes + second.bytes)


def test_cache_info_goes_on_over_damage(filled):
    (filled.folder / "meta.json").write_text("{")
    (filled.folder / "zzz.h5").write_text("no shard")
    (entry,) = cache_info(filled.root)
    assert (entry.spec, entry.rows, entry.shards) == (filled.spec, 20, 5)
    for path in filled.folder.glob("*.h5"):
        path.write_bytes(b"")
    (entry,) = cache_info(filled.root)
    assert (entry.spec, entry.rows) == (None, 0)


def test_no_cache_is_an_empty_one(tmp_path):
    assert cache_info(tmp_path / "absent") == []
    assert cache_totals([]) == (0, 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot read"):
        cache_info(tmp_path / "file")


def test_reading_takes_memory_for_what_was_asked_for_not_for_the_cache(tmp_path):
    spec = CodeSpec("wide", "ab", "fc7", "avg", 2048, {})
    cache, keys = CodeCache(tmp_path, spec), [b"%016d" % number for number in range(4000)]
    with cache.writer(rows_per_shard=1000) as writer:
        for start in range(0, 4000, 500):
            writer.append(keys[start : start + 500], np.full((500, 2048), start, np.float32))
    codes = Codes(cache, keys)  # 33 MB
    assert codes[0, 0] == 0  # the keys of the shards are read once
    for read, limit in (
        (lambda: codes[1200:1300], 100 * 8192),
        (lambda: codes[np.arange(0, 4000, 40)], 100 * 8192 + (9 << 20)),
        (lambda: [float(chunk.sum()) for chunk in codes.iter_chunks()], 3 * (8 << 20)),
    ):
        tracemalloc.start()
        read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit + (1 << 20)
