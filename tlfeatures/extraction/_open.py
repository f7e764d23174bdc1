"""From the words a person types to a spec, an engine, a run. Torch is imported only when needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tlfeatures.backbones import BackboneRequest
from tlfeatures.errors import UsageError
from tlfeatures.extraction._extract import Engine, Extraction, Progress, extract_codes
from tlfeatures.pictures import DecodeOptions, Pictures
from tlfeatures.store import CodeSpec, SpecMemo, default_cache_dir

DEVICES = ("auto", "cpu", "cuda", "mps")
PACKAGES = ("tlfeatures", "torch", "torchvision", "numpy", "pillow")


@dataclass(frozen=True)
class RunOptions:
    """How a run is done; nothing here changes the numbers beyond 1e-5.

    Attributes
    ----------
    cache : path or None
        None: $TLFEATURES_CACHE, else the user's cache folder.
    device : {"auto", "cpu", "cuda", "mps"}
    batch_size : int or None
        None: 32 on a CPU, 128 on a GPU.
    n_jobs : int or None
        Decoder threads; None: one a core.
    exif : bool
    """

    cache: str | os.PathLike[str] | None = None
    device: str = "auto"
    batch_size: int | None = None
    n_jobs: int | None = None
    exif: bool = True

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
    """
    run = run or RunOptions()
    spec = spec_of(request, run, tensors=tensors)
    return extract_codes(
        pictures,
        spec,
        lambda: open_engine(request, run, tensors=tensors),
        cache=run.cache_dir,
        options=DecodeOptions(exif=run.exif),
        n_jobs=run.n_jobs,
        progress=progress,
    )


def spec_of(
    request: BackboneRequest, run: RunOptions, *, tensors: Mapping[str, Any] | None = None
) -> CodeSpec:
    """The spec that the words mean, remembered so that a cached run imports no torch."""
    memo, words = SpecMemo(run.cache_dir), _words(request)
    remembered = memo.get(words) if tensors is None else None
    if remembered is not None:
        return remembered
    spec = open_engine(request, run, tensors=tensors).spec
    if tensors is None:
        from tlfeatures.backbones._weights import weights_file

        path = weights_file(request.backbone, request.weights)
        memo.put(words, spec, [path] if path else [])
    return spec


def open_engine(
    request: BackboneRequest, run: RunOptions, *, tensors: Mapping[str, Any] | None = None
) -> Engine:
    """The network of these words on its device; the last ones used stay in memory."""
    from tlfeatures.extraction._engine import open_torch_engine

    return open_torch_engine(request, run.device, run.batch_size, tensors)


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
