"""The cache of one code spec: rows looked up, read, and appended as immutable shards."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs

from tlfeatures.errors import StoreCorruptError, StoreError, StoreFormatError
from tlfeatures.store._files import (
    is_gone,
    publish_bytes,
    read_error,
    sync_folder,
    write_error,
)
from tlfeatures.store._shard import (
    FORMAT,
    FORMAT_VERSION,
    KEY_BYTES,
    Float32Array,
    Keys,
    ShardTable,
    as_keys,
    load_table,
    read_rows,
    shard_bytes,
    shard_name,
)
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store._writer import ShardWriter

META_NAME = "meta.json"
PROBES_NAME = "probes.npy"
_SHARD_BYTES = 64 << 20
_SHARD_ROWS = 4096
_TRIES = 5  # how often a folder that others change meanwhile is listed or made again


def default_cache_dir() -> Path:
    """Return $TLFEATURES_CACHE, or else the user's cache folder of this system."""
    chosen = os.environ.get("TLFEATURES_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("tlfeatures")


class CodeCache:
    """The stored codes of one spec; the folder is made by the first write.

    Instances hold no open file: they may be pickled, and used after a fork.

    Parameters
    ----------
    root : path
        The cache folder that holds one folder a spec.
    spec : CodeSpec
        Which numbers these are.

    Attributes
    ----------
    folder : Path
        Where this spec's shards lie.
    """

    def __init__(self, root: str | os.PathLike[str], spec: CodeSpec) -> None:
        self.root = Path(root)
        self.spec = spec
        self.folder = self.root / spec.folder_name
        self._index: _Index | None = None
        self._is_stale = True

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
        data = self._current().keys.tobytes()
        return [data[start : start + KEY_BYTES] for start in range(0, len(data), KEY_BYTES)]

    def find(self, keys: Sequence[bytes]) -> npt.NDArray[np.bool_]:
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

    def read_probes(self) -> Float32Array | None:
        """Return the codes of the probe pictures, None if none are stored.

        Returns
        -------
        ndarray of shape (n_probes, d), float32, or None

        Raises
        ------
        StoreError
            If they cannot be read.
        """
        path = self.folder / PROBES_NAME
        try:
            return np.asarray(np.load(path, allow_pickle=False), np.float32)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError) as error:
            raise StoreCorruptError(
                f"{path} cannot be read ({error}); remove it, or choose another --cache."
            ) from error

    def write_probes(self, codes: Float32Array) -> None:
        """Store the codes of the probe pictures.

        Raises
        ------
        StoreError
            If they cannot be written.
        """
        buffer = io.BytesIO()
        np.save(buffer, codes)
        path = self.folder / PROBES_NAME
        try:
            self._make_folder()
            publish_bytes(buffer.getvalue(), path)
        except OSError as error:
            raise write_error(path, error) from error

    def read(self, keys: Sequence[bytes]) -> Float32Array:
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
        index = self._current()
        for attempt in range(_TRIES):
            found = index.locate(wanted)
            n_missing = int((found < 0).sum())
            if n_missing and attempt:
                raise StoreError(
                    f"{n_missing} of {len(wanted)} codes are not in {self.folder}; "
                    "extract them first."
                )
            if not n_missing:
                with contextlib.suppress(FileNotFoundError):  # merged or deleted meanwhile
                    return index.read(found, self.spec.dim)
            index = self._list_again()
        raise self._changing()

    def writer(
        self,
        rows_per_shard: int | None = None,
        seconds_per_shard: float = 10.0,
        *,
        announce: Callable[[int], None] | None = None,
    ) -> ShardWriter:
        """Return a writer of new rows, to be used in a `with` statement.

        Parameters
        ----------
        rows_per_shard : int, optional
            At most 4096 by default, fewer where a shard would exceed 64 MB.
        seconds_per_shard : float
            Rows older than this, in seconds, are published by the next `append`.
        announce : callable, optional
            Called with a number of rows after these are safely on the disk.

        Raises
        ------
        ValueError
            If `rows_per_shard` is below 1.
        """
        rows = rows_per_shard
        if rows is None:
            rows = max(1, min(_SHARD_ROWS, _SHARD_BYTES // (4 * self.spec.dim)))
        if rows < 1:
            raise ValueError(f"rows_per_shard is {rows}; a shard has at least one row.")
        return ShardWriter(self, rows, seconds_per_shard, announce)

    def publish(self, keys: Keys, codes: Float32Array) -> Path:
        """Write one shard; when this returns, its rows are on the disk.

        Parameters
        ----------
        keys : ndarray of shape (n,), dtype S16
        codes : ndarray of shape (n, d), float32

        Returns
        -------
        Path
            The shard file.

        Raises
        ------
        StoreError
            If it cannot be written (full disk, no permission ...); nothing is left behind.
        """
        data = shard_bytes(self.spec, keys, codes)
        path = self.folder / shard_name(data)
        for attempt in range(_TRIES):
            try:
                self._make_folder()
                publish_bytes(data, path)
                self._is_stale = True
                break
            except OSError as error:
                if attempt + 1 < _TRIES and is_gone(error):  # the folder was taken away
                    continue
                raise write_error(path, error) from error
        return path

    def _current(self) -> _Index:
        index = self._index
        return self._list_again() if index is None or self._is_stale else index

    def _list_again(self) -> _Index:
        known = self._index.tables if self._index else {}
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):  # merged or deleted meanwhile
                self._is_stale = False
                self._check_meta()
                paths = self._list_shards()
                tables = {p.name: known.get(p.name) or load_table(p, self.spec) for p in paths}
                self._index = _Index.over(tables)
                return self._index
        raise self._changing()

    def _changing(self) -> StoreError:
        return StoreError(
            f"{self.folder} keeps changing while it is read; run again when nobody merges or "
            "deletes there."
        )

    def _list_shards(self) -> list[Path]:
        try:
            names = os.listdir(self.folder)
        except OSError as error:
            if is_gone(error):
                return []
            raise read_error(self.folder, error) from error
        shards = sorted(n for n in names if n.endswith(".h5") and not n.startswith("."))
        return [self.folder / name for name in shards]

    def _check_meta(self) -> None:
        meta = read_meta(self.folder)
        version = meta.get("format_version", FORMAT_VERSION)
        if version != FORMAT_VERSION:
            raise StoreFormatError(
                f"{self.folder / META_NAME} has format version {version}, this tlfeatures knows "
                f"{FORMAT_VERSION}; update tlfeatures, or choose another folder with --cache."
            )

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self.root)
        path = self.folder / META_NAME
        if not path.exists():
            meta = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "words": self.spec.describe(),
                "key": self.spec.key,
                "spec": self.spec.to_json(),
            }
            publish_bytes((json.dumps(meta, indent=2) + "\n").encode(), path)


