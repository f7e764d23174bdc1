"""Which codes some words mean, remembered so that a cached run imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tlfeatures.backbones import BackboneRequest, describe_weights, weights_file
from tlfeatures.extraction._open import open_engine
from tlfeatures.extraction._options import RunOptions, recall, settle
from tlfeatures.extraction._plan import Plan, plan_run
from tlfeatures.extraction.chunks._map import ask_workers, cluster_size
from tlfeatures.extraction.chunks._probes import check_probes
from tlfeatures.machine import installed_version
from tlfeatures.store import (
    OWN_CONTRACTS,
    CodeCache,
    CodeSpec,
    SpecMemo,
    facts_of,
    newest_contract,
)

POOLING_RULES = 1  # raised when poolings are refused that were not before, by what is remembered
PACKAGES = ("tlfeatures", "torch", "torchvision", "timm", "numpy", "pillow")


def spec_of(
    request: BackboneRequest, run: RunOptions, *, tensors: Mapping[str, Any] | None = None
) -> CodeSpec:
    """The spec that the words mean."""
    return specs_of(request, (request.layer,), run, tensors=tensors)[0]


def specs_of(
    request: BackboneRequest,
    layers: Sequence[str | None],
    run: RunOptions,
    *,
    n: int = 0,
    tensors: Mapping[str, Any] | None = None,
) -> list[CodeSpec]:
    """The specs of several layers, remembered so that a cached run imports no torch.

    Parameters
    ----------
    request : BackboneRequest
    layers : sequence of str or None
    run : RunOptions
    n : int, default=0
        Pictures that will be asked for; if they are many, worker processes are started that find
        out, and this process needs no torch at all.
    tensors : mapping of name to ndarray, optional

    Raises
    ------
    UsageError, WeightsError
    CodesMismatchError
        If an own network or preprocess function says other things of the probe pictures than
        the cache remembers.
    """
    run = recall_specs(request, layers, run, tensors) or settle(run, request)
    if not request.needs_probes:
        found = _base_specs(request, layers, run, tensors, n)
        return [_with_contract(spec, run) for spec in found]
    engine = open_engine(request, run, layers, tensors=tensors)
    specs = [_with_contract(spec, run) for spec in engine.specs]
    what = describe_weights(request, tensors)
    check_probes(engine, [CodeCache(run.cache_dir, spec, what=what) for spec in specs])
    return specs


def recall_specs(
    request: BackboneRequest,
    layers: Sequence[str | None],
    run: RunOptions,
    tensors: Mapping[str, Any] | None = None,
) -> RunOptions | None:
    """The run as an earlier one found it here, if the cache remembers its specs too."""
    recalled = recall(run, request)
    if recalled is None or _remembered(request, layers, recalled, tensors) is None:
        return None
    return recalled


def next_contract(request: BackboneRequest, layers: Sequence[str | None], run: RunOptions) -> int:
    """A contract that the cache has for none of these layers yet; `--new-contract`."""
    specs = _base_specs(request, layers, settle(run, request), None, 0)
    newest = max(newest_contract(run.cache_dir, spec) for spec in specs)
    return max(newest, OWN_CONTRACTS * specs[0].contract) + 1


def _with_contract(spec: CodeSpec, run: RunOptions) -> CodeSpec:
    contract = run.contract or newest_contract(run.cache_dir, spec) or spec.contract
    return replace(spec, contract=contract)


def _base_specs(
    request: BackboneRequest,
    layers: Sequence[str | None],
    run: RunOptions,
    tensors: Mapping[str, Any] | None,
    n: int,
) -> list[CodeSpec]:
    """The specs under the program's own contract."""
    if (remembered := _remembered(request, layers, run, tensors)) is not None:
        return remembered
    files = _weights_files(request) if _is_known(request, tensors) else None
    before = facts_of(files or ())
    find = partial(_find_specs, request, layers, run, tensors)
    is_here = run.device == "cpu" and n > 0 and not cluster_size()
    plan = plan_run(n, request, run) if is_here else Plan()
    if plan.n_workers > 1 and files is not None and all(path.exists() for path in files):
        # As the chunks will want it, so that it is made ready once.
        find_ready = partial(find, with_kernels=plan.kernels_save_s > 0)
        specs = ask_workers(plan.n_workers, find_ready)[0]
    else:  # a download is for one process, and so is what it says meanwhile
        specs = find()
        files = _weights_files(request) if files is not None else None
    after = facts_of(files or ())
    # A file that was replaced while it was read says nothing; one that was downloaded does.
    if files is not None and all(before.get(path, facts) == facts for path, facts in after.items()):
        memo = SpecMemo(run.cache_dir)
        for layer, spec in zip(layers, specs, strict=True):
            memo.put(_words(replace(request, layer=layer), run), spec, files)
    return specs


def _find_specs(
    request: BackboneRequest,
    layers: Sequence[str | None],
    run: RunOptions,
    tensors: Mapping[str, Any] | None,
    *,
    with_kernels: bool = False,
) -> list[CodeSpec]:
    engine = open_engine(request, run, layers, tensors=tensors, with_kernels=with_kernels)
    return list(engine.specs)


def _remembered(
    request: BackboneRequest,
    layers: Sequence[str | None],
    run: RunOptions,
    tensors: Mapping[str, Any] | None,
) -> list[CodeSpec] | None:
    """The specs that the cache folder remembers for these words; None if one is missing."""
    if not _is_known(request, tensors):
        return None
    memo = SpecMemo(run.cache_dir)
    found = [memo.get(_words(replace(request, layer=layer), run)) for layer in layers]
    known = [spec for spec in found if spec is not None]
    return known if len(known) == len(found) else None


def _is_known(request: BackboneRequest, tensors: Mapping[str, Any] | None) -> bool:
    """Whether the words alone say which network it is."""
    return tensors is None and request.is_words and not request.needs_probes


def _weights_files(request: BackboneRequest) -> list[Path] | None:
    """The files that the memory depends on; None if nothing says whether they change."""
    path = weights_file(request.backbone, request.weights)
    if path is not None:
        return [path]
    is_random = (request.weights or "").partition(":")[0] == "random"
    return [] if is_random else None


def _words(request: BackboneRequest, run: RunOptions) -> dict[str, Any]:
    words = {
        **request.to_json(),
        "device": run.device,
        "precision": run.precision,
        "decode": run.decode,
    }
    if request.pooling not in ("avg", "flatten"):
        words["pooling_rules"] = POOLING_RULES
    if request.weights is not None and Path(request.weights).exists():
        words["weights"] = str(Path(request.weights).resolve())
    hub = {name: os.environ.get(name, "") for name in ("TORCH_HOME", "XDG_CACHE_HOME")}
    return {**words, **hub, "versions": {name: installed_version(name) for name in PACKAGES}}
