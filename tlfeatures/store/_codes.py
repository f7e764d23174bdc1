"""Codes of a list of pictures, read from the cache when they are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tlfeatures.store._cache import CodeCache
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store.shards._shard import Float32Array, as_keys

CHUNK_BYTES = 8 << 20


class Codes:
    """An (n, d) float32 matrix that lies in the cache; works as scikit-learn's X.

    Parameters
    ----------
    cache : CodeCache
        Where the rows are.
    keys : sequence of n keys of 16 bytes
        Which rows, in which order; duplicates are allowed.
    paths : sequence of n str, optional
        The picture each row belongs to.
    labels : sequence of n str, optional
        Its label.

    Raises
    ------
    ValueError
        If keys, paths and labels differ in length.
    """

    ndim = 2

    def __init__(
        self,
        cache: CodeCache,
        keys: Sequence[bytes],
        paths: Sequence[str] | None = None,
        labels: Sequence[str | None] | None = None,
    ) -> None:
        self.cache = cache
        self.keys = list(keys)
        self.paths = None if paths is None else list(paths)
        self.labels = None if labels is None else list(labels)
        counts = {"paths": paths, "labels": labels}
        if any(texts is not None and len(texts) != len(self.keys) for texts in counts.values()):
            shown = (f"{'no' if t is None else len(t)} {name}" for name, t in counts.items())
            raise ValueError(
                f"{len(self.keys)} keys, {' and '.join(shown)}; pass one of each a row."
            )

    @property
    def spec(self) -> CodeSpec:
        """Which numbers these are."""
        return self.cache.spec

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows and the width of a row."""
        return len(self.keys), self.spec.dim

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Always float32."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"Codes(shape={self.shape}, {self.spec.backbone}, {self.spec.layer})"

    def __getitem__(self, index: Any) -> Float32Array:
        """Read rows: an int gives shape (d,); a slice, integers or a mask give (m, d).

        Raises
        ------
        IndexError
            If a row number is out of range, or columns are chosen by an array.
        StoreError
            If a row is missing or damaged.
        """
        if isinstance(index, tuple):
            return self._read_tuple(index)
        rows = np.arange(len(self))[_as_index(index)]
        if rows.ndim > 1:
            raise IndexError(f"rows are chosen by {rows.ndim}-d index; pass a 1-d one.")
        block = self.cache.read([self.keys[row] for row in np.atleast_1d(rows)])
        return block if rows.ndim else block[0]

    def __iter__(self) -> Iterator[Float32Array]:
        for block in self.iter_chunks():
            yield from block

    def iter_chunks(self, rows: int | None = None) -> Iterator[Float32Array]:
        """Yield blocks of shape (at most `rows`, d), float32, in order.

        Parameters
        ----------
        rows : int, optional
            Default: as many as 8 MB hold.

        Raises
        ------
        ValueError
            If `rows` is below 1.
        """
        rows = max(1, CHUNK_BYTES // (4 * self.spec.dim)) if rows is None else rows
        if rows < 1:
            raise ValueError(f"rows is {rows}; a chunk has at least one row.")
        keys = as_keys(self.keys)
        for start in range(0, len(self), rows):
            yield self.cache.read(keys[start : start + rows])

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        """Read all rows, of shape (n, d).

        Raises
        ------
        ValueError
            If `copy` is False: the rows lie on the disk.
        """
        if copy is False:
            raise ValueError("codes lie on the disk: they cannot be had without a copy.")
        values = self.cache.read(self.keys)
        return values if dtype is None else values.astype(dtype, copy=False)

    def _read_tuple(self, index: tuple[Any, ...]) -> Float32Array:
        if not index or index[0] is Ellipsis:
            index = (slice(None), *index[1:])
        if not all(isinstance(part, slice | int) or part is Ellipsis for part in index[1:]):
            raise IndexError("columns are chosen by int or slice; use codes[rows][:, columns].")
        block = self[index[0]]
        rest = index[1:] if block.ndim == 1 else (slice(None), *index[1:])
        chosen: Float32Array = block[rest]
        return chosen


def _as_index(index: Any) -> Any:
    if index is Ellipsis:
        return slice(None)
    if isinstance(index, slice | int):
        return index
    array = np.asarray(index)
    return array if array.size else array.astype(np.intp)  # [] is float64
