"""`extract` and `extract_layers`: the run for a network asked for by words. No torch in here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tlfeatures.backbones import BackboneRequest, describe_weights
from tlfeatures.extraction._extract import extract_codes
from tlfeatures.extraction._open import EngineMaker, absolute, make_plan_ready
from tlfeatures.extraction._options import RunOptions, decoding_of, settle
from tlfeatures.extraction._plan import Plan
from tlfeatures.extraction._rates import remember_pace
from tlfeatures.extraction._result import Extraction, Progress
from tlfeatures.extraction._specs import recall_specs, specs_of
from tlfeatures.pictures import Pictures
from tlfeatures.store import CodeSpec


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
    layers = (request.layer,)
    return extract_layers(pictures, request, layers, run, tensors=tensors, progress=progress)[0]


def extract_layers(
    pictures: Pictures,
    request: BackboneRequest,
    layers: Sequence[str | None],
    run: RunOptions | None = None,
    *,
    tensors: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
    began: float | None = None,
) -> list[Extraction]:
    """Like `extract`, for several layers in one pass; nothing after the last one is computed.

    Parameters
    ----------
    layers : sequence of str or None
        They stand for the request's layer; two names of one layer are one.
    began : float, optional
        When the run began, by `time.perf_counter`, for a caller who has opened the network already;
        default: now.

    Returns
    -------
    list of Extraction
        One a layer, in the order given.
    """
    began = time.perf_counter() if began is None else began
    asked, request = run or RunOptions(), absolute(request)
    find = partial(
        _extract,
        Pictures.of(pictures),
        request,
        layers,
        asked,
        tensors=tensors,
        progress=progress,
        began=began,
    )
    recalled = recall_specs(request, layers, asked, tensors)
    if recalled is not None:
        with contextlib.suppress(_OtherDevice):
            return find(recalled)
    return find(settle(asked, request))


class _OtherDevice(Exception):  # noqa: N818  no error: it starts the run anew
    """Something must be computed, and the device is not the one that was remembered."""


def _extract(
    pictures: Pictures,
    request: BackboneRequest,
    layers: Sequence[str | None],
    asked: RunOptions,
    run: RunOptions,
    *,
    tensors: Mapping[str, Any] | None,
    progress: Callable[[Progress], None] | None,
    began: float,
) -> list[Extraction]:
    """The layers' codes; before anything is computed, it is made sure that `run` is what is here.

    Raises
    ------
    _OtherDevice
    """
    specs = specs_of(request, layers, run, n=len(pictures), tensors=tensors)
    names = dict(zip(specs, layers, strict=True))
    maker = EngineMaker(request, run, names, tensors)

    def plan_for(n: int, lacking: Sequence[CodeSpec]) -> Plan:
        if settle(asked, request) != run:
            raise _OtherDevice
        return make_plan_ready(n, lacking, maker)

    done = extract_codes(
        pictures,
        list(names),
        maker,
        cache=run.cache_dir,
        options=decoding_of(run, specs[0]),
        plan_for=plan_for,
        retry_bad=run.retry_bad,
        store_dtype=run.store_dtype,
        progress=progress,
        began=began,
        what=describe_weights(request, tensors),
    )
    if done[0].n_jobs:  # something was computed
        remember_pace("extract", request, asked, done[0].computed, done[0].seconds["total"])
    by_spec = dict(zip(names, done, strict=True))
    return [by_spec[spec] for spec in specs]
