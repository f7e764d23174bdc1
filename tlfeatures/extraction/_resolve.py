"""Which codes do these words mean here? One answer, a value; remembered, it needs no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlfeatures.backbones import BackboneRequest, describe_weights, weights_file
from tlfeatures.extraction._open import EngineMaker, absolute, make_plan_ready, open_engine
from tlfeatures.extraction.chunks._map import ask_workers, cluster_size
from tlfeatures.extraction.chunks._probes import check_probes
from tlfeatures.extraction.planning._options import RunOptions, decoding_of, recall, settle
from tlfeatures.extraction.planning._plan import Plan, plan_run
from tlfeatures.machine import installed_version
from tlfeatures.pictures import DecodeOptions
from tlfeatures.store import OWN_CONTRACTS, CodeCache, CodeSpec, SpecMemo, facts_of, newest_contract

if TYPE_CHECKING:
    from tlfeatures.engine import TorchEngine

POOLING_RULES = 1  # raised when poolings are refused that were not before, by what is remembered
PACKAGES = ("tlfeatures", "torch", "torchvision", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class Resolved:
    """Which codes some words mean here, and how they are computed.

    Attributes
    ----------
    request : BackboneRequest
        The words about the network.
    layers : tuple of str or None
        Those asked for.
    asked : RunOptions
        The words about the run.
    run : RunOptions
        The same with device, precision and cache folder as they are here.
    specs : tuple of CodeSpec
        One for each layer.
    tensors : mapping of name to ndarray, or None
        Weights that a saved model carries.
    is_checked : bool
        Whether the device was looked for; else it is the one that an earlier run found.
    """

    request: BackboneRequest
    layers: tuple[str | None, ...]
    asked: RunOptions
    run: RunOptions
    specs: tuple[CodeSpec, ...]
    tensors: Mapping[str, Any] | None
    is_checked: bool

    @property
    def decoding(self) -> DecodeOptions:
        """How pictures are decoded for these codes."""
        return decoding_of(self.run, self.specs[0])

    @property
    def what(self) -> str:
        """Whose codes these are, in words."""
        return describe_weights(self.request, self.tensors)

    def settled(self) -> Resolved:
        """The same after a look at the devices: another value where they are others by now.

        Before anything is computed it must be this one.

        Raises
        ------
        UsageError, WeightsError, StoreError
            As `resolve`.
        """
        if self.is_checked:
            return self
        run = settle(self.asked, self.request)
        if run == self.run:
            return replace(self, is_checked=True)
        return _resolve_on(run, self.asked, self.request, self.layers, 0, self.tensors)

    def maker(self) -> EngineMaker:
        """What opens the network, here or in a worker."""
        names = dict(zip(self.specs, self.layers, strict=True))
        return EngineMaker(self.request, self.run, names, self.tensors)

    def open(self) -> TorchEngine:
        """The network, in this process."""
        return open_engine(self.request, self.run, self.layers, tensors=self.tensors)

    def plan(self, n: int, lacking: Sequence[CodeSpec]) -> Plan:
        """How `n` pictures that lack these codes are computed; what that takes is made ready."""
        return make_plan_ready(n, lacking, self.maker())


def resolve(
    request: BackboneRequest,
    run: RunOptions | None = None,
    layers: Sequence[str | None] | None = None,
    *,
    n: int = 0,
    tensors: Mapping[str, Any] | None = None,
) -> Resolved:
    """Say which codes these words mean here, remembered so that a cached run imports no torch.

    Parameters
    ----------
    request : BackboneRequest
    run : RunOptions, optional
    layers : sequence of str or None, optional
        They stand for the request's layer.
    n : int, default=0
        Pictures that will be asked for; if they are many, worker processes are started that find
        out, and this process needs no torch at all.
    tensors : mapping of name to ndarray, optional
        Weights that a saved model carries.

    Raises
    ------
    UsageError, WeightsError, StoreError
        As the words, the weights and the cache demand.
    CodesMismatchError
        If an own network or preprocess function says other things of the probe pictures than
        the cache remembers.
    """
    asked, request = run or RunOptions(), absolute(request)
    wanted = (request.layer,) if layers is None else tuple(layers)
    recalled = recall(asked, request)
    if recalled is not None:
        known = _remembered(request, wanted, recalled, tensors)
        if known is not None:
            specs = _with_contracts(known, recalled)
            return Resolved(request, wanted, asked, recalled, specs, tensors, is_checked=False)
    return _resolve_on(settle(asked, request), asked, request, wanted, n, tensors)


def _resolve_on(
    run: RunOptions,
    asked: RunOptions,
    request: BackboneRequest,
    layers: tuple[str | None, ...],
    n: int,
    tensors: Mapping[str, Any] | None,
) -> Resolved:
    """The answer for a run that is settled."""
    if not request.needs_probes:
        specs = _with_contracts(_base_specs(request, layers, run, tensors, n), run)
        return Resolved(request, layers, asked, run, specs, tensors, is_checked=True)
    engine = open_engine(request, run, layers, tensors=tensors)
    specs = _with_contracts(engine.specs, run)
    found = Resolved(request, layers, asked, run, specs, tensors, is_checked=True)
    check_probes(engine, [CodeCache(run.cache_dir, spec, what=found.what) for spec in specs])
    return found


def next_contract(request: BackboneRequest, layers: Sequence[str | None], run: RunOptions) -> int:
    """A contract that the cache has for none of these layers yet; `--new-contract`."""
    specs = _base_specs(request, layers, settle(run, request), None, 0)
    newest = max(newest_contract(run.cache_dir, spec) for spec in specs)
    return max(newest, OWN_CONTRACTS * specs[0].contract) + 1


def _with_contracts(specs: Sequence[CodeSpec], run: RunOptions) -> tuple[CodeSpec, ...]:
    """The specs under the contract that is asked for, else the cache's newest."""
    return tuple(
        replace(
            spec,
            contract=run.contract or newest_contract(run.cache_dir, spec) or spec.contract,
        )
        for spec in specs
    )


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
