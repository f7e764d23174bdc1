"""The folder's meta.json: which codes these are, for people and for `cache info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tlfeatures.store._files import is_gone, publish_bytes, read_error
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store.shards._shard import FORMAT, FORMAT_VERSION, check_version

META_NAME = "meta.json"


def read_meta(folder: Path) -> dict[str, Any]:
    """Return the contents of a folder's meta.json, {} where there is none or it is damaged.

    Raises
    ------
    StoreError
        If it cannot be read for now (permission, too many open files).
    """
    path = folder / META_NAME
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    except OSError as error:
        if is_gone(error):
            return {}
        raise read_error(path, error) from error
    return meta if isinstance(meta, dict) else {}


def check_meta(folder: Path) -> None:
    """Refuse a folder whose meta.json says another version of the format.

    Raises
    ------
    StoreError
        Also if it cannot be read.
    """
    check_version(read_meta(folder).get("format_version", FORMAT_VERSION), folder / META_NAME)


def read_what(folder: Path) -> str | None:
    """Whose codes a folder says that it holds, one line; None if it does not say it.

    Raises
    ------
    StoreError
        If it cannot be read for now.
    """
    what = read_meta(folder).get("what")
    return " ".join(what.split()) or None if isinstance(what, str) else None


def write_meta(folder: Path, spec: CodeSpec, what: str | None) -> None:
    """Say in a folder which codes these are, and whose.

    Parameters
    ----------
    folder : Path
    spec : CodeSpec
    what : str or None
        None: it is left out.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    meta = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "words": spec.describe(),
        **({} if what is None else {"what": what}),
        "key": spec.key,
        "spec": spec.to_json(),
    }
    publish_bytes((json.dumps(meta, indent=2) + "\n").encode(), folder / META_NAME)
