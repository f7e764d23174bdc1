"""From the words a person types to a spec, an engine, a run. Torch is imported only when needed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlfeatures.backbones import BackboneRequest, stands_bf16, weights_file
from tlfeatures.errors import CodesMismatchError, UsageError
from tlfeatures.extraction._chunk import Engine
from tlfeatures.extraction._extract import Extraction, Progress, extract_codes
from tlfeatures.extraction._machine import (
    COMPILES,
    DECODERS,
    DEVICES,
    PRECISIONS,
    device_signs,
    find_devices,
    installed_version,
    needs_torch,
    resolve_device,
    resolve_precision,
)
from tlfeatures.extraction._map import ask_workers, cluster_size
from tlfeatures.extraction._plan import CPU_BATCH, Plan, make_plan
from tlfeatures.extraction._probes import check_probes
from tlfeatures.pictures import DecodeOptions, Pictures
from tlfeatures.store import (
    OWN_CONTRACTS,
    CodeCache,
    CodeSpec,
    DeviceMemo,
    SpecMemo,
    default_cache_dir,
    newest_contract,
)

if TYPE_CHECKING:
    from tlfeatures.extraction._engine import TorchEngine

FAST_SIDES = 2  # of the resized picture: what is left is resized with antialiasing
PACKAGES = ("tlfeatures", "torch", "torchvision", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class RunOptions:
    """How a run is done; precision, decoding and `store_dtype` change the numbers beyond 1e-5.

    Attributes
    ----------
    cache : path or None
        None: $TLFEATURES_CACHE, else the user's cache folder.
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "float32", "bf16", "fp16"}
        "auto": half precision where the processor multiplies in it and codes stay within a
        cosine of 0.9995, else float32.
    batch_size : int or None
        None: 16 on a CPU, as the free memory allows on a GPU.
    decoder : {"exact", "fast", "gpu"}
        "fast": JPEG files far larger than the crop at a reduced scale; "gpu": JPEG files and all
        resizing on the GPU. Codes of each are kept apart.
    compile : {"auto", "on", "off"}
        "auto": if it saves more time than it takes.
    n_jobs : int or None
        On a CPU processes of one thread each, 1: this process; on a GPU decoder threads. Negative
        as joblib has it: -1 is one for every core, -2 for all but one. None: as it pays.
    decode : DecodeOptions
    store_dtype : {"float32", "float16"} or None
        How new rows are stored; None: half precision as float16, float32 as it is.
    retry_bad : bool
        Decode pictures again that the cache remembers as bad.
    contract : int or None
        Which of the cache's contracts is extended; None: the newest; see `next_contract`.

    Raises
    ------
    UsageError
        If one of them is impossible.
    """

    cache: str | os.PathLike[str] | None = None
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    decoder: str = "exact"
    compile: str = "auto"
    n_jobs: int | None = None
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    store_dtype: str | None = None
    retry_bad: bool = False
    contract: int | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("device", DEVICES),
            ("precision", PRECISIONS),
            ("decoder", DECODERS),
            ("compile", COMPILES),
        ):
            value = getattr(self, name)
            if value not in known:
                raise UsageError(f"{name} {value!r} is unknown; choose one of {', '.join(known)}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"batch_size is {self.batch_size}; it must be at least 1.")
        if self.n_jobs == 0:
            raise UsageError("n_jobs is 0; give a number of processes, -1 for all cores, or None.")

    @property
    def cache_dir(self) -> Path:
        """The cache folder."""
        return default_cache_dir() if self.cache is None else Path(self.cache)

    def settled(self, devices: Sequence[str] | None = None) -> RunOptions:
        """The same with device, precision and cache folder as they are here.

        Parameters
        ----------
        devices : sequence of str, optional
            Those that are here, the best first; None: they are looked for.

        Raises
        ------
        UsageError
            If the device is not there, or has no such precision.
        """
        device = resolve_device(self.device, devices)
        precision = resolve_precision(self.precision, device)
        if self.decoder == "gpu" and device != "cuda":
            raise UsageError(f"decode gpu needs a CUDA GPU, the device is {device}; try fast.")
        if precision == "float32" and self.store_dtype == "float16":
            raise UsageError(
                "store_dtype float16 is for codes of half precision; those of float32 would lose "
                "more than their tolerance."
            )
        cache = self.cache_dir.absolute()  # a worker may stand in another folder
        return replace(self, device=device, precision=precision, cache=cache)


@dataclass(frozen=True)
class EngineMaker:
    """Opens the network of some words, in this process or in another one.

    Attributes
    ----------
    request : BackboneRequest
    run : RunOptions
        Settled.
    names : dict of CodeSpec to (str or None)
        The layer that was asked for.
    tensors : mapping of name to ndarray, or None
        Weights that a saved model carries.
    is_compiled : bool
    """

    request: BackboneRequest
    run: RunOptions
    names: dict[CodeSpec, str | None]
    tensors: Mapping[str, Any] | None = None
    is_compiled: bool = False

    def __call__(self, specs: Sequence[CodeSpec]) -> Engine:
        """An engine of just these specs.

        Raises
        ------
        CodesMismatchError
            If the weights are no longer those of the specs.
        """
        layers = [self.names[spec] for spec in specs]
        engine = open_engine(
            self.request, self.run, layers, tensors=self.tensors, is_compiled=self.is_compiled
        )
        for found, wanted in zip(engine.specs, specs, strict=True):
            if replace(found, contract=wanted.contract) != wanted:
                raise CodesMismatchError(
                    f"the weights of {wanted.backbone} changed while the run began "
                    f"({'; '.join(wanted.diff(found))}); run again."
                )
        return engine


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
    asked, request = run or RunOptions(), _absolute(request)
    find = partial(_extract, pictures, request, layers, asked, tensors=tensors, progress=progress)
    recalled = recall(asked, request)
    if recalled is not None and _remembered(request, layers, recalled, tensors) is not None:
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
        return plan_of(n, lacking, maker)

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
    )
    by_spec = dict(zip(names, done, strict=True))
    return [by_spec[spec] for spec in specs]


def settle(run: RunOptions, request: BackboneRequest) -> RunOptions:
    """Device and precision for this network, as they are here.

    One of the user's own may know float32 only; bf16 is too coarse for depthwise convolutions, and
    which of timm's networks have them, or look at pixels with what, no table says.
    """
    if not needs_torch(run.device):
        return _settle(run, request, None)
    devices, signs, memo = find_devices(), device_signs(), DeviceMemo(run.cache_dir)
    if memo.get(signs) != devices:
        memo.put(signs, devices)
    return _settle(run, request, devices)


def recall(run: RunOptions, request: BackboneRequest) -> RunOptions | None:
    """The same by what an earlier run found here, without torch; None if that does not say it.

    It tells which codes to look for. Before any are computed, `settle` must say the same.
    """
    if not needs_torch(run.device):
        return None
    devices = DeviceMemo(run.cache_dir).get(device_signs())
    if devices is None:
        return None
    try:
        return _settle(run, request, devices)
    except UsageError:  # it may be wrong by now
        return None


def _settle(run: RunOptions, request: BackboneRequest, devices: Sequence[str] | None) -> RunOptions:
    if run.precision == "auto" and request.is_own:
        return replace(run, precision="float32").settled(devices)
    settled = run.settled(devices)
    is_half = run.precision == "auto" and settled.precision == "bf16"
    if is_half and not stands_bf16(request.backbone):
        return replace(settled, precision="float32")
    return settled


def _absolute(request: BackboneRequest) -> BackboneRequest:
    """The same for a process in another folder."""
    weights = request.weights
    if weights is None or not Path(weights).is_file():
        return request
    return replace(request, weights=os.path.abspath(weights))


def plan_of(n: int, specs: Sequence[CodeSpec], maker: EngineMaker) -> Plan:
    """How so many pictures are computed; where compiling pays, it is done here.

    Workers find what was compiled on the disk.
    """
    plan = _plan(n, maker.request, maker.run)
    if not plan.is_compiled:
        return plan
    from tlfeatures.extraction._settings import single_threaded

    started, maker = time.perf_counter(), replace(maker, is_compiled=True)
    with single_threaded() if plan.n_workers > 1 else contextlib.nullcontext():
        engine = maker(specs)
    seconds = time.perf_counter() - started
    if not engine.is_compiled:
        said = (*plan.chosen[:-1], "not compiled: it could not be")
        return replace(plan, is_compiled=False, compile_s=seconds, chosen=said)
    return replace(plan, make_engine=maker, compile_s=seconds)


def _plan(n: int, request: BackboneRequest, run: RunOptions) -> Plan:
    return make_plan(
        n,
        None if request.needs_probes else request.backbone,
        run.device,
        run.precision,
        batch_size=run.batch_size or CPU_BATCH,
        n_jobs=run.n_jobs,
        compile=run.compile,
    )


def decoding_of(run: RunOptions, spec: CodeSpec) -> DecodeOptions:
    """How pictures are decoded for codes of that spec.

    Raises
    ------
    UsageError
        For fast decoding with a preprocess function of one's own: nothing says how large it looks.
    """
    if spec.decode != "fast":
        return run.decode
    sides: list[int] = [
        spec.preprocessing[name] for name in ("resize", "input_size") if name in spec.preprocessing
    ]
    if not sides:
        raise UsageError("decode fast does not go with an own preprocess function; use exact.")
    return replace(run.decode, least_side=FAST_SIDES * max(sides))


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
    recalled = recall(run, request)
    if recalled is None or _remembered(request, layers, recalled, tensors) is None:
        recalled = settle(run, request)
    run = recalled
    specs = [_with_contract(spec, run) for spec in _base_specs(request, layers, run, tensors, n)]
    if request.needs_probes:
        engine = open_engine(request, run, layers, tensors=tensors)
        check_probes(engine, [CodeCache(run.cache_dir, spec) for spec in specs])
    return specs


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
    find = partial(_find_specs, request, layers, run, tensors)
    is_here = run.device == "cpu" and n > 0 and not cluster_size()
    n_workers = _plan(n, request, run).n_workers if is_here else 1
    if n_workers > 1 and files is not None and all(path.exists() for path in files):
        specs = ask_workers(n_workers, find)[0]
    else:  # a download is for one process, and so is what it says meanwhile
        specs = find()
        files = _weights_files(request) if files is not None else None
    if files is not None:
        memo = SpecMemo(run.cache_dir)
        for layer, spec in zip(layers, specs, strict=True):
            memo.put(_words(replace(request, layer=layer), run), spec, files)
    return specs


def _find_specs(
    request: BackboneRequest,
    layers: Sequence[str | None],
    run: RunOptions,
    tensors: Mapping[str, Any] | None,
) -> list[CodeSpec]:
    return list(open_engine(request, run, layers, tensors=tensors).specs)


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


def open_engine(
    request: BackboneRequest,
    run: RunOptions,
    layers: Sequence[str | None] | None = None,
    *,
    tensors: Mapping[str, Any] | None = None,
    is_compiled: bool = False,
) -> TorchEngine:
    """The network of these words on its device; the last ones used stay in memory.

    Parameters
    ----------
    request : BackboneRequest
    run : RunOptions
    layers : sequence of str or None, optional
        They stand for the request's layer.
    tensors : mapping of name to ndarray, optional
    is_compiled : bool, default=False
        Compile it, or take what the cache folder keeps of an earlier time.

    Raises
    ------
    UsageError, WeightsError
    """
    from tlfeatures.extraction._engine import Means, open_torch_engine

    run, request = settle(run, request), _absolute(request)
    layers = (request.layer,) if layers is None else layers
    kept_in = run.cache_dir if is_compiled else None
    means = Means(run.device, run.precision, run.batch_size, run.decoder, kept_in)
    return open_torch_engine(request, layers, means, tensors)


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
        "decoder": run.decoder,
    }
    if request.weights is not None and Path(request.weights).exists():
        words["weights"] = str(Path(request.weights).resolve())
    hub = {name: os.environ.get(name, "") for name in ("TORCH_HOME", "XDG_CACHE_HOME")}
    return {**words, **hub, "versions": {name: installed_version(name) for name in PACKAGES}}
