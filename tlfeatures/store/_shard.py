"""The shard: one immutable HDF5 file of codes, keys and a checksum per row."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xxhash

from tlfeatures.errors import StoreCorruptError, StoreError, StoreFormatError
from tlfeatures.store._files import GONE, read_error, temporary_name
from tlfeatures.store._spec import CodeSpec

FORMAT = "tlfeatures-codes"
FORMAT_VERSION = 1
KEY_BYTES = 16
BLOCK_BYTES = 8 << 20  # the longest single read
_NOT_THE_FILE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM)
GAP_BYTES = 256 << 10  # unwanted bytes that are read rather than starting another read

Float32Array = npt.NDArray[np.float32]
Keys = npt.NDArray[np.bytes_]  # of shape (n,), dtype S16: compares as 16 bytes, zeros included


@dataclasses.dataclass(frozen=True)
class ShardTable:
    """What is kept in memory of a shard: its keys of shape (n,) and checksums of shape (n,)."""

    path: Path
    keys: Keys
    checksums: npt.NDArray[np.uint64]


def as_keys(keys: Sequence[bytes]) -> Keys:
    """Return keys as an array of shape (n,), dtype S16.

    Raises
    ------
    ValueError
        If a key has not 16 bytes.
    """
    for key in keys:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {len(key)} bytes, expected {KEY_BYTES}.")
    return np.frombuffer(b"".join(bytes(key) for key in keys), dtype=f"S{KEY_BYTES}")


def row_checksums(keys: Keys, codes: Float32Array) -> npt.NDArray[np.uint64]:
    """Return xxh3_64 over key and row bytes (little endian), of shape (n,), uint64."""
    key_bytes = keys.view(np.uint8).reshape(len(keys), KEY_BYTES)
    row_bytes = np.ascontiguousarray(codes, dtype="<f4").view(np.uint8)
    sums = np.empty(len(keys), dtype=np.uint64)
    for number, (key, row) in enumerate(zip(key_bytes, row_bytes, strict=True)):
        digest = xxhash.xxh3_64(key.data)
        digest.update(row.data)
        sums[number] = digest.intdigest()
    return sums


def shard_bytes(spec: CodeSpec, keys: Keys, codes: Float32Array) -> bytes:
    """Return the bytes of a shard file, the same for the same rows.

    The file is made in memory and written by plain calls: HDF5 meeting a full disk while it
    closes a file leaves handles that cannot be closed.

    Parameters
    ----------
    spec : CodeSpec
        What the rows are.
    keys : ndarray of shape (n,), dtype S16
        The row keys.
    codes : ndarray of shape (n, d), float32
        The rows.
    """
    # version 1.8 of the format has checksums over HDF5's own structures, the default has none
    options = {"driver": "core", "backing_store": False, "block_size": 1 << 20}
    name = temporary_name(".h5")  # HDF5 tells files in memory apart by their names
    with h5py.File(name, "w", libver=("v108", "v108"), **options) as file:
        _write_text(file, "format", FORMAT)
        file.attrs["format_version"] = np.int64(FORMAT_VERSION)
        _write_text(file, "spec", spec.text)
        file["codes"] = codes.astype("<f4", copy=False)
        file["keys"] = keys.view(np.uint8).reshape(len(keys), KEY_BYTES)
        file["checksums"] = row_checksums(keys, codes).astype("<u8", copy=False)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def shard_name(data: bytes) -> str:
    """Return the file name of a shard: a digest of its bytes, 32 hexadecimal characters."""
    return hashlib.blake2b(data, digest_size=16).hexdigest() + ".h5"


def load_table(path: Path, spec: CodeSpec) -> ShardTable:
    """Read the keys and checksums of a shard.

    Raises
    ------
    FileNotFoundError
        If the file has gone since it was listed.
    StoreCorruptError
        If it is no shard, is damaged or belongs to another spec.
    StoreFormatError
        If its format version is unknown.
    """
    with _opened(path) as file:
        check_header(file, path, spec)
        n_rows = _check_datasets(file, path, spec)
        keys = np.ascontiguousarray(file["keys"][()]).view(f"S{KEY_BYTES}").reshape(n_rows)
        checksums = np.asarray(file["checksums"][()], dtype=np.uint64)
    return ShardTable(path, keys, checksums)


def count_rows(path: Path) -> int:
    """Return the number of rows of a shard, reading only its header.

    Raises
    ------
    FileNotFoundError, StoreCorruptError
        If the file has gone, or is no shard.
    """
    with _opened(path) as file:
        return len(file["codes"])


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
    row_bytes = out.shape[1] * 4
    with _opened(table.path) as file:
        codes = file["codes"]
        for first, last in plan_blocks(rows, row_bytes):
            start = int(rows[first])
            block = np.asarray(codes[start : int(rows[last - 1]) + 1], dtype=np.float32)
            picked = rows[first:last]
            chosen = block[picked - start]
            _check_rows(table, picked, chosen)
            out[places[first:last]] = chosen


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


def check_header(file: Any, path: Path, spec: CodeSpec) -> None:
    """Raise unless the file is a shard of this version and of this spec.

    Raises
    ------
    StoreCorruptError
        If it is no shard, or of another spec.
    StoreFormatError
        If its version is unknown.
    """
    if _read_text(file, "format") != FORMAT:
        raise _corrupt(path, "is an HDF5 file, but no shard of codes")
    version = int(file.attrs["format_version"])
    if version != FORMAT_VERSION:
        raise StoreFormatError(
            f"{path} has format version {version}, this tlfeatures knows {FORMAT_VERSION}; "
            "update tlfeatures, or choose another folder with --cache."
        )
    try:
        theirs = CodeSpec.from_json(json.loads(_read_text(file, "spec")))
    except StoreFormatError as error:
        raise StoreFormatError(f"{path}: {error}") from error
    if theirs != spec:
        raise _corrupt(path, f"holds codes of another spec ({'; '.join(theirs.diff(spec))})")


def read_spec(path: Path) -> CodeSpec:
    """Return the spec that a shard names in its header.

    Raises
    ------
    FileNotFoundError, StoreCorruptError, StoreFormatError
        If the file has gone, is no shard or of another version.
    """
    with _opened(path) as file:
        return CodeSpec.from_json(json.loads(_read_text(file, "spec")))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a shard for one call; every failure inside becomes an error that names the file."""
    try:
        # no handle outlives the call, so that nothing is shared across a fork
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except StoreError:
        raise
    except OSError as error:
        number = _error_number(error)
        if number in GONE:
            raise FileNotFoundError(errno.ENOENT, "the shard has gone", str(path)) from error
        if number in _NOT_THE_FILE:
            raise read_error(path, error) from error
        raise _corrupt(path, f"cannot be read as HDF5 ({_first_line(error)})") from error
    except Exception as error:  # a damaged header makes h5py raise nearly anything
        raise _corrupt(path, f"is no shard of codes ({_first_line(error)})") from error


