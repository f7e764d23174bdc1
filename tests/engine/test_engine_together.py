"""Eight processes extract overlapping folders into one cache, while another reads and merges."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import draw_pattern
from tlfeatures import CNNCodes
from tlfeatures.backbones import BackboneRequest
from tlfeatures.extraction import RunOptions, resolve
from tlfeatures.store import CodeCache, verify_cache
from tlfeatures.store._merge import merge_small

N_PICTURES, N_PROCESSES = 240, 8


@pytest.mark.slow
def test_processes_that_extract_overlapping_folders_lose_and_mix_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"{i:03}.png" for i in range(N_PICTURES)]
    for i, name in enumerate(names):
        draw_pattern("disks", 40 + i % 50, rng).save(tmp_path / name)
    children = []
    for i in range(N_PROCESSES):  # each half of the pictures, begun elsewhere
        some = np.roll(names, -i * N_PICTURES // N_PROCESSES)[: N_PICTURES // 2]
        manifest = tmp_path / f"{i}.csv"
        manifest.write_text("\n".join(["path", *some]))
        words = ["extract", str(manifest), "--backbone", "embedded", "--batch-size", "8"]
        command = [sys.executable, "-m", "tlfeatures", *words, "--cache", str(tmp_path / "c")]
        children.append(subprocess.Popen([*command, "--quiet"], stdout=subprocess.PIPE, text=True))
    spec = resolve(BackboneRequest("embedded"), RunOptions(tmp_path / "c")).specs[0]
    cache, n_before = CodeCache(tmp_path / "c", spec), 0
    while any(child.poll() is None for child in children):
        cache.refresh()
        assert len(cache.read(cache.index())) >= n_before
        n_before = len(cache.index())
        merge_small(cache, most_small=2)
    for child in children:
        out, _ = child.communicate()
        assert child.returncode == 0, out
    assert verify_cache(tmp_path / "c").problems == []
    paths = [str(tmp_path / name) for name in names]
    done = CNNCodes("embedded", cache=tmp_path / "c").extract(paths)
    assert (done.computed, done.cached, done.bad) == (0, N_PICTURES, [])
    expected = CNNCodes("embedded", cache=tmp_path / "alone").transform(paths)
    error = np.linalg.norm(np.asarray(done.codes) - expected, axis=1)
    assert (error <= 1e-5 * np.linalg.norm(expected, axis=1)).all()
