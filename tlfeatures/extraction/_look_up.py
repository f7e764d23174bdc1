"""What the cache holds of pictures and what it lacks; nothing is computed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlfeatures.errors import ImageReadError
from tlfeatures.extraction.chunks._chunk import iter_ahead
from tlfeatures.pictures import DecodeOptions, Pictures, bad_key, content_digest, row_key
from tlfeatures.store import CodeCache, CodeSpec, FileMemo

HASHERS = min(16, os.cpu_count() or 1)  # threads
REMEMBER_EVERY_S = 30.0  # digests found so far


@dataclass(frozen=True)
class LookUp:
    """What the cache holds of n pictures, and what it lacks.

    Attributes
    ----------
    pictures : Pictures of length n
    options : DecodeOptions
    stores : list of CodeCache
        One for each spec.
    digests, keys : list of n bytes
        Empty where the content cannot be read.
    reasons : dict of int to str
        Of the pictures known to be bad, by position.
    n_remembered : int
        How many of these an earlier run found to be bad.
    missing : list of list of int
        Positions that lack codes, the first of each key, for each spec.
    """

    pictures: Pictures
    options: DecodeOptions
    stores: list[CodeCache]
    digests: list[bytes]
    keys: list[bytes]
    reasons: dict[int, str]
    n_remembered: int
    missing: list[list[int]]

    @property
    def lacks_something(self) -> bool:
        """Whether anything must be computed."""
        return any(self.missing)


def look_up(
    pictures: Pictures,
    specs: Sequence[CodeSpec],
    *,
    cache: str | os.PathLike[str],
    options: DecodeOptions | None = None,
    retry_bad: bool = False,
) -> LookUp:
    """Find out which pictures have codes; parameters as of `extract_codes`.

    Raises
    ------
    StoreError
        If the cache cannot be read.
    """
    options = options or DecodeOptions()
    stores = [CodeCache(cache, spec) for spec in specs]
    digests, reasons = make_digests(pictures.items, FileMemo(cache))
    keys = [row_key(digest, options) if digest else b"" for digest in digests]
    remembered = {} if retry_bad else remembered_bad(stores, keys, options)
    reasons.update(remembered)
    missing = [_missing(store, keys, reasons) for store in stores]
    return LookUp(pictures, options, stores, digests, keys, reasons, len(remembered), missing)


def make_digests(items: Sequence[Any], memo: FileMemo) -> tuple[list[bytes], dict[int, str]]:
    """Content digests, and the reasons of those that cannot be read (their digest is empty)."""
    files = [i for i, item in enumerate(items) if isinstance(item, (str, os.PathLike))]
    paths = [os.fspath(items[i]) for i in files]
    known, facts = memo.look_up(paths)
    digests = [b""] * len(items)
    for i, digest in zip(files, known, strict=True):
        digests[i] = digest
    unknown = [i for i, digest in enumerate(digests) if not digest]

    def digest_of(item: Any) -> tuple[bytes, str]:
        try:
            return content_digest(item), ""
        except ImageReadError as error:
            return b"", str(error)

    reasons: dict[int, str] = {}
    number_of = {i: j for j, i in enumerate(files)}
    new: list[int] = []  # numbers among the files

    def remember() -> None:
        memo.remember([paths[j] for j in new], facts[new], [digests[files[j]] for j in new])
        new.clear()

    remembered_at = time.monotonic()
    with ThreadPoolExecutor(HASHERS) as pool:
        try:
            answers = iter_ahead(pool, digest_of, [items[i] for i in unknown], 64)
            for i, (digest, reason) in zip(unknown, answers, strict=True):
                digests[i] = digest
                if reason:
                    reasons[i] = reason
                elif i in number_of:
                    new.append(number_of[i])
                if time.monotonic() - remembered_at > REMEMBER_EVERY_S:  # a kill costs no more
                    remember()
                    remembered_at = time.monotonic()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            remember()
    return digests, reasons


def remembered_bad(
    stores: Sequence[CodeCache], keys: Sequence[bytes], options: DecodeOptions
) -> dict[int, str]:
    """The reasons of pictures that one of the caches knows to be bad, by position.

    One that has codes is not bad: it was tried again.
    """
    known: dict[bytes, str] = {}
    for store in stores:
        known |= store.read_bad()
    if not known:
        return {}
    bad = {i: known.get(bad_key(key, options)) for i, key in enumerate(keys) if key}
    rows = [i for i, reason in bad.items() if reason is not None]
    has_codes = np.zeros(len(rows), bool)
    for store in stores:
        has_codes |= store.find([keys[i] for i in rows])
    return {i: str(bad[i]) for i, has in zip(rows, has_codes, strict=True) if not has}


def _missing(store: CodeCache, keys: Sequence[bytes], reasons: Mapping[int, str]) -> list[int]:
    """The first position of each key that is not stored, bad pictures left out."""
    wanted = [i for i, key in enumerate(keys) if key and i not in reasons]
    present = store.find([keys[i] for i in wanted])
    first: dict[bytes, int] = {}
    for i, is_there in zip(wanted, present, strict=True):
        if not is_there:
            first.setdefault(keys[i], i)
    return list(first.values())
