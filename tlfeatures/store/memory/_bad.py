"""Bad pictures, remembered with their reason: immutable lists beside the shards."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from tlfeatures.errors import StoreCorruptError, StoreFormatError
from tlfeatures.store._files import publish_bytes, read_whole, sync_folder
from tlfeatures.store._spec import canonical_json
from tlfeatures.store.shards._shard import KEY_BYTES

BAD_FORMAT = "tlfeatures-bad"
BAD_VERSION = 1
BAD_GLOB = "bad-*.json"
MOST_LISTS = 32  # more lists than this are merged

Reasons = dict[bytes, str]


def read_bad(folder: Path) -> Reasons:
    """Return key -> reason of all lists of a folder; those that cannot be read count for nothing.

    A lost list costs a second try at its pictures, no more; `cache verify` names it.
    """
    found: Reasons = {}
    for path in sorted(folder.glob(BAD_GLOB)):
        with contextlib.suppress(OSError):
            found |= read_bad_file(path)
    return found


def read_bad_file(path: Path) -> Reasons:
    """Return key -> reason of one list.

    Raises
    ------
    FileNotFoundError
        If it has gone.
    StoreError
        If it cannot be read.
    StoreCorruptError
        If it is not as it was written.
    """
    data = read_whole(path)
    if _name(data) != path.name:
        raise StoreCorruptError(f"{path} is damaged: its name is not the digest of its bytes.")
    values = json.loads(data)
    if values.get("format_version") != BAD_VERSION:
        raise StoreFormatError(f"{path} is of a version this tlfeatures does not know; update it.")
    return {bytes.fromhex(key): str(reason) for key, reason in values["bad"].items()}


def publish_bad(folder: Path, reasons: Mapping[bytes, str]) -> None:
    """Write one list, and merge the lists if there are many.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    _publish(folder, reasons)
    lists = sorted(folder.glob(BAD_GLOB))
    if len(lists) <= MOST_LISTS:
        return
    merged: Reasons = {}
    read: list[Path] = []
    for path in lists:
        with contextlib.suppress(StoreCorruptError, StoreFormatError, FileNotFoundError):
            merged |= read_bad_file(path)
            read.append(path)
    target = _publish(folder, merged)
    try:
        read_bad_file(target)
    except FileNotFoundError:  # somebody else has merged it already
        return
    for path in read:
        if path != target:
            path.unlink(missing_ok=True)
    sync_folder(folder)


def _publish(folder: Path, reasons: Mapping[bytes, str]) -> Path:
    by_hex = {key.hex(): reason for key, reason in reasons.items() if len(key) == KEY_BYTES}
    values = {"format": BAD_FORMAT, "format_version": BAD_VERSION, "bad": by_hex}
    data = (canonical_json(values) + "\n").encode()
    path = folder / _name(data)
    publish_bytes(data, path)
    return path


def _name(data: bytes) -> str:
    return f"bad-{hashlib.blake2b(data, digest_size=KEY_BYTES).hexdigest()}.json"
