"""The cache of one code spec: rows looked up, read, and appended as immutable shards."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlfeatures._targets import expand
from tlfeatures.errors import StoreError
from tlfeatures.store._files import is_gone, publish_bytes, write_error
from tlfeatures.store._folder import list_shards, make_folder
from tlfeatures.store._merge import merge_small
from tlfeatures.store._meta import META_NAME, check_meta
from tlfeatures.store._probes import (
    PROBES_NAME,
    NothingToCompareError,
    Probes,
    check_comparable,
    read_probes,
    write_probes,
)
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store._writer import ShardWriter
from tlfeatures.store.memory._bad import publish_bad, read_bad
from tlfeatures.store.shards._index import Index
from tlfeatures.store.shards._shard import (
    DTYPES,
    Float32Array,
    Keys,
    as_keys,
    load_table,
    shard_bytes,
    shard_name,
)

_SHARD_BYTES, _SHARD_ROWS = 64 << 20, 4096
_MARK_EVERY_S = 60.0
_TRIES = 40  # how often a folder that others change meanwhile is listed or made again
_PAUSE_S = 0.001  # longer each time: 0.8 s in all


class CodeCache:
    """The stored codes of one spec; the folder is made by the first write.

    Instances hold no open file: they may be pickled, and used after a fork.

    Parameters
    ----------
    root : path
        The cache folder that holds one folder a spec.
    spec : CodeSpec
        Which numbers these are.
    store_dtype : {"float32", "float16"}, optional
        How new rows are stored. Default: float16 for half-precision classes; codes of float32 are
        always stored so, since rounding would exceed their tolerance. Rows that float16 would
        change by more than 2^-11 of their length, being too large or too small for it, are stored
        as float32 too, with those of the same shard; reading gives float32 always.
    what : str, optional
        Whose codes these are, in words for people; kept in meta.json by whoever makes the folder.

    Attributes
    ----------
    folder : Path
        Where this spec's shards lie.

    Raises
    ------
    ValueError
        If `store_dtype` is none of these, or too coarse for the spec's precision.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        spec: CodeSpec,
        store_dtype: str | None = None,
        what: str | None = None,
    ) -> None:
        choices = DTYPES[:1] if spec.precision == "float32" else DTYPES
        if store_dtype not in (None, *choices):
            raise ValueError(
                f"store_dtype is {store_dtype!r}; for codes of {spec.precision} choose one of "
                f"{', '.join(choices)}."
            )
        self.root = expand(root)
        self.spec = spec
        self.what = what
        self.folder = self.root / spec.folder_name
        self.store_dtype = store_dtype or choices[-1]
        self._index: Index | None = None
        self._is_stale = True
        self._probes: Probes | None = None

    def __repr__(self) -> str:
        return f"CodeCache({str(self.folder)!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_index": None, "_is_stale": True}

    def refresh(self) -> None:
        """List the folder again, reading the keys of shards not seen before.

        Raises
        ------
        StoreError
            If the folder cannot be read.
        StoreCorruptError, StoreFormatError
            If a file is no shard of this spec, or of an unknown version.
        """
        self._list_again()

    def index(self) -> list[bytes]:
        """Return the keys that are present, sorted, each once.

        Raises
        ------
        StoreError
            If the folder or a file in it cannot be used.
        """
        return self._current().list_keys()

    def find(self, keys: Sequence[bytes] | Keys) -> npt.NDArray[np.bool_]:
        """Say which keys are present, as far as the last listing knows.

        Parameters
        ----------
        keys : sequence of n keys of 16 bytes

        Returns
        -------
        ndarray of shape (n,), bool

        Raises
        ------
        ValueError
            If a key has not 16 bytes.
        StoreError
            If the folder or a file in it cannot be used.
        """
        return self._current().locate(as_keys(keys)) >= 0

    def mark_used(self) -> None:
        """Note the time for `gc_cache`, at most once a minute; a read-only cache stays as it is."""
        path = self.folder / META_NAME
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _MARK_EVERY_S:
                os.utime(path)

    def read_probes(self) -> Probes | None:
        """Return what the network said of the probe pictures, None if that is not stored.

        What an earlier version stored of NaN or infinity counts as not stored.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        try:
            self._probes = read_probes(self.folder / PROBES_NAME, self.spec.dim)
        except (FileNotFoundError, NothingToCompareError):
            return None
        return self._probes

    def write_probes(self, probes: Probes) -> Probes:
        """Store what the network says of the probe pictures, if nothing is stored.

        Returns
        -------
        Probes
            What is stored now: another process may have been quicker.

        Raises
        ------
        ValueError
            If they hold NaN or infinity, are none, or of another width.
        StoreError
            If that is not possible.
        """
        check_comparable(probes.codes, self.spec.dim)
        self._probes = probes
        self._in_folder(PROBES_NAME, lambda path: write_probes(path, probes))
        return self.read_probes() or probes

    def _in_folder(self, name: str, write: Callable[[Path], object]) -> None:
        """Write a file of the folder; one that was taken away is made again, with its probes."""
        path = self.folder / name
        for attempt in range(_TRIES):
            try:
                self.make_folder()
                write(path)
                if self._probes is not None and not (self.folder / PROBES_NAME).exists():
                    write_probes(self.folder / PROBES_NAME, self._probes)
                return
            except OSError as error:
                if attempt + 1 < _TRIES and is_gone(error):  # the folder was taken away
                    continue
                raise write_error(path, error) from error

    def read_bad(self) -> dict[bytes, str]:
        """Return the keys of pictures that are known to be bad, with their reasons."""
        return read_bad(self.folder)

    def remember_bad(self, reasons: Mapping[bytes, str]) -> None:
        """Remember bad pictures; nothing is written for none.

        Parameters
        ----------
        reasons : mapping of keys of 16 bytes to reasons
            The keys say content and decoder; no row has such a key.

        Raises
        ------
        StoreError
            If that is not possible.
        """
        if reasons:
            self._in_folder("bad", lambda path: publish_bad(path.parent, reasons))

    def read(self, keys: Sequence[bytes] | Keys) -> Float32Array:
        """Read rows in the given order, each checked against its checksum.

        Parameters
        ----------
        keys : sequence of n keys of 16 bytes
            Duplicates are allowed.

        Returns
        -------
        ndarray of shape (n, d), float32

        Raises
        ------
        ValueError
            If a key has not 16 bytes.
        StoreError
            If a key is not in the cache.
        StoreCorruptError
            If a row is damaged; the message names the file to delete.
        """
        wanted = as_keys(keys)
        out = np.empty((len(wanted), self.spec.dim), dtype=np.float32)
        left = np.arange(len(wanted))
        index = self._current()
        for attempt in range(_TRIES):
            found = index.locate(wanted[left])
            n_missing = int((found < 0).sum())
            if n_missing and attempt:
                raise StoreError(
                    f"{n_missing} of {len(wanted)} codes are not in {self.folder}; "
                    "extract them first."
                )
            if not n_missing:
                left = index.read(found, out, left)
            if not len(left):
                return out
            index = self._list_again()  # merged or deleted meanwhile
        raise self._changing()

    def writer(
        self,
        rows_per_shard: int | None = None,
        seconds_per_shard: float = 5.0,
        *,
        announce: Callable[[int], None] | None = None,
    ) -> ShardWriter:
        """Return a writer of new rows, to be used in a `with` statement.

        Parameters
        ----------
        rows_per_shard : int, optional
            At most 4096 by default, fewer where a shard would exceed 64 MB.
        seconds_per_shard : float
            Rows older than this, in seconds, are published by the next `append`; with batches of
            up to as long again, a kill costs at most ten seconds of work.
        announce : callable, optional
            Called with a number of rows after these are safely on the disk.

        Raises
        ------
        ValueError
            If `rows_per_shard` is below 1.
        """
        rows = self.rows_per_shard if rows_per_shard is None else rows_per_shard
        if rows < 1:
            raise ValueError(f"rows_per_shard is {rows}; a shard has at least one row.")
        return ShardWriter(self, rows, seconds_per_shard, announce)

    @property
    def rows_per_shard(self) -> int:
        """The rows of a full shard: at most 4096, fewer where it would exceed 64 MB."""
        return max(1, min(_SHARD_ROWS, _SHARD_BYTES // (4 * self.spec.dim)))

    def merge_small_shards(self) -> int:
        """Merge small shards if there are more than 32; see `_merge.merge_small`.

        Returns
        -------
        int
            How many were replaced.

        Raises
        ------
        StoreError
            If the merged shard cannot be written; nothing is then lost.
        """
        n_replaced = merge_small(self)
        self._is_stale = True
        return n_replaced

    def publish(
        self,
        keys: Keys,
        codes: Float32Array,
        *,
        dtype: str | None = None,
        replaces: Sequence[str] = (),
    ) -> Path:
        """Write one shard; when this returns, its rows are on the disk.

        Parameters
        ----------
        keys : ndarray of shape (n,), dtype S16
        codes : ndarray of shape (n, d), float32
        dtype : {"float32", "float16"}, optional
            Instead of the cache's own.
        replaces : sequence of str
            Names of the shards whose rows these are.

        Returns
        -------
        Path
            The shard file.

        Raises
        ------
        StoreError
            If it cannot be written (full disk, no permission ...); nothing is left behind.
        """
        data = shard_bytes(self.spec, keys, codes, dtype or self.store_dtype, replaces)
        path = self.folder / shard_name(data)
        self._in_folder(path.name, lambda target: publish_bytes(data, target))
        self.mark_used()
        self._is_stale = True
        return path

    def _current(self) -> Index:
        index = self._index
        self.mark_used()
        return self._list_again() if index is None or self._is_stale else index

    def _list_again(self) -> Index:
        known = dict(self._index.tables) if self._index else {}
        for attempt in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):  # merged or deleted meanwhile
                self._is_stale = False
                check_meta(self.folder)
                paths = self.list_shards()
                for path in paths:
                    if path.name not in known:
                        known[path.name] = load_table(path, self.spec)
                self._index = Index.over({path.name: known[path.name] for path in paths})
                return self._index
            time.sleep(attempt * _PAUSE_S)
        raise self._changing()

    def _changing(self) -> StoreError:
        return StoreError(
            f"{self.folder} keeps changing while it is read; run again when nobody merges or "
            "deletes there."
        )

    def list_shards(self) -> list[Path]:
        """Return the shard files that are there now, sorted by name.

        Raises
        ------
        StoreError
            If the folder cannot be read.
        """
        return list_shards(self.folder)

    def make_folder(self) -> None:
        """Make the folder and its meta.json, where they are not there.

        Raises
        ------
        OSError
            If that is not possible.
        """
        make_folder(self.folder, self.spec, self.what)
