"""Memories on the disk that save time: specs of words, devices, ranges, slow answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlfeatures.errors import StoreError
from tlfeatures.store._files import publish_bytes
from tlfeatures.store._spec import CodeSpec, canonical_json

_VERSION = 1


class SpecMemo:
    """A small memory on the disk, of this machine, that only saves time.

    Parameters
    ----------
    root : path
        The cache folder; entries lie in its folder `memo`.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._folder = Path(root) / "memo"

    def get(
        self, words: Mapping[str, Any], files: Callable[[], Sequence[Path]] | None = None
    ) -> CodeSpec | None:
        """Return the spec remembered for these words, None if anything may have changed.

        Parameters
        ----------
        words : mapping of JSON values
            The words typed, together with the installed versions.
        files : callable, optional
            Returns the weights files that would be used now; the entry is then served only if
            they are the ones it was made from.
        """
        try:
            entry = json.loads(self._path(words).read_text(encoding="utf-8"))
            spec = CodeSpec.from_json(entry["spec"])
            remembered = list(entry["files"])
            if entry["words"] != json.loads(canonical_json(dict(words))):
                return None
            paths = [Path(str(facts["path"])) for facts in remembered]
            if files is not None and {p.absolute() for p in files()} != set(paths):
                return None
            return spec if [_facts(path) for path in paths] == remembered else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StoreError):
            return None

    def put(self, words: Mapping[str, Any], spec: CodeSpec, files: Sequence[Path] = ()) -> None:
        """Remember the spec of these words; what cannot be written is not remembered.

        Parameters
        ----------
        words : mapping of JSON values
            As for `get`.
        spec : CodeSpec
            What they meant.
        files : sequence of Path
            The weights files that it was made from.
        """
        with contextlib.suppress(OSError, ValueError, TypeError):
            entry = {
                "version": _VERSION,
                "words": dict(words),
                "spec": spec.to_json(),
                "files": [_facts(Path(path).absolute()) for path in files],
            }
            self._folder.mkdir(parents=True, exist_ok=True)
            publish_bytes(json.dumps(entry, indent=1).encode(), self._path(words))

    def _path(self, words: Mapping[str, Any]) -> Path:
        text = canonical_json([_VERSION, platform.node(), dict(words)])
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


class DeviceMemo:
    """The devices that were found on this host, so that a cached run need not look for them.

    Parameters
    ----------
    root : path
        The cache folder; entries lie in its folder `memo`.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._folder = Path(root) / "memo"

    def get(self, signs: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Return the devices found when these signs were as now, None if nothing is remembered."""
        try:
            found = json.loads(self._path(signs).read_text(encoding="utf-8"))["devices"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        is_list = isinstance(found, list) and found and all(isinstance(one, str) for one in found)
        return tuple(found) if is_list else None

    def put(self, signs: Mapping[str, Any], devices: Sequence[str]) -> None:
        """Remember the devices; what cannot be written is not remembered."""
        with contextlib.suppress(OSError):
            entry = {"signs": dict(signs), "devices": list(devices)}
            self._folder.mkdir(parents=True, exist_ok=True)
            publish_bytes(json.dumps(entry, indent=1).encode(), self._path(signs))

    def _path(self, signs: Mapping[str, Any]) -> Path:
        text = canonical_json([_VERSION, "devices", platform.node(), dict(signs)])
        return self._folder / f"devices-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


class RangeMemo:
    """The range of values estimated for a folder of pictures, so that it stays when they grow.

    Parameters
    ----------
    root : path
        The cache folder; entries lie in its folder `memo`.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._folder = Path(root) / "memo"

    def get(self, source: str | os.PathLike[str]) -> tuple[float, float] | None:
        """Return (low, high) of that folder or manifest, None if nothing is remembered."""
        try:
            entry = json.loads(self._path(source).read_text(encoding="utf-8"))
            return float(entry["low"]), float(entry["high"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, source: str | os.PathLike[str], low: float, high: float) -> None:
        """Remember the range; what cannot be written is not remembered."""
        with contextlib.suppress(OSError):
            entry = {"source": str(Path(source).absolute()), "low": low, "high": high}
            self._folder.mkdir(parents=True, exist_ok=True)
            publish_bytes(json.dumps(entry, indent=1).encode(), self._path(source))

    def _path(self, source: str | os.PathLike[str]) -> Path:
        text = canonical_json([_VERSION, "range", os.fsdecode(Path(source).absolute())])
        return self._folder / f"range-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


class AnswerMemo:
    """Answers that took long to find, by the question; they only save time.

    Parameters
    ----------
    root : path
        The cache folder; entries lie in its folder `memo`.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._folder = Path(root) / "memo"

    def get(self, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what was answered, None if nothing is remembered."""
        try:
            entry = json.loads(self._path(question).read_text(encoding="utf-8"))
            return dict(entry["answer"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, question: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Remember an answer, of JSON values; what cannot be written is not remembered."""
        with contextlib.suppress(OSError):
            entry = {"question": dict(question), "answer": dict(answer)}
            self._folder.mkdir(parents=True, exist_ok=True)
            publish_bytes(json.dumps(entry, indent=1).encode(), self._path(question))

    def _path(self, question: Mapping[str, Any]) -> Path:
        text = canonical_json([_VERSION, "answer", dict(question)])
        return self._folder / f"answer-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _facts(path: Path) -> dict[str, Any]:
    facts = path.stat()
    return {
        "path": str(path),
        "size": facts.st_size,
        "mtime_ns": facts.st_mtime_ns,
        "ctime_ns": facts.st_ctime_ns,
        "inode": facts.st_ino,
    }
