"""A process that writes, reads or merges in a cache until it is told, or killed.

    python tests/store/worker.py write|read|merge ROOT SEED N

No torch, no pictures: the row of key i is filled with i. Each line on stdout is a number of a row
that is announced as stored ("write"), or that was read right ("read").
"""

from __future__ import annotations

import hashlib
import random
import sys

import numpy as np

from tlfeatures.errors import StoreError
from tlfeatures.store import CodeCache, CodeSpec

DIM = 8
SPEC = CodeSpec("fake", "ab12cd", "mean", "avg", DIM, {"resize": 256})


def key_of(number: int) -> bytes:
    """The key of a row."""
    return hashlib.blake2b(b"%d" % number, digest_size=16).digest()


def write(cache: CodeCache, seed: int, n: int) -> None:
    """Write the rows that are missing, in an order of one's own, some a shard."""
    order = list(range(n))
    random.Random(seed).shuffle(order)
    rows_per_shard = 1 + seed % 5
    pending: list[int] = []

    def announce(n_rows: int) -> None:
        for number in pending[:n_rows]:
            print(number, flush=True)
        del pending[:n_rows]

    with cache.writer(rows_per_shard=rows_per_shard, announce=announce) as writer:
        for start in range(0, n, 7):
            some = order[start : start + 7]
            cache.refresh()
            there = cache.find([key_of(number) for number in some])
            missing = [number for number, is_there in zip(some, there, strict=True) if not is_there]
            for number in missing:
                pending.append(number)
                writer.append([key_of(number)], np.full((1, DIM), number, np.float32))


def read(cache: CodeCache, n: int) -> None:
    """Read what is there, over and over; a wrong row ends the process with 3."""
    keys, found = [key_of(number) for number in range(n)], 0
    while found < n:
        cache.refresh()
        numbers = np.flatnonzero(cache.find(keys))
        rows = cache.read([keys[number] for number in numbers])
        if not (rows == numbers[:, None]).all():
            sys.exit(3)
        if len(numbers) < found:
            sys.exit(4)  # a row that was there has gone
        found = len(numbers)
    print(found, flush=True)


def merge(cache: CodeCache, n: int) -> None:
    """Merge small shards, over and over, until every row is there."""
    from tlfeatures.store._merge import merge_small

    while len(cache.index()) < n:
        merge_small(cache, most_small=3)
        cache.refresh()
    merge_small(cache, most_small=1)


def main() -> None:
    """Do what the words say."""
    what, root, seed, n = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    cache = CodeCache(root, SPEC)
    print("ready", flush=True)
    try:
        if what == "write":
            write(cache, seed, n)
        elif what == "read":
            read(cache, n)
        else:
            merge(cache, n)
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(5)


if __name__ == "__main__":
    main()
