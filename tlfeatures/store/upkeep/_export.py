"""Codes as one plain HDF5 file for other programs."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from tlfeatures._targets import expand, writing
from tlfeatures.errors import StoreError
from tlfeatures.store._cache import CodeCache
from tlfeatures.store._codes import Codes
from tlfeatures.store._files import write_error
from tlfeatures.store._shard import KEY_BYTES
from tlfeatures.store.upkeep._info import find_folder

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
        If the file cannot be written, or a row cannot be read; nothing is then left behind.
    """
    path = expand(out)
    skeleton, offset = _make_skeleton(codes)
    try:
        with writing(path) as temporary, temporary.open("xb") as file:
            skeleton.copy_to(file)
            file.seek(offset)
            for block in codes.iter_chunks(rows_per_chunk):
                file.write(block.astype("<f4", copy=False).data)
    except StoreError:
        raise
    except OSError as error:
        raise write_error(path, error, "or choose another file, and run again.") from error
    return path


def export_folder(
    root: str | os.PathLike[str], words: str, out: str | os.PathLike[str]
) -> tuple[int, int]:
    """Write all codes of one spec to one HDF5 file, sorted by key; returns their shape.

    Parameters
    ----------
    root : path
        The cache folder.
    words : str
        Which codes; see `find_folder`.
    out : path

    Raises
    ------
    StoreError
        If there is no such folder, a row is damaged, or the file cannot be written.
    """
    _, spec = find_folder(root, words)
    cache = CodeCache(root, spec)
    codes = Codes(cache, cache.index())
    export_codes(codes, out)
    return codes.shape


class _SparseFile(io.RawIOBase):
    """A file in memory that keeps only the pages written to.

    HDF5 never meets the disk itself: when that is full, h5py 3.16 crashes while it closes.
    """

    _PAGE = 1 << 16

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._place = 0
        self._size = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}
        self._place = starts[whence] + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        return self._size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        for inside, page, stretch in self._stretches(len(view)):
            view[inside] = self._pages.get(page, bytearray(self._PAGE))[stretch]
        self._place += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for inside, page, stretch in self._stretches(len(view)):
            self._pages.setdefault(page, bytearray(self._PAGE))[stretch] = view[inside]
        self._place += len(view)
        self._size = max(self._size, self._place)
        return len(view)

    def copy_to(self, file: BinaryIO) -> None:
        """Write what is kept to a real file, as long as this one."""
        for page in sorted(self._pages):
            file.seek(page * self._PAGE)
            file.write(self._pages[page])
        file.truncate(self._size)

    def _stretches(self, length: int) -> Iterator[tuple[slice, int, slice]]:
        done = 0
        while done < length:
            page, start = divmod(self._place + done, self._PAGE)
            part = min(length - done, self._PAGE - start)
            yield slice(done, done + part), page, slice(start, start + part)
            done += part


def _make_skeleton(codes: Codes) -> tuple[_SparseFile, int]:
    """Return the file with everything but the codes, and where these go in it."""
    skeleton = _SparseFile()
    with h5py.File(skeleton, "w") as file:
        file.attrs["format"] = EXPORT_FORMAT
        file.attrs["format_version"] = EXPORT_VERSION
        file.attrs["spec"] = codes.spec.text
        keys = np.frombuffer(b"".join(codes.keys), dtype=np.uint8)
        file["keys"] = keys.reshape(len(codes), KEY_BYTES)
        if codes.paths is not None:
            _write_texts(file, "paths", codes.paths)
        if codes.labels is not None:
            _write_texts(file, "labels", ["" if name is None else name for name in codes.labels])
        offset = _reserve_codes(file, codes.shape)
    return skeleton, offset


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
    values[:] = [str(text).encode("utf-8", "surrogateescape") for text in texts]
    file.create_dataset(name, data=values, dtype=h5py.string_dtype("utf-8"))
