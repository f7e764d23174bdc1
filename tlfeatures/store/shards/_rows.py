"""Rows of a shard: read by blocks with plain file reads, each checked against its checksum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from tlfeatures.store.shards._shard import (
    Float32Array,
    ShardTable,
    corrupt,
    naming_errors,
    row_checksums,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

BLOCK_BYTES = 8 << 20  # the longest single read
GAP_BYTES = 256 << 10  # unwanted bytes that are read rather than starting another read


def read_rows(
    table: ShardTable, rows: npt.NDArray[np.intp], out: Float32Array, places: npt.NDArray[np.intp]
) -> None:
    """Read rows of a shard by blocks and check each against its checksum.

    Parameters
    ----------
    table : ShardTable
        The shard.
    rows : ndarray of shape (m,), int
        Row numbers, ascending; duplicates are allowed.
    out : ndarray of shape (n, d), float32
        Where they go.
    places : ndarray of shape (m,), int
        The row of `out` each one goes to.

    Raises
    ------
    FileNotFoundError
        If the file has gone since it was listed.
    StoreCorruptError
        If a row does not match its checksum.
    """
    with naming_errors(table.path), open(table.path, "rb", buffering=0) as file:
        for first, last in plan_blocks(rows, table.row_bytes):
            picked, target = rows[first:last], places[first:last]
            is_run = _is_run(picked)
            is_direct = is_run and _is_run(target) and table.dtype == "float32"
            if is_direct:
                block: npt.NDArray[Any] = out[target[0] : target[-1] + 1]
            else:
                block = np.empty((int(picked[-1] - picked[0]) + 1, table.dim), table.dtype)
            _read_into(file, table, int(picked[0]), block)
            found = block if is_run else block[picked - picked[0]]
            _refuse_damaged(table, picked, found)
            if not is_direct:
                out[target] = found


def iter_rows(table: ShardTable) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[Any]]]:
    """Yield row numbers and rows as stored, block by block, each checked.

    Raises
    ------
    FileNotFoundError, StoreCorruptError
    """
    for rows, block in read_blocks(table):
        _refuse_damaged(table, rows, block)
        yield rows, block


def read_blocks(table: ShardTable) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[Any]]]:
    """Yield row numbers and rows as stored, block by block, unchecked.

    Raises
    ------
    FileNotFoundError, StoreCorruptError
    """
    every = np.arange(len(table.keys))
    with naming_errors(table.path), open(table.path, "rb", buffering=0) as file:
        for first, last in plan_blocks(every, table.row_bytes):
            block = np.empty((last - first, table.dim), table.dtype)
            _read_into(file, table, first, block)
            yield every[first:last], block


def is_whole(
    table: ShardTable, rows: npt.NDArray[np.intp], codes: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Say which of these rows, as stored, match their checksums; of shape (m,)."""
    found = row_checksums(table.keys[rows], codes, table.version)
    matches: npt.NDArray[np.bool_] = found == table.checksums[rows]
    return matches


def plan_blocks(rows: npt.NDArray[np.intp], row_bytes: int) -> list[tuple[int, int]]:
    """Return which stretches of the ascending `rows` are read together, as (first, last + 1).

    Neighbours at most `GAP_BYTES` apart share a block of at most `BLOCK_BYTES`; so the number
    of reads is bounded by the size of the shard, however many rows are asked for.
    """
    longest = max(1, BLOCK_BYTES // row_bytes)
    gap = max(1, GAP_BYTES // row_bytes)
    blocks: list[tuple[int, int]] = []
    first = 0
    while first < len(rows):
        last = int(np.searchsorted(rows, rows[first] + longest, side="left"))
        jumps = np.flatnonzero(np.diff(rows[first:last]) > gap)
        if len(jumps):
            last = first + int(jumps[0]) + 1
        blocks.append((first, last))
        first = last
    return blocks


def _is_run(numbers: npt.NDArray[np.intp]) -> bool:
    """Whether they go up one by one."""
    return bool(len(numbers) and (np.diff(numbers) == 1).all())


def _read_into(file: BinaryIO, table: ShardTable, start: int, block: npt.NDArray[Any]) -> None:
    """Fill the block with stored rows, beginning with row `start`."""
    view = memoryview(cast("Buffer", block)).cast("B")
    file.seek(table.offset + start * table.row_bytes)
    done = 0
    while done < len(view):
        n_read = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not n_read:
            raise corrupt(table.path, f"is too short for {len(table.keys)} rows")
        done += n_read


def _refuse_damaged(table: ShardTable, rows: npt.NDArray[np.intp], codes: npt.NDArray[Any]) -> None:
    bad = np.flatnonzero(~is_whole(table, rows, codes))
    if len(bad):
        raise corrupt(table.path, f"is damaged: row {rows[bad[0]]} does not match its checksum")
