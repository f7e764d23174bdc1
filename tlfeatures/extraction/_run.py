"""`extract` and `extract_layers`: the run for a network asked for by words. No torch in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tlfeatures.backbones import BackboneRequest
from tlfeatures.extraction._extract import compute
from tlfeatures.extraction._look_up import look_up
from tlfeatures.extraction._resolve import Resolved, resolve
from tlfeatures.extraction._result import Extraction, Progress
from tlfeatures.extraction.planning._options import RunOptions
from tlfeatures.extraction.planning._rates import remember_pace
from tlfeatures.pictures import Pictures


def extract(
    pictures: Pictures,
    request: BackboneRequest,
    run: RunOptions | None = None,
    *,
    tensors: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Extraction:
    """Give every picture its code: `extract_codes` for a network asked for by words.

    Parameters
    ----------
    pictures : Pictures
    request : BackboneRequest
    run : RunOptions, optional
    tensors : mapping of name to ndarray, optional
        Weights that a saved model carries.
    progress : callable, optional

    Raises
    ------
    UsageError, WeightsError, StoreError
        As the words, the weights and the cache demand.
    CodesMismatchError
        If an own network says other things than when the cache was filled.
    """
    resolved = resolve(request, run, n=len(pictures), tensors=tensors)
    return extract_layers(pictures, resolved, progress=progress)[0]


def extract_layers(
    pictures: Pictures,
    resolved: Resolved,
    *,
    progress: Callable[[Progress], None] | None = None,
    began: float | None = None,
) -> list[Extraction]:
    """Give every picture the codes of several layers, in one pass.

    Nothing after the last layer is computed.

    Parameters
    ----------
    pictures : Pictures
    resolved : Resolved
        Which codes; two names of one layer are one.
    progress : callable, optional
    began : float, optional
        When the run began, by `time.perf_counter`, for a caller who has resolved the words before;
        default: now.

    Returns
    -------
    list of Extraction
        One a layer, in the order given.

    Raises
    ------
    UsageError, WeightsError, StoreError, CodesMismatchError
        As `extract`.
    """
    began = time.perf_counter() if began is None else began
    found = _look_up(pictures, resolved)
    if found.lacks_something:
        settled = resolved.settled()
        if settled.specs != resolved.specs:  # another device than the one that was remembered
            found = _look_up(pictures, settled)
        resolved = settled
    done = compute(
        found,
        resolved.maker(),
        plan_for=resolved.plan,
        store_dtype=resolved.run.store_dtype,
        progress=progress,
        began=began,
        what=resolved.what,
    )
    if done[0].n_jobs:  # something was computed
        n, seconds = max(each.computed for each in done), done[0].seconds["total"]
        remember_pace("extract", resolved.request, resolved.asked, n, seconds)
    by_spec = {each.codes.spec: each for each in done}
    return [by_spec[spec] for spec in resolved.specs]


def _look_up(pictures: Pictures, resolved: Resolved) -> Any:
    return look_up(
        pictures,
        tuple(dict.fromkeys(resolved.specs)),
        cache=resolved.run.cache_dir,
        options=resolved.decoding,
        retry_bad=resolved.run.retry_bad,
    )
