"""A store of each format version still opens; float16 is stored where it was asked for and fits."""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.store.conftest import key_of
from tlfeatures.store import CodeCache, Codes, cache_info, export_codes, verify_cache
from tlfeatures.store.shards import _shard
from tlfeatures.store.shards._shard import READABLE

FORMATS = Path(__file__).with_name("formats")


def test_every_version_that_was_written_is_kept_here_and_can_be_read():
    assert sorted(path.name for path in FORMATS.iterdir()) == [f"v{n}" for n in READABLE]


@pytest.mark.parametrize("version", READABLE)
def test_a_store_of_each_version_gives_its_rows(version, keys, rows):
    for folder in cache_info(FORMATS / f"v{version}"):
        cache = CodeCache(FORMATS / f"v{version}", folder.spec)
        np.testing.assert_array_equal(cache.read(keys), rows)
        assert folder.rows == 20
    assert not verify_cache(FORMATS / f"v{version}").problems


def test_the_second_version_also_holds_probes_and_bad_pictures(spec):
    cache = CodeCache(FORMATS / "v2", spec)
    assert cache.read_probes().made_with == {"torch": "2.15"}
    assert cache.read_bad() == {key_of(99): "truncated: image file is truncated"}


def test_rows_of_both_versions_live_in_one_folder(tmp_path, spec, keys, rows):
    old = CodeCache(FORMATS / "v1", spec)
    cache = CodeCache(tmp_path, spec)
    cache.publish(np.frombuffer(b"".join(keys[:5]), "S16"), rows[:5])
    for path in old.list_shards():
        (cache.folder / path.name).write_bytes(path.read_bytes())
    cache.refresh()
    np.testing.assert_array_equal(cache.read(keys), rows)


def stored_dtypes(cache):
    found = []
    for path in cache.list_shards():
        with h5py.File(path) as shard:
            found.append(shard["codes"].dtype.name)
    return found


@pytest.mark.parametrize(
    ("precision", "asked", "dtype"),
    [
        ("float32", None, "float32"),
        ("bf16", None, "float16"),
        ("fp16", None, "float16"),
        ("bf16", "float32", "float32"),
        ("float32", "float32", "float32"),
    ],
)
def test_half_precision_classes_are_stored_in_half(tmp_path, spec, keys, precision, asked, dtype):
    cache = CodeCache(tmp_path, dataclasses.replace(spec, precision=precision), asked)
    values = np.random.default_rng(0).random((20, spec.dim), np.float32)
    with cache.writer() as writer:
        writer.append(keys, values)
    assert stored_dtypes(cache) == [dtype]
    found = CodeCache(tmp_path, cache.spec).read(keys)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=0 if dtype == "float32" else 2**-11)


def test_rows_beyond_the_range_of_float16_are_stored_in_float32(tmp_path, spec, keys, rows):
    cache = CodeCache(tmp_path, dataclasses.replace(spec, precision="bf16"))
    large = rows.copy()
    large[3, 2] = 70_000.0
    with cache.writer() as writer:
        writer.append(keys, large)
    assert stored_dtypes(cache) == ["float32"]
    np.testing.assert_array_equal(cache.read(keys), large)


HALF = 2**-11  # what float16 may change, relative to a row's length


