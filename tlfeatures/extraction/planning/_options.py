"""How a run is done, in words, and what the words come to on this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tlfeatures._parameters import check_jobs, check_whole
from tlfeatures._targets import expand
from tlfeatures.backbones import BackboneRequest, stands_bf16
from tlfeatures.errors import UsageError
from tlfeatures.machine import (
    DECODERS,
    DEVICES,
    KERNELS,
    PRECISIONS,
    device_signs,
    find_devices,
    needs_torch,
    resolve_device,
    resolve_precision,
)
from tlfeatures.pictures import DecodeOptions
from tlfeatures.store import AnswerMemo, CodeSpec, check_folder, default_cache_dir

STORE_DTYPES = (None, "float32", "float16")
FAST_SIDES = 2  # of the resized picture: what is left is resized with antialiasing


@dataclass(frozen=True)
class RunOptions:
    """How a run is done; precision, decoding and `store_dtype` change the numbers beyond 1e-5.

    Attributes
    ----------
    cache : path or None
        None: $TLFEATURES_CACHE, else the user's cache folder.
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "float32", "bf16", "fp16"}
        "auto": half precision where the processor multiplies in it and the network is of a kind
        whose codes keep a cosine of 0.9995, else float32; see docs/numerics.md.
    batch_size : int or None
        None: 16 on a CPU, as the free memory allows on a GPU.
    decode : {"exact", "fast"}
        "fast": JPEG files far larger than the crop at a reduced scale. Codes of each have a key of
        their own.
    kernels : {"on", "off"}
        Whether operations of our own take part, which the machine's C++ compiler makes where they
        save more time than that takes: the resizing of pictures and, on a CPU, convolutions of
        3 x 3. "off": none, for comparison.
    n_jobs : int or None
        On a CPU processes of one thread each, 1: this process; on a GPU decoder threads. Negative
        as joblib has it: -1 is one for every core, -2 for all but one. None: as it pays.
    decode_options : DecodeOptions
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
    decode: str = "exact"
    kernels: str = "on"
    n_jobs: int | None = None
    decode_options: DecodeOptions = field(default_factory=DecodeOptions)
    store_dtype: str | None = None
    retry_bad: bool = False
    contract: int | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("device", DEVICES),
            ("precision", PRECISIONS),
            ("decode", DECODERS),
            ("kernels", KERNELS),
        ):
            value = getattr(self, name)
            if value not in known:
                raise UsageError(f"{name} {value!r} is unknown; choose one of {', '.join(known)}.")
        if self.batch_size is not None:
            object.__setattr__(self, "batch_size", check_whole("batch_size", self.batch_size))
        object.__setattr__(self, "n_jobs", check_jobs(self.n_jobs))
        if self.store_dtype not in STORE_DTYPES:
            raise UsageError(
                f"store_dtype {self.store_dtype!r} is unknown; choose float32, float16 or None."
            )
        if not isinstance(self.cache, str | os.PathLike | None):
            raise UsageError(f"cache is {self.cache!r:.80}; give a folder, or None.")
        if self.cache is not None and not os.fsdecode(self.cache).strip():
            raise UsageError("cache is empty; name a folder, or leave it out.")

    @property
    def cache_dir(self) -> Path:
        """The cache folder."""
        return default_cache_dir() if self.cache is None else expand(self.cache)

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
        StoreError
            If a file is where the cache folder should be.
        """
        device = resolve_device(self.device, devices)
        precision = resolve_precision(self.precision, device)
        if precision == "float32" and self.store_dtype == "float16":
            raise UsageError(
                "`store_dtype` float16 is for codes of half precision; those of float32 would lose "
                "more than their tolerance."
            )
        cache = self.cache_dir.absolute()  # a worker may stand in another folder
        check_folder(cache)
        return replace(self, device=device, precision=precision, cache=cache)


def settle(run: RunOptions, request: BackboneRequest) -> RunOptions:
    """Device and precision for this network, as they are here.

    One of the user's own may know float32 only; bf16 is too coarse for depthwise convolutions, and
    which of timm's networks have them, but for torchvision's of the same name, no table says.
    """
    if not needs_torch(run.device):
        return _settle(run, request, None)
    devices = find_devices()
    if _remembered_devices(run) != devices:
        AnswerMemo(run.cache_dir).put(_of_devices(), {"devices": list(devices)})
    return _settle(run, request, devices)


def recall(run: RunOptions, request: BackboneRequest) -> RunOptions | None:
    """The same by what an earlier run found here, without torch; None if that does not say it.

    It tells which codes to look for. Before any are computed, `settle` must say the same.
    """
    devices = _remembered_devices(run) if needs_torch(run.device) else None
    if devices is None:
        return None
    try:
        return _settle(run, request, devices)
    except UsageError:  # it may be wrong by now
        return None


def _remembered_devices(run: RunOptions) -> tuple[str, ...] | None:
    """The devices found on this host, so that a cached run need not look for them."""
    found = (AnswerMemo(run.cache_dir).get(_of_devices()) or {}).get("devices")
    if not isinstance(found, list) or not found:
        return None
    return tuple(found) if all(isinstance(one, str) for one in found) else None


def _of_devices() -> dict[str, Any]:
    """The question: what is here, where these signs are as they are."""
    return {"devices": platform.node(), "signs": device_signs()}


def _settle(run: RunOptions, request: BackboneRequest, devices: Sequence[str] | None) -> RunOptions:
    if run.precision == "auto" and request.is_own:
        return replace(run, precision="float32").settled(devices)
    settled = run.settled(devices)
    is_half = run.precision == "auto" and settled.precision == "bf16"
    if is_half and not stands_bf16(request.backbone):
        return replace(settled, precision="float32")
    return settled


def decoding_of(run: RunOptions, spec: CodeSpec) -> DecodeOptions:
    """How pictures are decoded for codes of that spec.

    Raises
    ------
    UsageError
        For fast decoding with a preprocess function of one's own: nothing says how large it looks.
    """
    if spec.decode != "fast":
        return run.decode_options
    sides: list[int] = [
        spec.preprocessing[name] for name in ("resize", "input_size") if name in spec.preprocessing
    ]
    if not sides:
        raise UsageError("decode fast does not go with an own preprocess function; use exact.")
    return replace(run.decode_options, least_side=FAST_SIDES * max(sides))


def range_of(given: Any) -> tuple[float, float] | None:
    """The two numbers of a `range`; None for "full"."""
    if isinstance(given, str) and given == "full":
        return None
    try:
        low, high = given
        return float(low), float(high)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"range is {given!r:.80}; give 'full' or two numbers, (low, high)."
        ) from error
