"""Many processes, and processes that are killed: no announced row lost, none wrong, none twice.

Short forms here; the long ones by `make torture`. The rows come from `worker.py`, without torch.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.store.worker import SPEC, key_of
from tlfeatures.store import CodeCache, verify_cache
from tlfeatures.store.shards._shard import load_table

ROOT = Path(__file__).parents[2]
WORKER = [sys.executable, str(Path(__file__).with_name("worker.py"))]
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")


def start(what, root, seed, n):
    words = [*WORKER, what, str(root), str(seed), str(n)]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def check_all(root, n):
    """Every row of 0 .. n-1 is there, right, and served once; the files are whole."""
    found = verify_cache(root)
    assert not found.problems
    cache = CodeCache(root, SPEC)
    assert len(cache.index()) == len(set(cache.index())) == n
    rows = cache.read([key_of(number) for number in range(n)])
    np.testing.assert_array_equal(rows, np.repeat(np.arange(n, dtype=np.float32)[:, None], 8, 1))


def kill_at_random(root, seed, n, what="write"):
    """Start a worker, kill it at a random moment (start-up included); the rows it announced."""
    child = start(what, root, seed, n)
    chance = random.Random(seed)
    if chance.random() < 0.8:  # most often after it has begun to work
        child.stdout.readline()
        time.sleep(chance.random() * 0.15)
    else:
        time.sleep(chance.random() * 0.2)
    child.kill()
    out, _ = child.communicate()
    return [int(line) for line in out.splitlines() if line.isdigit()]


def killed_and_resumed(root, seeds, n):
    for seed in seeds:
        announced = kill_at_random(root, seed, n)
        assert not verify_cache(root).problems
        cache = CodeCache(root, SPEC)
        rows = cache.read([key_of(number) for number in announced])
        np.testing.assert_array_equal(rows[:, 0], np.array(announced, np.float32))
    finish([start("write", root, 0, n)])
    check_all(root, n)


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_writer_loses_nothing_that_was_announced_and_resumes(tmp_path, seed):
    killed_and_resumed(tmp_path, [seed, seed + 100], 120)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_kills(tmp_path):
    for round_ in range(20):
        killed_and_resumed(tmp_path / str(round_), range(10 * round_, 10 * round_ + 10), 600)


def killed_while_merging(root, seeds, n):
    cache = CodeCache(root, SPEC)
    for number in range(n):
        cache.publish(np.frombuffer(key_of(number), "S16"), np.full((1, 8), number, np.float32))
    for seed in seeds:
        kill_at_random(root, seed, 10**6, "merge")
        check_all(root, n)
        for number in range(0, n, 2):  # small shards anew, for the next one to merge
            cache.publish(np.frombuffer(key_of(number), "S16"), np.full((1, 8), number, np.float32))


def test_a_kill_while_merging_loses_no_row(tmp_path):
    killed_while_merging(tmp_path, range(4), 60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_kills_while_merging_lose_no_row(tmp_path):
    killed_while_merging(tmp_path, range(60), 400)


def finish(children):
    """Wait for all; each must have ended well."""
    ended = [(child.communicate(timeout=240)[1], child.returncode) for child in children]
    assert [code for _, code in ended] == [0] * len(children), [words for words, _ in ended]


def all_at_once(root, n_writers, n_readers, n):
    children = [start("write", root, seed, n) for seed in range(n_writers)]
    children += [start("read", root, seed, n) for seed in range(n_readers)]
    finish([*children, start("merge", root, 0, n)])
    check_all(root, n)


def test_writers_readers_and_a_merger_at_once(tmp_path):
    all_at_once(tmp_path, 3, 1, 100)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("round_", range(3))
def test_eight_writers_three_readers_and_a_merger_at_once(tmp_path, round_):
    all_at_once(tmp_path, 8, 3, 1500)


def test_two_hosts_that_share_only_the_folder(tmp_path):
    """Two processes with other host names; neither sees the other's memory."""
    code = (
        "import platform, runpy, sys\nplatform.node = lambda: sys.argv.pop(1)\n"
        f"name = platform.node()\nplatform.node = lambda: name\n"
        f"runpy.run_path({WORKER[1]!r}, run_name='__main__')"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, host, "write", str(tmp_path), str(seed), "80"],
            stdout=subprocess.PIPE, cwd=ROOT,
        )
        for seed, host in enumerate(("one", "two"))
    ]  # fmt: skip
    finish(children)
    check_all(tmp_path, 80)


def test_a_folder_that_vanishes_while_it_is_written_to_is_made_again(tmp_path):
    child = start("write", tmp_path, 3, 400)
    child.stdout.readline()
    time.sleep(0.1)
    shutil.rmtree(tmp_path / SPEC.folder_name, ignore_errors=True)
    _, errors = child.communicate(timeout=60)
    assert child.returncode in (0, 5), errors  # gone in the middle of a listing: said in a line
    assert not verify_cache(tmp_path).problems
    finish([start("write", tmp_path, 4, 400)])
    check_all(tmp_path, 400)


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 256 KiB; the test is skipped where mounting is refused."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting is refused here; RLIMIT_FSIZE and ENOSPC are tested elsewhere")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up_keeps_what_was_announced_and_goes_on_with_room(small_disk):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(128 << 10))
    child = start("write", small_disk, 0, 60)
    out, errors = child.communicate(timeout=60)
    announced = [int(line) for line in out.splitlines() if line.isdigit()]
    assert child.returncode == 5
    assert "make room" in errors
    assert not verify_cache(small_disk).problems
    assert not list(small_disk.rglob(".tmp-*"))
    rows = CodeCache(small_disk, SPEC).read([key_of(number) for number in announced])
    np.testing.assert_array_equal(rows[:, 0], np.array(announced, np.float32))
    filler.unlink()
    # Merging makes room too: 60 small files become one.
    for _ in range(3):
        again = start("write", small_disk, 4, 60)
        again.communicate(timeout=60)
        if again.returncode == 0:
            break
    check_all(small_disk, 60)


def test_merged_shards_hold_every_key_of_what_they_replaced(tmp_path):
    finish([start("write", tmp_path, seed, 150) for seed in (0, 5)])
    cache = CodeCache(tmp_path, SPEC)
    keys = set().union(*(load_table(p, SPEC).keys.tolist() for p in cache.list_shards()))
    assert len(keys) == 150