def relative_error(found, codes):
    """||a - b|| / ||b|| of each row, in float64."""
    a, b = np.asarray(found, float), np.asarray(codes, float)
    return np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("asked", [None, "float16"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("scale", [10.0**power for power in range(-45, 39, 4)])
def test_rows_of_any_size_come_back_as_near_as_float16_is(
    tmp_path, spec, keys, precision, asked, scale
):
    """float16 alone loses 2 % of values of 1e-6, and 98 % of those of 1e-8."""
    half = dataclasses.replace(spec, precision=precision)
    cache = CodeCache(tmp_path, half, asked)
    codes = np.random.default_rng(0).normal(size=(20, spec.dim)) * scale
    codes = np.where(codes == 0, scale, codes).astype(np.float32)
    codes[~codes.any(axis=1)] = np.finfo(np.float32).smallest_subnormal
    with cache.writer() as writer:
        writer.append(keys, codes)
    assert relative_error(CodeCache(tmp_path, half).read(keys), codes).max() <= HALF
    is_safe = 1e-3 <= scale <= 1e4
    assert (stored_dtypes(cache) == ["float16"]) == is_safe


@pytest.mark.parametrize("tiny", [1e-6, 1e-8, 3e-8, 1e-40])
def test_one_tiny_row_among_large_ones_keeps_its_digits(tmp_path, spec, keys, rows, tiny):
    cache = CodeCache(tmp_path, dataclasses.replace(spec, precision="bf16"))
    codes = rows + 1
    codes[7] = tiny * np.linspace(1, 2, spec.dim)
    with cache.writer() as writer:
        writer.append(keys, codes)
    assert stored_dtypes(cache) == ["float32"]
    np.testing.assert_array_equal(cache.read(keys), codes)


def test_tiny_values_beside_large_ones_of_the_same_row_need_no_float32(tmp_path, spec, keys, rows):
    """What they lose is nothing of the row's length; rows of zeros lose nothing."""
    cache = CodeCache(tmp_path, dataclasses.replace(spec, precision="bf16"))
    codes = rows.copy()
    codes[:, 1::2] *= np.float32(1e-9)
    codes[1] = 0
    with cache.writer() as writer:
        writer.append(keys, codes)
    assert stored_dtypes(cache) == ["float16"]
    found = cache.read(keys)
    assert relative_error(found[2:], codes[2:]).max() <= HALF
    assert not found[:2].any()


def test_every_row_of_a_large_shard_is_looked_at(tmp_path, monkeypatch, spec, keys, rows):
    """Also the last one of a block, and of the last block."""
    monkeypatch.setattr(_shard, "_BLOCK_BYTES", 8 * spec.dim * 3)
    for i in range(20):
        codes = rows + 1
        codes[i] = 1e-7
        assert _shard.as_stored(codes, "float16").dtype == np.float32
    assert _shard.as_stored(rows + 1, "float16").dtype == np.float16


def test_merging_and_exporting_keep_the_digits_of_tiny_rows(tmp_path, spec):
    cache = CodeCache(tmp_path / "c", dataclasses.replace(spec, precision="bf16"))
    codes = np.random.default_rng(0).random((40, spec.dim), np.float32) + 1
    codes[::3] *= np.float32(1e-7)
    for i, row in enumerate(codes):
        cache.publish(np.frombuffer(key_of(i), "S16"), row[None])
    assert sorted(set(stored_dtypes(cache))) == ["float16", "float32"]
    keys = [key_of(i) for i in range(40)]
    before = cache.read(keys)
    assert relative_error(before, codes).max() <= HALF
    cache.merge_small_shards()
    assert stored_dtypes(cache) == ["float32"]
    np.testing.assert_array_equal(CodeCache(cache.root, cache.spec).read(keys), before)
    export_codes(Codes(cache, keys), tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["codes"][:], before)


def test_merging_shards_of_float16_changes_no_bit_even_of_what_is_lost_already(
    tmp_path, spec, monkeypatch
):
    """Shards of earlier versions, whose tiny rows are a multiple of 6e-8 each."""
    cache = CodeCache(tmp_path, dataclasses.replace(spec, precision="fp16"))
    with monkeypatch.context() as patch:
        patch.setattr(_shard, "_is_near", lambda halves, codes: True)
        for i in range(40):
            tiny = np.full((1, spec.dim), 1e-7 * i, np.float32)
            cache.publish(np.frombuffer(key_of(i), "S16"), tiny)
    keys = [key_of(i) for i in range(40)]
    before = cache.read(keys)
    assert len(np.unique(before)) > 30
    cache.merge_small_shards()
    assert stored_dtypes(cache) == ["float16"]
    np.testing.assert_array_equal(cache.read(keys), before)


def test_a_dtype_that_is_unknown_or_too_coarse_is_refused(tmp_path, spec):
    with pytest.raises(ValueError, match="float32, float16"):
        CodeCache(tmp_path, dataclasses.replace(spec, precision="bf16"), "int8")
    with pytest.raises(ValueError, match=r"codes of float32 choose one of float32\."):
        CodeCache(tmp_path, spec, "float16")


def test_a_damaged_row_of_float16_is_never_served(tmp_path, spec, keys, rows):
    cache = CodeCache(tmp_path, dataclasses.replace(spec, precision="fp16"))
    with cache.writer() as writer:
        writer.append(keys, rows)
    (path,) = cache.list_shards()
    with h5py.File(path) as shard:
        offset = shard["codes"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="does not match its checksum"):
        CodeCache(tmp_path, cache.spec).read(keys)


def test_the_documents_name_the_version_that_is_written(filled):
    text = (Path(__file__).parents[2] / "docs" / "cache-format.md").read_text()
    meta = json.loads((filled.folder / "meta.json").read_text())
    assert f"format version {meta['format_version']}" in text.splitlines()[0]
