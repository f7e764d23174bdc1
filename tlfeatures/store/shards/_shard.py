"""The shard: one immutable HDF5 file of codes, keys and a checksum per row."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
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
FORMAT_VERSION = 2  # what is written; what is read is in READABLE
READABLE = (1, 2)
KEY_BYTES = 16
DTYPES = ("float32", "float16")
ROUNDING = 2**-11  # of a row's length: what float16 changes at most where it has all its bits
_BLOCK_BYTES = 4 << 20
_NOT_THE_FILE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # so that a key with swapped halves has another seed

Float32Array = npt.NDArray[np.float32]
Keys = npt.NDArray[np.bytes_]  # of shape (n,), dtype S16: compares as 16 bytes, zeros included


@dataclasses.dataclass(frozen=True)
class ShardTable:
    """What is kept in memory of a shard, so that its rows can be read by plain file reads.

    Attributes
    ----------
    path : Path
    version : int
        Of the format.
    keys : ndarray of shape (n,), dtype S16
    checksums : ndarray of shape (n,), uint64
    dim : int
    dtype : {"float32", "float16"}
        Of the stored values.
    offset : int
        Where the codes begin, in bytes.
    """

    path: Path
    version: int
    keys: Keys
    checksums: npt.NDArray[np.uint64]
    dim: int
    dtype: str
    offset: int

    @property
    def row_bytes(self) -> int:
        """The length of a stored row."""
        return self.dim * np.dtype(self.dtype).itemsize


def as_keys(keys: Sequence[bytes] | Keys) -> Keys:
    """Return keys as an array of shape (n,), dtype S16; such an array as it is.

    Raises
    ------
    ValueError
        If a key has not 16 bytes.
    """
    if isinstance(keys, np.ndarray) and keys.dtype == f"S{KEY_BYTES}":
        return keys
    for length in set(map(len, keys)) - {KEY_BYTES}:
        raise ValueError(f"a key has {length} bytes, expected {KEY_BYTES}.")
    return np.frombuffer(b"".join(keys), dtype=f"S{KEY_BYTES}")


def row_checksums(
    keys: Keys, codes: npt.NDArray[Any], version: int = FORMAT_VERSION
) -> npt.NDArray[np.uint64]:
    """Checksums over key and row bytes.

    Version 2: XXH3 (64 bits) over the row, seeded with the key's first half plus the second times
    an odd constant. Version 1: XXH3 over key and row.

    Parameters
    ----------
    keys : ndarray of shape (n,), dtype S16
    codes : ndarray of shape (n, d), float32 or float16, as stored
    version : int

    Returns
    -------
    ndarray of shape (n,), uint64
    """
    rows = np.ascontiguousarray(codes, codes.dtype.newbyteorder("<")).view(np.uint8)
    if version == 1:
        key_bytes = keys.view(np.uint8).reshape(len(keys), KEY_BYTES)
        pairs = zip(key_bytes, rows, strict=True)
        sums = [xxhash.xxh3_64_intdigest(key.tobytes() + row.tobytes()) for key, row in pairs]
        return np.array(sums, dtype=np.uint64)
    halves = np.ascontiguousarray(keys).view("<u8").reshape(len(keys), 2)
    seeds = (halves[:, 0] + halves[:, 1] * _SPREAD).tolist()
    digest = xxhash.xxh3_64_intdigest
    return np.array([digest(*pair) for pair in zip(rows, seeds, strict=True)], dtype=np.uint64)


def shard_bytes(
    spec: CodeSpec,
    keys: Keys,
    codes: Float32Array,
    dtype: str = "float32",
    replaces: Sequence[str] = (),
) -> bytes:
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
    dtype : {"float32", "float16"}
        How they are stored; where float16 would change a row by more than 2^-11 of its length,
        float32 is taken whatever is asked for.
    replaces : sequence of str
        Names of the shards whose rows were merged into this one.
    """
    stored = as_stored(codes, dtype)
    names = np.frombuffer(
        b"".join(bytes.fromhex(n.removesuffix(".h5")) for n in replaces), np.uint8
    )
    # version 1.8 of the format has checksums over HDF5's own structures, the default has none
    options = {"driver": "core", "backing_store": False, "block_size": 1 << 20}
    name = temporary_name(".h5")  # HDF5 tells files in memory apart by their names
    with h5py.File(name, "w", libver=("v108", "v108"), **options) as file:
        _write_text(file, "format", FORMAT)
        file.attrs["format_version"] = np.int64(FORMAT_VERSION)
        _write_text(file, "spec", spec.text)
        file["codes"] = stored
        file["keys"] = keys.view(np.uint8).reshape(len(keys), KEY_BYTES)
        file["checksums"] = row_checksums(keys, stored).astype("<u8", copy=False)
        file["replaces"] = np.frombuffer(names, np.uint8).reshape(len(replaces), KEY_BYTES)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def as_stored(codes: Float32Array, dtype: str) -> npt.NDArray[Any]:
    """The rows in little endian of that dtype; float32 where float16 would lose more than it may.

    Parameters
    ----------
    codes : ndarray of shape (n, d), float32
    dtype : {"float32", "float16"}
    """
    if dtype == "float16":
        with np.errstate(over="ignore"):
            halves = codes.astype("<f2")
        if _is_near(halves, codes):
            return halves
    return codes.astype("<f4", copy=False)


