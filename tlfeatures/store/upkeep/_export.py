"""Codes as one plain HDF5 file for other programs."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tlfeatures._targets import expand, writing
from tlfeatures.errors import StoreError
from tlfeatures.store._codes import Codes
from tlfeatures.store._files import write_error
from tlfeatures.store.shards._shard import KEY_BYTES

EXPORT_FORMAT = "tlfeatures-export"
EXPORT_VERSION = 1


def export_codes(codes: Codes, out: str | os.PathLike[str], *, rows_per_chunk: int = 4096) -> Path:
    """Write codes, keys, paths and labels to one HDF5 file, chunk by chunk.

    Datasets: `codes` of shape (n, d), float32; `keys` of shape (n, 16), uint8; where there are
    any, `paths` and `labels` of shape (n,), UTF-8 text (bytes of a file name that are not
    UTF-8 stay as they are: read them with `asstr(errors="surrogateescape")`). Attributes:
    `format`, `format_version`, `spec` (JSON).

    Parameters
    ----------
    codes : Codes
        What to write.
    out : path
        The file; one that is there is replaced, its folder is made if need be.
    rows_per_chunk : int
        How many rows are in memory at a time.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If the file does not fit on the disk or cannot be written, or a row cannot be read; nothing
        is then left behind.
    """
    path = expand(out)
    rest = _size_of_rest(codes)
    try:
        with writing(path) as temporary:
            whole = rest + codes.shape[0] * codes.shape[1] * 4
            _check_space(temporary, whole)
            _try_space(temporary, rest, whole)
            _write_all(codes, temporary, rows_per_chunk)
    except StoreError:
        raise
    except OSError as error:
        raise write_error(path, error, "or choose another file, and run again.") from error
    return path


def _check_space(path: Path, n_bytes: int) -> None:
    """Refuse what does not fit beside an older file, which stays until the new one is whole."""
    if shutil.disk_usage(path.parent).free < n_bytes:
        raise OSError(errno.ENOSPC, f"the file takes {n_bytes / 1e6:.1f} MB")


def _size_of_rest(codes: Codes) -> int:
    """Bytes that all but the codes take, at most: what HDF5 keeps beside each text included."""
    texts = (text for column in (codes.paths, codes.labels) for text in column or ())
    n_bytes = sum(len(_as_utf8(text)) + 64 for text in texts)
    return 2**16 + KEY_BYTES * len(codes) + n_bytes * 5 // 4


def _try_space(path: Path, n_written: int, n_bytes: int) -> None:
    """Make a new file as long as it will be, once: HDF5 2.0 crashes where a disk or quota ends.

    Only what HDF5 writes itself is filled.
    """
    with path.open("xb") as file:
        for start in range(0, n_written, 2**20):
            file.write(bytes(min(2**20, n_written - start)))
        file.truncate(n_bytes)


def _write_rest(codes: Codes, path: Path) -> int:
    """Write the file with everything but the codes; where these go in it."""
    with h5py.File(path, "w") as file:
        file.attrs["format"] = EXPORT_FORMAT
        file.attrs["format_version"] = EXPORT_VERSION
        file.attrs["spec"] = codes.spec.text
        keys = np.frombuffer(b"".join(codes.keys), dtype=np.uint8)
        file["keys"] = keys.reshape(len(codes), KEY_BYTES)
        if codes.paths is not None:
            _write_texts(file, "paths", codes.paths)
        if codes.labels is not None:
            _write_texts(file, "labels", ["" if name is None else name for name in codes.labels])
        return _reserve_codes(file, codes.shape)


def _write_all(codes: Codes, path: Path, rows_per_chunk: int) -> None:
    """The codes are written by Python: its errors end no process."""
    offset = _write_rest(codes, path)
    with path.open("r+b") as file:
        file.seek(offset)
        for block in codes.iter_chunks(rows_per_chunk):
            file.write(block.astype("<f4", copy=False).data)


def _reserve_codes(file: Any, shape: tuple[int, int]) -> int:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(file.id, b"codes", h5py.h5t.IEEE_F32LE, space, dcpl=plan)
    return dataset.get_offset() or 0  # None where there are no rows


def _write_texts(file: Any, name: str, texts: Sequence[str]) -> None:
    values = np.empty(len(texts), dtype=object)
    values[:] = [_as_utf8(text) for text in texts]
    file.create_dataset(name, data=values, dtype=h5py.string_dtype("utf-8"))


def _as_utf8(text: object) -> bytes:
    return str(text).encode("utf-8", "surrogateescape")
