"""Opening the network of some words, in this process or in another one, with what it needs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlfeatures.backbones import BackboneRequest
from tlfeatures.engine import (
    PILLOW_HANDS_OUT,
    RESIZING,
    WINOGRAD,
    Library,
    are_for_here,
    find_kept,
    kept_resizer,
    make_ready,
    suits,
    winograd_pays,
)
from tlfeatures.errors import CodesMismatchError
from tlfeatures.extraction.chunks._map import cluster_size
from tlfeatures.extraction.planning._options import RunOptions, settle
from tlfeatures.extraction.planning._plan import KERNELS_S, RESIZING_S, Plan, plan_run
from tlfeatures.store import CodeSpec

if TYPE_CHECKING:
    from tlfeatures.engine import TorchEngine

_log = logging.getLogger(__name__)


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
    with_kernels : bool
        With our own convolutions, as far as they are compiled where it is opened.
    with_resizing : bool
        The same of our own resizing.
    """

    request: BackboneRequest
    run: RunOptions
    names: dict[CodeSpec, str | None]
    tensors: Mapping[str, Any] | None = None
    with_kernels: bool = False
    with_resizing: bool = False

    def __call__(self, specs: Sequence[CodeSpec]) -> TorchEngine:
        """An engine of just these specs.

        Raises
        ------
        CodesMismatchError
            If the weights are no longer those of the specs.
        """
        layers = [self.names[spec] for spec in specs]
        engine = open_engine(
            self.request,
            self.run,
            layers,
            tensors=self.tensors,
            # A worker's processor may be another than the one that the plan was made on.
            with_kernels=self.with_kernels and winograd_pays(self.run.precision),
            with_resizing=self.with_resizing,
        )
        for found, wanted in zip(engine.specs, specs, strict=True):
            if replace(found, contract=wanted.contract) != wanted:
                raise CodesMismatchError(
                    f"the weights of {wanted.backbone} changed while the run began "
                    f"({'; '.join(wanted.diff(found))}); run again."
                )
        return engine


def open_engine(
    request: BackboneRequest,
    run: RunOptions,
    layers: Sequence[str | None] | None = None,
    *,
    tensors: Mapping[str, Any] | None = None,
    with_kernels: bool = False,
    with_resizing: bool | None = None,
) -> TorchEngine:
    """The network of these words on its device; the last ones used stay in memory.

    Parameters
    ----------
    request : BackboneRequest
    run : RunOptions
    layers : sequence of str or None, optional
        They stand for the request's layer.
    tensors : mapping of name to ndarray, optional
    with_kernels : bool, default=False
        Take our own convolutions, if they are compiled; for a process of one thread.
    with_resizing : bool, optional
        Take our own resizing, if it is compiled; None: as the last run had it, as the bytes are
        the same.

    Raises
    ------
    UsageError, WeightsError
    """
    from tlfeatures.engine import Means, open_torch_engine

    run, request = settle(run, request), absolute(request)
    layers = (request.layer,) if layers is None else layers
    means = Means(
        run.device,
        run.precision,
        run.batch_size,
        run.decode,
        kernels=_kept_kernels(run.precision) if with_kernels else None,
    )
    engine = open_torch_engine(request, layers, means, tensors)
    if with_resizing is not None:
        engine.resizer = kept_resizer() if with_resizing else None
    return engine


def _kept_kernels(precision: str) -> Path | None:
    library = WINOGRAD.get(precision)
    return None if library is None else find_kept(library)


def absolute(request: BackboneRequest) -> BackboneRequest:
    """The same for a process in another folder."""
    weights = request.weights
    if weights is None or not Path(weights).is_file():
        return request
    return replace(request, weights=os.path.abspath(weights))


def make_plan_ready(n: int, specs: Sequence[CodeSpec], maker: EngineMaker) -> Plan:
    """How so many pictures are computed; where compiling our operations pays, it is done here.

    Workers find what was compiled on the disk.
    """
    plan = plan_run(n, maker.request, maker.run)
    is_resized = PILLOW_HANDS_OUT and all(suits(spec.preprocessing) for spec in specs)
    if is_resized and _takes(RESIZING, plan.resizing_saves_s, RESIZING_S):
        plan, maker = _with_resizing(plan, maker)
    kernels = WINOGRAD.get(maker.run.precision)
    if kernels is not None and _takes(kernels, plan.kernels_save_s, KERNELS_S):
        return _with_kernels(plan, maker, kernels)
    return plan


def _takes(library: Library, saved_s: float, taken_s: float) -> bool:
    """Whether operations of our own are compiled already, or it pays.

    A cluster's processors may be others; its workers take what they find for theirs.
    """
    if not saved_s:
        return False
    if cluster_size():
        return True
    return are_for_here() and (saved_s > taken_s or find_kept(library) is not None)


def _with_resizing(plan: Plan, maker: EngineMaker) -> tuple[Plan, EngineMaker]:
    """Compile our own resizing, unless it is there; without it Pillow does the same, unwarned."""
    started = time.perf_counter()
    is_usable, said = _make_resizing_ready()
    chosen = (*plan.chosen, said)
    maker, seconds = replace(maker, with_resizing=is_usable), time.perf_counter() - started
    return replace(plan, make_engine=maker, compile_s=seconds, chosen=chosen), maker


def _make_resizing_ready() -> tuple[bool, str]:
    """Whether it is to be used, and what becomes of it in words."""
    if cluster_size():
        return True, "pictures resized by our own routine where a worker has it compiled"
    try:
        make_ready(RESIZING)
    except (RuntimeError, OSError) as error:
        return False, f"pictures resized by Pillow, our own routine not being compiled: {error}"
    if kept_resizer() is None:
        return False, "pictures resized by Pillow, as our own routine cannot be used here"
    return True, "pictures resized by our own routine, compiled for this processor"


def _with_kernels(plan: Plan, maker: EngineMaker, kernels: Library) -> Plan:
    """Compile our own convolutions, unless they are there; workers find them where we do."""
    made = replace(maker, with_kernels=True)
    if cluster_size():
        said = "convolutions of 3 x 3 by Winograd's method where a worker has them compiled"
        return replace(plan, make_engine=made, chosen=(*plan.chosen, said))
    started = time.perf_counter()
    try:
        make_ready(kernels)
    except (RuntimeError, OSError) as error:
        _log.warning("convolutions take up to three times as long as they could: %s", error)
        return replace(plan, chosen=(*plan.chosen, f"convolutions not compiled: {error}"))
    seconds = plan.compile_s + time.perf_counter() - started
    said = "convolutions of 3 x 3 by Winograd's method, compiled for this processor"
    return replace(plan, make_engine=made, compile_s=seconds, chosen=(*plan.chosen, said))
