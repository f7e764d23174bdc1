"""The store against a dictionary: any order of put, get, reopen, merge, gc, crash, repair."""

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.store.conftest import DIM, key_of
from tlfeatures.store import (
    CodeCache,
    CodeSpec,
    cache_info,
    gc_cache,
    merge_caches,
    repair_cache,
    verify_cache,
)
from tlfeatures.store._merge import merge_small

SPEC = CodeSpec("fake", "ab", "mean", "avg", DIM, {})
NUMBERS = st.lists(st.integers(0, 60), min_size=1, max_size=12)


class Crash(BaseException):
    """The process dies here."""


class Store(RuleBasedStateMachine):
    """`model` is what was announced: number of a key -> the values its row may have."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="store-model-"))
        self.cache = CodeCache(self.root / "cache", SPEC)
        self.model = {}
        self.n_broken = 0

    def teardown(self):
        shutil.rmtree(self.root, ignore_errors=True)

    @rule(numbers=NUMBERS, rows_per_shard=st.integers(1, 6))
    def put(self, numbers, rows_per_shard):
        with self.cache.writer(rows_per_shard=rows_per_shard) as writer:
            writer.append([key_of(n) for n in numbers], rows_of(numbers))
        for number in numbers:
            self.model[number] = number

    @rule(numbers=NUMBERS, after=st.integers(0, 3))
    def crash_while_writing(self, numbers, after):
        """Only what was announced before the crash must be there; more may be."""
        announced = []

        def announce(n_rows):
            announced.append(n_rows)
            if len(announced) > after:
                raise Crash

        writer = self.cache.writer(rows_per_shard=2, announce=announce)
        with contextlib.suppress(Crash):
            writer.append([key_of(n) for n in numbers], rows_of(numbers))
        for number in numbers[: sum(announced)]:
            self.model[number] = number
        self.cache = CodeCache(self.root / "cache", SPEC)

    @rule()
    def reopen(self):
        self.cache = CodeCache(self.root / "cache", SPEC)

    @rule(most_small=st.integers(1, 4))
    def merge_shards(self, most_small):
        merge_small(self.cache, most_small)
        self.cache.refresh()

    @rule(most_small=st.integers(1, 4), after=st.integers(0, 5))
    def crash_while_merging(self, most_small, after):
        unlink, done = Path.unlink, []

        def unlink_some(path, missing_ok=False):
            if path.suffix == ".h5" and len(done) >= after:
                raise Crash
            done.append(path)
            unlink(path, missing_ok)

        Path.unlink = unlink_some
        try:
            merge_small(self.cache, most_small)
        except Crash:
            pass
        finally:
            Path.unlink = unlink
        self.cache = CodeCache(self.root / "cache", SPEC)

    @rule(numbers=NUMBERS)
    def take_another_cache(self, numbers):
        other = CodeCache(self.root / f"other{time.time_ns()}", SPEC)
        with other.writer(rows_per_shard=4) as writer:
            writer.append([key_of(n) for n in numbers], rows_of(numbers))
        merge_caches(self.cache.root, other.root)
        self.cache.refresh()
        for number in numbers:
            self.model[number] = number

    @precondition(lambda self: self.model)
    @rule(is_old=st.booleans())
    def collect(self, is_old):
        """A folder used of late stays; an old one goes whole."""
        if is_old:
            for path in (self.cache.folder / "meta.json", self.cache.folder):
                os.utime(path, (1, 1))
        gc_cache(self.cache.root, keep_days=1)
        if is_old:
            self.model = {}
            assert not self.cache.folder.exists()
        self.cache = CodeCache(self.root / "cache", SPEC)

    @precondition(lambda self: self.model)
    @rule(choice=st.integers(0, 10**6), place=st.floats(0, 0.999), bit=st.integers(0, 7))
    def damage_and_repair(self, choice, place, bit):
        """Only rows of the damaged shard may go, and only if no other shard has them."""
        shards = self.cache.list_shards()
        path = shards[choice % len(shards)]
        with h5py.File(path) as shard:
            held = {bytes(key) for key in shard["keys"][()]}
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 1 << bit
        path.write_bytes(data)
        assert [p.path for p in verify_cache(self.cache.root).problems] == [path]
        repair_cache(self.cache.root)
        self.cache = CodeCache(self.root / "cache", SPEC)
        numbers = list(self.model)
        found = self.cache.find([key_of(n) for n in numbers])
        for number, there in zip(numbers, found, strict=True):
            if not there:
                assert key_of(number) in held
                del self.model[number]

    @invariant()
    def every_announced_row_is_served_right_and_once(self):
        numbers = sorted(self.model)
        rows = self.cache.read([key_of(n) for n in numbers])
        assert rows[:, 0].tolist() == [float(n) for n in numbers] if numbers else len(rows) == 0
        index = self.cache.index()
        assert len(index) == len(set(index))

    @invariant()
    def the_files_are_whole(self):
        assert verify_cache(self.cache.root).problems == []
        assert sum(f.rows for f in cache_info(self.cache.root)) >= len(self.model)


def rows_of(numbers):
    return np.repeat(np.array(numbers, np.float32)[:, None], DIM, axis=1)


TestStore = Store.TestCase
TestStore.settings = settings(
    max_examples=12,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


class LongStore(Store):
    """The same for `make torture`."""


TestLongStore = LongStore.TestCase
TestLongStore.settings = settings(TestStore.settings, max_examples=300, stateful_step_count=40)
TestLongStore.pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_every_part_of_the_spec_changed_alone_misses(filled, keys, rows):
    from tests.store.test_store_spec import CHANGES

    for field, value in CHANGES.items():
        other = CodeCache(filled.root, dataclasses.replace(filled.spec, **{field: value}))
        assert not other.find(keys).any(), field
    for name in filled.spec.preprocessing:
        changed = {**filled.spec.preprocessing, name: "changed"}
        other = CodeCache(filled.root, dataclasses.replace(filled.spec, preprocessing=changed))
        assert not other.find(keys).any(), name
