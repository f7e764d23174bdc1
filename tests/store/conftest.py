"""A small spec, keys and codes that the store's tests share."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from tlfeatures.store import CodeCache, Codes, CodeSpec

DIM = 8


def key_of(number):
    return hashlib.blake2b(b"%d" % number, digest_size=16).digest()


@pytest.fixture
def spec():
    return CodeSpec("resnet18", "ab12cd", "flatten", "avg", DIM, {"resize": 256, "crop": 224})


@pytest.fixture
def cache(tmp_path, spec):
    return CodeCache(tmp_path / "cache", spec)


@pytest.fixture
def keys():
    return [key_of(number) for number in range(20)]


@pytest.fixture
def rows():
    """Row i is filled with i, so that a wrong row is seen at once."""
    return np.repeat(np.arange(20, dtype=np.float32)[:, None], DIM, axis=1)


@pytest.fixture
def filled(cache, keys, rows):
    with cache.writer(rows_per_shard=6) as writer:
        writer.append(keys, rows)
    return cache


@pytest.fixture
def run_python():
    """Run Python code in a fresh process; return the finished process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def run(code, *arguments, check=True):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stderr
        return done

    run.environment = environment
    return run


@pytest.fixture
def make_codes(filled, keys):
    """Make `Codes` over the filled cache, with given paths and labels."""

    def make(paths=None, labels=None):
        paths = [f"{number}.png" for number in range(20)] if paths is None else paths
        return Codes(filled, keys, paths, labels)

    return make
