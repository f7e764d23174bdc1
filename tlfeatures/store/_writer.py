"""The writer: rows on their way to the disk, published as immutable shards."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tlfeatures.errors import StoreError
from tlfeatures.store._files import sweep_temporary
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store.shards._shard import Float32Array, Keys, as_keys

_logger = logging.getLogger(__name__)


class Publisher(Protocol):
    """Where a writer's shards go: in the program a `CodeCache`."""

    spec: CodeSpec
    folder: Path

    def publish(self, keys: Keys, codes: Float32Array) -> Path:
        """Write one shard; when this returns, its rows are on the disk."""

    def merge_small_shards(self) -> int:
        """Merge small shards, if there are many."""


class ShardWriter:
    """Rows on their way to the disk; made by `CodeCache.writer`.

    Rows are published as a shard when enough have come together or waited long enough, at
    `flush`, and at the end of the `with` statement, also when an exception ends it. Small shards
    are merged, if there are many, when the statement begins and when it ends.
    """

    def __init__(
        self,
        cache: Publisher,
        rows_per_shard: int,
        seconds_per_shard: float,
        announce: Callable[[int], None] | None,
    ) -> None:
        self._cache = cache
        self._rows_per_shard = rows_per_shard
        self._seconds_per_shard = seconds_per_shard
        self._announce = announce
        self._pending: list[tuple[Keys, Float32Array]] = []
        self._n_pending = 0
        self._oldest = 0.0
        self._last_append = time.monotonic()
        self._is_open = True
        sweep_temporary(cache.folder)

    @property
    def n_pending(self) -> int:
        """The number of rows that are not yet on the disk."""
        return self._n_pending

    def append(self, keys: Sequence[bytes], codes: npt.ArrayLike) -> None:
        """Take rows; they are copied, and published with those that come after.

        Parameters
        ----------
        keys : sequence of b keys of 16 bytes
        codes : array-like of shape (b, d), float32

        Raises
        ------
        ValueError
            If shapes or keys do not fit, or a row holds NaN or infinity.
        StoreError
            If a shard that became due cannot be written, or the writer is closed.
        """
        if not self._is_open:
            raise StoreError("this writer is closed; open another with CodeCache.writer().")
        rows = as_keys(keys)
        values = self._check_codes(rows, codes)
        start = 0
        while start < len(rows):
            start += self._take(rows[start:], values[start:])
        now, last = time.monotonic(), self._last_append
        self._last_append = now
        # Where the next rows will be long in coming, those that are here do not wait for them.
        waited = max(now - self._oldest, now - last)
        if self._pending and waited >= self._seconds_per_shard:
            self.flush()

    def flush(self) -> None:
        """Publish the rows that wait; when this returns, every row appended is on the disk.

        Raises
        ------
        StoreError
            If they cannot be written; they stay waiting.
        """
        if not self._pending:
            return
        keys = np.concatenate([part for part, _ in self._pending])
        codes = np.concatenate([part for _, part in self._pending])
        self._cache.publish(keys, codes)
        self._pending, self._n_pending = [], 0
        if self._announce is not None:
            self._announce(len(keys))

    def __enter__(self) -> ShardWriter:
        self._merge()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.flush()
        except StoreError as flaw:
            if error is None:
                raise
            _logger.warning("%d rows were not stored: %s", self.n_pending, flaw)
        finally:
            self._is_open = False
        if error is None:
            self._merge()

    def _merge(self) -> None:
        try:
            self._cache.merge_small_shards()
        except OSError as error:  # merging only saves time
            _logger.warning("small shards were not merged: %s", error)

    def _take(self, keys: Keys, codes: Float32Array) -> int:
        if self.n_pending >= self._rows_per_shard:  # the disk was full, and may be no longer
            self.flush()
        if not self._pending:
            self._oldest = time.monotonic()
        n_taken = min(len(keys), self._rows_per_shard - self.n_pending)
        self._pending.append((keys[:n_taken], codes[:n_taken]))
        self._n_pending += n_taken
        if self.n_pending >= self._rows_per_shard:
            self.flush()
        return n_taken

    def _check_codes(self, keys: Keys, codes: npt.ArrayLike) -> Float32Array:
        values = np.array(codes, dtype=np.float32, order="C")
        expected = (len(keys), self._cache.spec.dim)
        if values.shape != expected:
            raise ValueError(
                f"codes have shape {values.shape}, expected {expected} for {len(keys)} keys of "
                f"layer {self._cache.spec.layer}; pass one row a key."
            )
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{len(bad)} of {len(values)} codes hold NaN or infinity (first: row {bad[0]}); "
                "codes must be finite: try `precision='float32'`, or look at these pictures."
            )
        return values
