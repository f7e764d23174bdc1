"""Probe pictures: what a network says of them tells whether its numbers are still the same."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from tlfeatures.errors import CodesMismatchError, ImageReadError, UsageError, WeightsError
from tlfeatures.extraction.chunks._batch import prepare_item, stack
from tlfeatures.pictures import DecodeOptions, decoder_versions
from tlfeatures.store import CodeCache, CodeSpec, Probes, relative_difference, tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlfeatures.engine import Engine

_log = logging.getLogger(__name__)
_checked: WeakKeyDictionary[Engine, set[Path]] = WeakKeyDictionary()
BLIND = "it cannot be told whether the numbers are still the same"
NAMES = ("0.jpg", "1.jpg", "2.jpg")  # waves of all directions over a grid of edges, in colour


def probe_files() -> list[bytes]:
    """The three JPEG files of the probe pictures; they are part of the package and never change."""
    folder = files("tlfeatures.extraction") / "probes"
    return [(folder / name).read_bytes() for name in NAMES]


def check_probes(engine: Engine, caches: Sequence[CodeCache]) -> None:
    """Compare the network's codes of the probes with those stored; store them the first time.

    The pictures are decoded as all others, so that a changed decoder is seen too.

    Parameters
    ----------
    engine : Engine
    caches : sequence of CodeCache
        One for each of the engine's arrays of codes.

    Raises
    ------
    CodesMismatchError
        If they differ by more than their precision allows: rows of two kinds would be mixed.
    WeightsError
        If the network gives NaN or infinity for them; nothing is stored.
    StoreError
        If the cache cannot be read or written.
    """
    try:
        prepared = [prepare_item(engine, data, DecodeOptions())[0] for data in probe_files()]
    except ImageReadError as error:  # of a function of the user's own: the files are ours
        raise UsageError(
            f"the probe pictures cannot be prepared: {error}; preprocess must take every picture "
            "and give one shape."
        ) from error
    made_with = {**engine.made_with, **decoder_versions()}
    answers = engine.codes(stack(prepared))
    for cache, codes in zip(caches, answers, strict=True):
        if not np.isfinite(codes).all():
            raise WeightsError(_no_numbers(cache.spec, codes))
    for cache, codes in zip(caches, answers, strict=True):
        stored = cache.read_probes()
        if stored is None:
            if cache.list_shards():
                _log.warning(
                    "%s has rows but no codes of the probe pictures: %s", cache.folder, BLIND
                )
            stored = cache.write_probes(Probes(codes, made_with))
        difference = relative_difference(codes, stored.codes)
        if not difference <= tolerance(cache.spec.precision):
            raise CodesMismatchError(_mismatch(cache, difference, stored, made_with))


def check_probes_once(engine: Engine, cache: CodeCache) -> None:
    """Compare an engine that stays open with a cache that is there, the first time they meet.

    Raises
    ------
    CodesMismatchError
        As `check_probes`.
    StoreError
        If the cache cannot be read.
    """
    checked = _checked.setdefault(engine, set())
    if cache.folder not in checked and cache.read_probes() is not None:
        check_probes(engine, [cache])
        checked.add(cache.folder)


def _no_numbers(spec: CodeSpec, codes: NDArray[np.float32]) -> str:
    n = int((~np.isfinite(codes)).any(axis=1).sum())
    precision = "" if spec.precision == "float32" else " `precision='float32'`,"
    return (
        f"{spec.backbone} gives NaN or infinity for {n} of {len(codes)} probe pictures at layer "
        f"{spec.layer} in {spec.precision}, so nothing could tell whether its numbers stay the "
        f"same; try{precision} another layer, other weights or another preprocessing."
    )


def _mismatch(
    cache: CodeCache, difference: float, stored: Probes, made_with: dict[str, str]
) -> str:
    before = stored.made_with
    changed = [
        f"{name} {before.get(name, 'none')} -> {made_with.get(name, 'none')}"
        for name in sorted({*before, *made_with})
        if before.get(name) != made_with.get(name)
    ]
    reason = f"changed since: {', '.join(changed)}" if changed else _UNEXPLAINED
    return (
        f"{cache.spec.backbone} gives other codes of the probe pictures than those in "
        f"{cache.folder} (relative difference {difference:.2g}); {reason}. Rows of both must not "
        "be mixed: go back to what was, or start a folder of its own with 'tlfeatures extract "
        "IMAGES --new-contract'."
    )


_UNEXPLAINED = (
    "no version has changed, so an own network's forward or preprocessing has (another weights_id "
    "would keep them apart too)"
)