def _is_near(halves: npt.NDArray[Any], codes: Float32Array) -> bool:
    """Whether each row (n, d) is nearer than `ROUNDING` of its length to what it was made of.

    Values below 6e-5 have fewer bits in float16, those below 3e-8 none; beside large ones of the
    same row that does not matter.
    """
    rows = max(1, _BLOCK_BYTES // (8 * codes.shape[1]))
    for start in range(0, len(codes), rows):
        exact = codes[start : start + rows].astype(float)  # in float32 tiny squares would vanish
        apart = halves[start : start + rows] - exact
        lost, whole = (np.einsum("ij,ij->i", each, each) for each in (apart, exact))
        if not (lost <= ROUNDING**2 * whole).all():  # so that infinity is far, too
            return False
    return True


def shard_name(data: bytes) -> str:
    """Return the file name of a shard: a digest of its bytes, 32 hexadecimal characters."""
    return hashlib.blake2b(data, digest_size=KEY_BYTES).hexdigest() + ".h5"


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
        version = check_header(file, path, spec)
        codes = _check_datasets(file, path, spec, version)
        keys = np.ascontiguousarray(file["keys"][()]).view(f"S{KEY_BYTES}").reshape(len(codes))
        checksums = np.asarray(file["checksums"][()], dtype=np.uint64)
        offset = codes.id.get_offset() or 0  # None where there are no rows
        return ShardTable(path, version, keys, checksums, spec.dim, codes.dtype.name, offset)


def read_replaced(path: Path) -> list[str]:
    """Return the names of the shards that were merged into this one.

    Raises
    ------
    FileNotFoundError, StoreCorruptError
        If the file has gone, or is no shard.
    """
    with _opened(path) as file:
        if "replaces" not in file:
            return []
        return [f"{bytes(row).hex()}.h5" for row in file["replaces"][()]]


def count_rows(path: Path) -> int:
    """Return the number of rows of a shard, reading only its header.

    Raises
    ------
    FileNotFoundError, StoreCorruptError
        If the file has gone, or is no shard.
    """
    with _opened(path) as file:
        return len(file["codes"])


def check_header(file: Any, path: Path, spec: CodeSpec) -> int:
    """Return the format version; raise unless the file is a shard of this spec.

    Raises
    ------
    StoreCorruptError
        If it is no shard, or of another spec.
    StoreFormatError
        If its version is unknown.
    """
    if _read_text(file, "format") != FORMAT:
        raise corrupt(path, "is an HDF5 file, but no shard of codes")
    version = int(file.attrs["format_version"])
    check_version(version, path)
    try:
        theirs = CodeSpec.from_json(json.loads(_read_text(file, "spec")))
    except StoreFormatError as error:
        raise StoreFormatError(f"{path}: {error}") from error
    if theirs != spec:
        raise corrupt(path, f"holds codes of another spec ({'; '.join(theirs.diff(spec))})")
    return version


def check_version(version: Any, path: Path) -> None:
    """Raise unless this program can read that version of the format.

    Raises
    ------
    StoreFormatError
    """
    if version not in READABLE:
        raise StoreFormatError(
            f"{path} has format version {version}, this tlfeatures knows "
            f"{' and '.join(map(str, READABLE))}; update tlfeatures, or choose another folder in "
            "`cache`."
        )


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
def naming_errors(path: Path) -> Iterator[None]:
    """Every failure inside becomes an error that names the file."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        number = _error_number(error)
        # HDF5 does not always say why: the file may have gone between two of its own calls.
        if number in GONE or not os.path.lexists(path):
            raise FileNotFoundError(errno.ENOENT, "the shard has gone", str(path)) from error
        if number in _NOT_THE_FILE:
            raise read_error(path, error) from error
        raise corrupt(path, f"cannot be read as HDF5 ({_first_line(error)})") from error
    except Exception as error:  # a damaged header makes h5py raise nearly anything
        raise corrupt(path, f"is no shard of codes ({_first_line(error)})") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a shard for one call."""
    # no handle outlives the call, so that nothing is shared across a fork
    with naming_errors(path), h5py.File(path, "r", locking=False) as file:
        yield file


def _check_datasets(file: Any, path: Path, spec: CodeSpec, version: int) -> Any:
    """The dataset of codes, after the shapes and types of all."""
    codes = file["codes"]
    n_rows = len(codes)
    dtype = np.dtype(np.float32) if version == 1 else codes.dtype
    expected = {
        "codes": ((n_rows, spec.dim), dtype),
        "keys": ((n_rows, KEY_BYTES), np.uint8),
        "checksums": ((n_rows,), np.uint64),
    }
    for name, (shape, kind) in expected.items():
        if file[name].shape != shape or file[name].dtype != kind or dtype.name not in DTYPES:
            raise corrupt(path, f"has {name} of shape {file[name].shape}, {file[name].dtype}")
    if codes.chunks is not None or codes.id.get_create_plist().get_external_count():
        raise corrupt(path, "has codes that are not in one piece")
    last = (codes.id.get_offset() or 0) + n_rows * spec.dim * dtype.itemsize
    if max(last, n_rows * (KEY_BYTES + 8)) > os.stat(path).st_size:
        raise corrupt(path, f"is too short for {n_rows} rows")
    return codes


def corrupt(path: Path, what: str) -> StoreCorruptError:
    """The error of a damaged shard, with what to do."""
    return StoreCorruptError(
        f"{path} {what}; run 'tlfeatures cache verify --repair', which moves it aside, and run "
        "again: their pictures are coded anew."
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