@dataclasses.dataclass(frozen=True)
class _Index:
    """Every key once, sorted, with the first shard by name that has it."""

    tables: dict[str, ShardTable]
    keys: Keys
    shards: npt.NDArray[np.intp]
    rows: npt.NDArray[np.intp]

    @classmethod
    def over(cls, tables: dict[str, ShardTable]) -> _Index:
        ordered = list(tables.values())
        counts = np.array([len(table.keys) for table in ordered], dtype=np.intp)
        every = np.concatenate([np.empty(0, f"S{KEY_BYTES}"), *(t.keys for t in ordered)])
        shards = np.repeat(np.arange(len(ordered)), counts)
        rows = np.arange(len(every)) - np.repeat(np.cumsum(counts) - counts, counts)
        keys, first = np.unique(every, return_index=True)
        return cls(tables, keys, shards[first], rows[first])

    def locate(self, keys: Keys) -> npt.NDArray[np.intp]:
        """Return the place of each key in the index, -1 where it is missing."""
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.intp)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)

    def read(self, places: npt.NDArray[np.intp], dim: int) -> Float32Array:
        """Read rows of shape (n, dim), sorted by shard and row, returned in the given order."""
        out = np.empty((len(places), dim), dtype=np.float32)
        for table, chosen in self._by_shard(places):
            read_rows(table, self.rows[places[chosen]], out, chosen)
        return out

    def _by_shard(
        self, places: npt.NDArray[np.intp]
    ) -> Iterator[tuple[ShardTable, npt.NDArray[np.intp]]]:
        shards, rows = self.shards[places], self.rows[places]
        order = np.lexsort((rows, shards))
        tables = list(self.tables.values())
        starts = np.flatnonzero(np.diff(shards[order])) + 1
        for chosen in np.split(order, starts):
            if len(chosen):
                yield tables[int(shards[chosen[0]])], chosen


def read_meta(folder: Path) -> dict[str, Any]:
    """Return the contents of a folder's meta.json, {} where it cannot be read."""
    try:
        meta = json.loads((folder / META_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}
