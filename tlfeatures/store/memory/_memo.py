"""Small memories on the disk that only save time: specs of words, devices, answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tlfeatures._targets import expand
from tlfeatures.errors import StoreError
from tlfeatures.store._files import publish_bytes
from tlfeatures.store._spec import CodeSpec, canonical_json

_VERSION = 1


class _Memo:
    """Entries of one kind, a JSON file each, named by what they answer.

    Parameters
    ----------
    root : path
        The cache folder; entries lie in its folder `memo`.
    """

    prefix: ClassVar[str] = ""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._folder = expand(root) / "memo"

    def _read(self, *key: Any) -> Any:
        """The entry.

        Raises
        ------
        OSError, ValueError, TypeError
            If there is none, or none that can be read.
        """
        return json.loads(self._path(*key).read_text(encoding="utf-8"))

    def _write(self, entry: Mapping[str, Any], *key: Any) -> None:
        """Remember the entry; what cannot be written is not remembered."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            self._folder.mkdir(parents=True, exist_ok=True)
            publish_bytes(json.dumps(entry, indent=1).encode(), self._path(*key))

    def _path(self, *key: Any) -> Path:
        digest = hashlib.sha256(canonical_json([_VERSION, *key]).encode()).hexdigest()
        return self._folder / f"{self.prefix}{digest[:32]}.json"


class SpecMemo(_Memo):
    """The specs that words meant on this host; see `_Memo`."""

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
            entry = self._read(platform.node(), dict(words))
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
        """Remember the spec of these words.

        Parameters
        ----------
        words : mapping of JSON values
            As for `get`.
        spec : CodeSpec
            What they meant.
        files : sequence of Path
            The weights files that it was made from.
        """
        with contextlib.suppress(OSError):  # of a file that is gone
            facts = [_facts(Path(path).absolute()) for path in files]
            entry = {"words": dict(words), "spec": spec.to_json(), "files": facts}
            self._write({"version": _VERSION, **entry}, platform.node(), dict(words))


class AnswerMemo(_Memo):
    """Answers that took long to find, by the question; see `_Memo`."""

    prefix = "answer-"

    def get(self, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what was answered, None if nothing is remembered."""
        try:
            return dict(self._read("answer", dict(question))["answer"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, question: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Remember an answer, of JSON values."""
        self._write({"question": dict(question), "answer": dict(answer)}, "answer", dict(question))


def facts_of(files: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """Size, times and place of each file that is there; another content has others."""
    found = {}
    for path in files:
        with contextlib.suppress(OSError):
            found[path] = _facts(path)
    return found


def _facts(path: Path) -> dict[str, Any]:
    facts = path.stat()
    return {
        "path": str(path),
        "size": facts.st_size,
        "mtime_ns": facts.st_mtime_ns,
        "ctime_ns": facts.st_ctime_ns,
        "inode": facts.st_ino,
    }
