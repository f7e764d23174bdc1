"""Codes of a few pictures at once: what is stored is read, the rest computed and not stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tlfeatures.errors import ImageReadError
from tlfeatures.extraction._resolve import Resolved
from tlfeatures.extraction._result import Progress
from tlfeatures.extraction._run import extract_layers
from tlfeatures.extraction.chunks._batch import prepare_item, stack
from tlfeatures.extraction.chunks._chunk import not_finite
from tlfeatures.extraction.chunks._probes import check_probes_once
from tlfeatures.pictures import DecodeOptions, Pictures, as_bytes, content_digest, row_key
from tlfeatures.store import CodeCache, CodeSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlfeatures.engine import Engine

Bad = list[tuple[str, str]]


def query(
    pictures: Pictures,
    resolved: Resolved,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[NDArray[np.float32], Bad, CodeSpec]:
    """Codes of pictures, shape (n, d), float32; rows of bad ones are nan.

    Fewer pictures than a batch are computed at their own size and not stored; more of them are
    extracted as any others.

    Parameters
    ----------
    pictures : Pictures of length n
    resolved : Resolved
        Of one layer.
    progress : callable, optional

    Returns
    -------
    codes : ndarray of shape (n, d), float32
    bad : list of (path, reason)
    spec : CodeSpec
        Which codes these are: of another device, if it was not the one that was remembered.

    Raises
    ------
    CodesMismatchError
        If the network gives other codes now than when the cache was filled.
    UsageError, WeightsError, StoreError
        As `resolve`.
    """
    contents, reasons = _read(pictures)  # each file once, for its key and for its pixels
    keys = [row_key(content_digest(item), resolved.decoding) for item in contents.values()]
    store, rows = _store_of(resolved), np.array(list(contents), dtype=np.intp)
    present = store.find(keys)
    if not present.all():
        settled = resolved.settled()
        if settled.specs != resolved.specs:
            return query(pictures, settled, progress=progress)
        engine = settled.open()
        if (~present).sum() >= engine.batch_size:
            return _extracted(pictures, settled, progress)
        check_probes_once(engine, store)
    codes = np.full((len(pictures), store.spec.dim), np.nan, np.float32)
    if present.any():
        stored = [key for key, is_there in zip(keys, present, strict=True) if is_there]
        codes[rows[present]] = store.read(stored)
    if not present.all():
        missing = {int(row): contents[int(row)] for row in rows[~present]}
        made, failed = _compute(engine, missing, resolved.decoding)
        reasons |= failed
        for row, code in made.items():
            codes[row] = code
            if not np.isfinite(code).all():
                codes[row], reasons[row] = np.nan, not_finite(store.spec.precision)
    bad = [(pictures.paths[row], reasons[row]) for row in sorted(reasons)]
    return codes, bad, store.spec


def _read(pictures: Pictures) -> tuple[dict[int, Any], dict[int, str]]:
    """Bytes of files and pictures in memory, by position; the reasons where there are none."""
    contents: dict[int, Any] = {}
    reasons: dict[int, str] = {}
    for row, item in enumerate(pictures.items):
        try:
            contents[row] = as_bytes(item)
        except ImageReadError as error:
            reasons[row] = str(error)
    return contents, reasons


def _store_of(resolved: Resolved) -> CodeCache:
    return CodeCache(resolved.run.cache_dir, resolved.specs[0])


def _compute(
    engine: Engine, contents: dict[int, Any], options: DecodeOptions
) -> tuple[dict[int, NDArray[np.float32]], dict[int, str]]:
    """Codes by position, in one batch of their own size, and the reasons of bad ones."""
    prepared: dict[int, Any] = {}
    reasons: dict[int, str] = {}
    for row, item in contents.items():
        try:
            prepared[row] = prepare_item(engine, item, options)[0]
        except ImageReadError as error:
            reasons[row] = str(error)
    if not prepared:
        return {}, reasons
    codes = engine.codes(stack(list(prepared.values())))[0]
    return dict(zip(prepared, codes, strict=True)), reasons


def _extracted(
    pictures: Pictures, resolved: Resolved, progress: Callable[[Progress], None] | None
) -> tuple[NDArray[np.float32], Bad, CodeSpec]:
    (done,) = extract_layers(pictures, resolved, progress=progress)
    codes = np.full((done.given, done.codes.spec.dim), np.nan, np.float32)
    codes[done.rows] = np.asarray(done.codes)
    return codes, done.bad, done.codes.spec
