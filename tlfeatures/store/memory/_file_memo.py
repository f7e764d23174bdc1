"""What this machine knows of files: the content digest of a path whose facts have not changed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlfeatures._targets import expand
from tlfeatures.store._files import publish_bytes

_DIGEST = 16
_ENTRY = np.dtype([("path", f"V{_DIGEST}"), ("facts", "<i8", 4), ("digest", f"V{_DIGEST}")])
_GLOB = "files-*.npy"
_MOST_LISTS = 16  # more are merged into one
_FRESH_NS = 2_000_000_000  # a file changed so recently may change again within its time stamp

Facts = npt.NDArray[np.int64]


class FileMemo:
    """Content digests by path, size, times of change and inode; it only saves reading files.

    Nothing is believed when any of the five values differs. Lists are immutable files, each under
    the digest of its bytes; one that is damaged counts for nothing.

    Parameters
    ----------
    root : path
        The cache folder; entries lie in its folder `memo`, one folder a host.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        host = re.sub(r"[^A-Za-z0-9]+", "_", platform.node())[:40] or "host"
        self._folder = expand(root) / "memo" / f"files-{host}"
        self._looked_at = 0  # before the files were read

    def look_up(self, paths: Sequence[str]) -> tuple[list[bytes], Facts]:
        """Digests of files that have not changed, b"" for others, and the facts of all.

        Parameters
        ----------
        paths : sequence of n str

        Returns
        -------
        digests : list of n bytes, each of 16 or 0
        facts : ndarray of shape (n, 4), int64
            Size, mtime_ns, ctime_ns, inode; -1 where there is no file.
        """
        self._looked_at = time.time_ns()
        facts, names = file_facts(paths), path_digests(paths)
        entries = self._entries()
        if not len(entries):
            return [b""] * len(paths), facts
        order = np.argsort(_sortable(entries["path"]), kind="stable")
        entries = entries[order]
        known = _sortable(entries["path"])
        places = np.searchsorted(known, _sortable(names), side="right") - 1  # the latest entry
        found = entries[places.clip(0)]
        same = (
            (places >= 0)
            & (_sortable(found["path"]) == _sortable(names))
            & (found["facts"] == facts).all(1)
            & (facts[:, 0] >= 0)
        )
        digests = found["digest"].tobytes()
        return [
            digests[i * _DIGEST : (i + 1) * _DIGEST] if is_same else b""
            for i, is_same in enumerate(same.tolist())
        ], facts

    def remember(self, paths: Sequence[str], facts: Facts, digests: Sequence[bytes]) -> None:
        """Remember digests of files; what cannot be written is not remembered.

        Parameters
        ----------
        paths : sequence of n str
        facts : ndarray of shape (n, 4), int64
            Taken before the files were read. Those that have changed since are left out, and
            those changed so recently that they might change again unnoticed.
        digests : sequence of n bytes of 16
        """
        now = file_facts(paths)
        is_settled = self._looked_at - facts[:, 1:3].max(1, initial=0) > _FRESH_NS
        keep = (now == facts).all(1) & (facts[:, 0] >= 0) & is_settled
        if not keep.any():
            return
        entries = np.empty(len(paths), _ENTRY)
        entries["path"], entries["facts"] = path_digests(paths), facts
        entries["digest"] = np.frombuffer(b"".join(digests), f"V{_DIGEST}")
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._publish(entries[keep])
            self._merge()

    def _entries(self) -> npt.NDArray[Any]:
        """All entries, the oldest list first."""
        return np.concatenate([np.empty(0, _ENTRY), *(_read(path) for path in self._lists())])

    def _lists(self) -> list[Path]:
        dated: list[tuple[int, str, Path]] = []
        with contextlib.suppress(OSError):
            for path in self._folder.glob(_GLOB):
                with contextlib.suppress(OSError):
                    dated.append((path.stat().st_mtime_ns, path.name, path))
        return [path for *_, path in sorted(dated)]

    def _publish(self, entries: npt.NDArray[Any]) -> Path:
        buffer = io.BytesIO()
        np.save(buffer, entries.view(np.uint8).reshape(len(entries), _ENTRY.itemsize))
        path = self._folder / _name(buffer.getvalue())
        publish_bytes(buffer.getvalue(), path)
        return path

    def _merge(self) -> None:
        lists = self._lists()
        if len(lists) <= _MOST_LISTS:
            return
        entries = np.concatenate([_read(path) for path in lists])[::-1]
        _, latest = np.unique(_sortable(entries["path"]), return_index=True)
        merged = self._publish(np.ascontiguousarray(entries[latest]))
        for path in lists:
            if path != merged:
                path.unlink(missing_ok=True)


def file_facts(paths: Sequence[str]) -> Facts:
    """Size, mtime_ns, ctime_ns and inode of each file, -1 where there is none; (n, 4), int64."""
    facts = np.full((len(paths), 4), -1, np.int64)
    for row, path in zip(facts, paths, strict=True):
        with contextlib.suppress(OSError, ValueError):
            status = os.stat(path)
            row[:] = status.st_size, status.st_mtime_ns, status.st_ctime_ns, _signed(status.st_ino)
    return facts


def path_digests(paths: Sequence[str]) -> npt.NDArray[Any]:
    """A digest of each absolute path, of shape (n,), 16 bytes."""
    here = os.getcwd()
    absolute = (os.fsencode(os.path.join(here, path)) for path in paths)
    data = b"".join(hashlib.blake2b(path, digest_size=_DIGEST).digest() for path in absolute)
    return np.frombuffer(data, f"V{_DIGEST}")


def _signed(inode: int) -> int:
    return inode - (1 << 64) if inode >= 1 << 63 else inode


def _sortable(digests: npt.NDArray[Any]) -> npt.NDArray[np.bytes_]:
    return np.ascontiguousarray(digests).view(f"S{_DIGEST}")


def _name(data: bytes) -> str:
    return f"files-{hashlib.blake2b(data, digest_size=_DIGEST).hexdigest()}.npy"


def _read(path: Path) -> npt.NDArray[Any]:
    """The entries of one list, none if it is damaged or gone."""
    try:
        data = path.read_bytes()
        if _name(data) != path.name:
            return np.empty(0, _ENTRY)
        rows = np.load(io.BytesIO(data), allow_pickle=False)
        return np.ascontiguousarray(rows).view(_ENTRY).reshape(len(rows))
    except (OSError, ValueError, EOFError):
        return np.empty(0, _ENTRY)
