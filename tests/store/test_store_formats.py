"""A store of each format version still opens; float16 is stored where it was asked for and fits."""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.store.conftest import key_of
from tlfeatures.store import CodeCache, cache_info, verify_cache
from tlfeatures.store._shard import READABLE

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