def _check_datasets(file: Any, path: Path, spec: CodeSpec) -> int:
    n_rows = len(file["codes"])
    expected = {
        "codes": ((n_rows, spec.dim), np.float32),
        "keys": ((n_rows, KEY_BYTES), np.uint8),
        "checksums": ((n_rows,), np.uint64),
    }
    for name, (shape, dtype) in expected.items():
        if file[name].shape != shape or file[name].dtype != dtype:
            raise _corrupt(path, f"has {name} of shape {file[name].shape}, {file[name].dtype}")
    if n_rows * (spec.dim * 4 + KEY_BYTES + 8) > path.stat().st_size:
        raise _corrupt(path, f"is too short for {n_rows} rows")
    return n_rows


def _check_rows(table: ShardTable, rows: npt.NDArray[np.intp], codes: Float32Array) -> None:
    bad = np.flatnonzero(row_checksums(table.keys[rows], codes) != table.checksums[rows])
    if len(bad):
        raise _corrupt(table.path, f"is damaged: row {rows[bad[0]]} does not match its checksum")


def _corrupt(path: Path, what: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"{path} {what}; delete that file and run again: its pictures are coded anew."
    )


def _first_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:200] or type(error).__name__


def _error_number(error: OSError) -> int | None:
    if error.errno:
        return error.errno
    told = re.search(r"errno = (\d+)", str(error))  # reads inside HDF5 only say it in words
    return int(told[1]) if told else None


def _write_text(file: Any, name: str, text: str) -> None:
    data = text.encode()
    # fixed length stays in the header; variable text would go to a heap without checksum
    file.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))


def _read_text(file: Any, name: str) -> str:
    text = file.attrs.get(name, "")
    return text.decode() if isinstance(text, bytes) else str(text)
