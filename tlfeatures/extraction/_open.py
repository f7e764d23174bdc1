"""From the words a person types to a spec, an engine, a run. Torch is imported only when needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlfeatures.backbones import BackboneRequest
from tlfeatures.errors import CodesMismatchError, UsageError
from tlfeatures.extraction._extract import Engine, Extraction, Progress, extract_codes
from tlfeatures.extraction._probes import check_probes
from tlfeatures.pictures import DecodeOptions, Pictures
from tlfeatures.store import (
    OWN_CONTRACTS,
    CodeCache,
    CodeSpec,
    SpecMemo,
    default_cache_dir,
    newest_contract,
)

if TYPE_CHECKING:
    from tlfeatures.extraction._engine import TorchEngine

DEVICES = ("auto", "cpu", "cuda", "mps")
PACKAGES = ("tlfeatures", "torch", "torchvision", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class RunOptions:
    """How a run is done; only `decode` changes the numbers beyond 1e-5.

    Attributes
    ----------
    cache : path or None
        None: $TLFEATURES_CACHE, else the user's cache folder.
    device : {"auto", "cpu", "cuda", "mps"}
    batch_size : int or None
        None: 32 on a CPU, 128 on a GPU.
    n_jobs : int or None
        Decoder threads; None: one a core.
    decode : DecodeOptions
    retry_bad : bool
        Decode pictures again that the cache remembers as bad.
    contract : int or None
        Which of the cache's contracts is extended; None: the newest; see `next_contract`.
    """

    cache: str | os.PathLike[str] | None = None
    device: str = "auto"
    batch_size: int | None = None
    n_jobs: int | None = None
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    retry_bad: bool = False
    contract: int | None = None

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise UsageError(
                f"device {self.device!r} is unknown; choose one of {', '.join(DEVICES)}."
            )
        for name in ("batch_size", "n_jobs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1.")

    @property
    def cache_dir(self) -> Path:
        """The cache folder."""
        return default_cache_dir() if self.cache is None else Path(self.cache)


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
) -> list[Extraction]:
    """Like `extract`, for several layers in one pass; nothing after the last one is computed.

    Parameters
    ----------
    layers : sequence of str or None
        They stand for the request's layer; two names of one layer are one.

    Returns
    -------
    list of Extraction
        One a layer, in the order given.
    """
    run = run or RunOptions()
    specs = specs_of(request, layers, run, tensors=tensors)
    names = dict(zip(specs, layers, strict=True))

    def make_engine(lacking: Sequence[CodeSpec]) -> Engine:
        engine = open_engine(request, run, [names[spec] for spec in lacking], tensors=tensors)
        for found, wanted in zip(engine.specs, lacking, strict=True):
            if replace(found, contract=wanted.contract) != wanted:
                raise CodesMismatchError(
                    f"the weights of {wanted.backbone} changed while the run began "
                    f"({'; '.join(wanted.diff(found))}); run again."
                )
        return engine

    done = extract_codes(
        pictures,
        list(names),
        make_engine,
        cache=run.cache_dir,
        options=run.decode,
        n_jobs=run.n_jobs,
        retry_bad=run.retry_bad,
        progress=progress,
    )
    by_spec = dict(zip(names, done, strict=True))
    return [by_spec[spec] for spec in specs]


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
    tensors: Mapping[str, Any] | None = None,
) -> list[CodeSpec]:
    """The specs of several layers, remembered so that a cached run imports no torch.

    Raises
    ------
    UsageError, WeightsError
    CodesMismatchError
        If an own network or preprocess function says other things of the probe pictures than
        the cache remembers.
    """
    specs = [_with_contract(spec, run) for spec in _base_specs(request, layers, run, tensors)]
    if request.needs_probes:
        engine = open_engine(request, run, layers, tensors=tensors)
        check_probes(engine, [CodeCache(run.cache_dir, spec) for spec in specs])
    return specs


def next_contract(request: BackboneRequest, layers: Sequence[str | None], run: RunOptions) -> int:
    """A contract that the cache has for none of these layers yet; `--new-contract`."""
    specs = _base_specs(request, layers, run, None)
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
) -> list[CodeSpec]:
    """The specs under the program's own contract."""
    memo = SpecMemo(run.cache_dir)
    requests = [replace(request, layer=layer) for layer in layers]
    is_known = tensors is None and request.is_words and not request.needs_probes
    words = [_words(each) for each in requests] if is_known else []
    remembered = [memo.get(each) for each in words]
    if is_known and None not in remembered:
        return [spec for spec in remembered if spec is not None]
    specs = list(open_engine(request, run, layers, tensors=tensors).specs)
    if is_known and (files := _weights_files(request)) is not None:
        for each, spec in zip(words, specs, strict=True):
            memo.put(each, spec, files)
    return specs


def open_engine(
    request: BackboneRequest,
    run: RunOptions,
    layers: Sequence[str | None] | None = None,
    *,
    tensors: Mapping[str, Any] | None = None,
) -> TorchEngine:
    """The network of these words on its device; the last ones used stay in memory.

    Raises
    ------
    UsageError, WeightsError
    """
    from tlfeatures.extraction._engine import open_torch_engine

    layers = (request.layer,) if layers is None else layers
    return open_torch_engine(request, layers, run.device, run.batch_size, tensors)


def _weights_files(request: BackboneRequest) -> list[Path] | None:
    """The files that the memory depends on; None if nothing says whether they change."""
    from tlfeatures.backbones import weights_file

    path = weights_file(request.backbone, request.weights)
    if path is not None:
        return [path]
    is_random = (request.weights or "").partition(":")[0] == "random"
    return [] if is_random else None


def _words(request: BackboneRequest) -> dict[str, Any]:
    words = request.to_json()
    if request.weights is not None and Path(request.weights).exists():
        words["weights"] = str(Path(request.weights).resolve())
    hub = {name: os.environ.get(name, "") for name in ("TORCH_HOME", "XDG_CACHE_HOME")}
    return {**words, **hub, "versions": {name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
