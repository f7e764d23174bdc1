"""The run: hash, look up, compute what is missing here or in worker processes. No torch in here."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from tlfeatures.extraction._look_up import LookUp, look_up
from tlfeatures.extraction._result import Extraction, Note, Progress
from tlfeatures.extraction.chunks._chunk import extract_chunk, forget_engine
from tlfeatures.extraction.chunks._values import Done, MakeEngine, Row, Run
from tlfeatures.extraction.planning._plan import Plan
from tlfeatures.pictures import DecodeOptions, Pictures
from tlfeatures.store import Codes, CodeSpec

_log = logging.getLogger(__name__)


def extract_codes(
    pictures: Pictures,
    specs: Sequence[CodeSpec],
    make_engine: MakeEngine,
    *,
    cache: str | os.PathLike[str],
    options: DecodeOptions | None = None,
    plan_for: Callable[[int, Sequence[CodeSpec]], Plan] | None = None,
    retry_bad: bool = False,
    store_dtype: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    began: float | None = None,
    what: str | None = None,
) -> list[Extraction]:
    """Give every picture its codes, from the cache where they are there.

    Parameters
    ----------
    pictures : Pictures
    specs : sequence of CodeSpec
        Which codes: layers of one network with one preprocessing, computed in one pass.
    make_engine : callable
        Called only if something must be computed, once in each process, with the specs that lack
        something; gives an engine of exactly these.
    cache : path
        The cache folder.
    options : DecodeOptions, optional
    plan_for : callable, optional
        Gives the plan for so many pictures that lack codes of these specs; default: all in this
        process, in one thread.
    retry_bad : bool, default=False
        Decode pictures again that the cache remembers as bad.
    store_dtype : {"float32", "float16"}, optional
        See `CodeCache`.
    progress : callable, optional
        Called after each batch, or after each chunk of a worker process.
    began : float, optional
        When the run began, by `time.perf_counter`; default: now.
    what : str, optional
        Whose codes these are, see `CodeCache`.

    Returns
    -------
    list of Extraction
        One a spec.

    Raises
    ------
    StoreError
        If the cache cannot be read or written; what was stored before stays.
    CodesMismatchError
        If the network says other things of the probe pictures than when the cache was filled.
    ExtractionError
        If worker processes are killed again and again.
    """
    began = time.perf_counter() if began is None else began
    found = look_up(pictures, specs, cache=cache, options=options, retry_bad=retry_bad)
    return compute(
        found,
        make_engine,
        plan_for=plan_for,
        store_dtype=store_dtype,
        progress=progress,
        began=began,
        what=what,
    )


def compute(
    found: LookUp,
    make_engine: MakeEngine,
    *,
    plan_for: Callable[[int, Sequence[CodeSpec]], Plan] | None = None,
    store_dtype: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    began: float,
    what: str | None = None,
) -> list[Extraction]:
    """Compute what is missing, here or in workers; parameters as of `extract_codes`.

    Raises
    ------
    StoreError, CodesMismatchError, ExtractionError
        As `extract_codes`.
    """
    pictures, keys, reasons = found.pictures, found.keys, dict(found.reasons)
    lacking = [i for i, rows in enumerate(found.missing) if rows]
    total, plan = _Total(len(lacking)), Plan()
    if lacking:
        rows = _rows(pictures, keys, [found.missing[i] for i in lacking])
        wanted = tuple(found.stores[i].spec for i in lacking)
        plan = plan_for(len(rows), wanted) if plan_for is not None else plan
        run = Run(
            token=uuid.uuid4().hex,
            specs=wanted,
            make_engine=plan.make_engine or make_engine,
            cache=found.stores[0].root.absolute(),  # a worker may stand in another folder
            options=found.options,
            store_dtype=store_dtype,
            n_threads=plan.n_threads,
            what=what,
        )
        for done in _work(run, rows, plan, _Teller(progress, len(rows))):
            total.add(done)
        reasons.update({i: total.bad[key] for i, key in enumerate(keys) if key in total.bad})
        for store in found.stores:
            store.refresh()
    _say(total, found.n_remembered)
    computed = dict(zip(lacking, total.computed, strict=True))
    rows_kept = np.array([i for i in range(len(pictures)) if i not in reasons], dtype=np.intp)
    kept: Pictures = pictures[rows_kept]
    labels = None if kept.labels is None else kept.labels.tolist()
    spent = time.perf_counter() - began
    seconds = {"total": spent, **total.seconds(began), "compile": plan.compile_s}
    return [
        Extraction(
            pictures=kept,
            rows=rows_kept,
            codes=Codes(store, [keys[i] for i in rows_kept], kept.paths, labels),
            bad=[(pictures.paths[i], reasons[i]) for i in sorted(reasons)],
            remembered=found.n_remembered,
            notes=total.notes(),
            given=len(pictures),
            computed=computed.get(i, 0),
            cached=len(rows_kept) - computed.get(i, 0),
            device=total.device,
            batch_size=total.batch_size,
            n_jobs=plan.n_workers if lacking else 0,
            seconds=seconds,
            images_per_s=total.n_rows / max(seconds["extract"], 1e-9) if total.n_rows else 0.0,
            wait=total.wait,
            kernels=total.kernels,
            chosen=plan.chosen if lacking else (),
            digests=[found.digests[i] for i in rows_kept],
        )
        for i, store in enumerate(found.stores)
    ]


def _rows(pictures: Pictures, keys: Sequence[bytes], missing: Sequence[list[int]]) -> list[Row]:
    """The pictures that lack something, in their order, and what each lacks."""
    lacks: dict[int, list[int]] = {}
    for spec, positions in enumerate(missing):
        for i in positions:
            lacks.setdefault(i, []).append(spec)
    return [
        Row(keys[i], _portable(pictures.items[i]), pictures.paths[i], tuple(lacks[i]))
        for i in sorted(lacks)
    ]


def _portable(item: Any) -> Any:
    """The same for a process in another folder; pickling a PIL picture drops its EXIF changes."""
    if isinstance(item, (str, os.PathLike)):
        return os.path.abspath(item)
    if isinstance(item, Image.Image) and item.getexif():
        info = {**item.info, "exif": item.getexif().tobytes()}
        item = item.copy()
        item.info = info
    return item


def _work(run: Run, rows: Sequence[Row], plan: Plan, tell: _Teller) -> Iterator[Done]:
    if not plan.is_mapped:
        try:
            yield extract_chunk(run, rows, tell)
        finally:
            forget_engine(run)
        return
    from tlfeatures.extraction.chunks._map import chunk_sizes, map_chunks

    sizes = chunk_sizes(len(rows), plan.n_workers, plan.batch_size, plan.most)
    for done in map_chunks(run, rows, plan.n_workers, sizes):
        tell.add(done)
        yield done


class _Total:
    """What the chunks of a run come to."""

    def __init__(self, n_specs: int) -> None:
        self.computed = [0] * n_specs
        self.n_rows, self.batch_size, self.device = 0, 0, "cached"
        self.kernels: tuple[str, ...] = ()
        self.bad: dict[bytes, str] = {}
        self.wait = {"decode": 0.0, "network": 0.0, "write": 0.0}
        self._notes: dict[str, tuple[int, str]] = {}
        self._began, self._ended = float("inf"), 0.0

    def add(self, done: Done) -> None:
        self.computed = [a + b for a, b in zip(self.computed, done.computed, strict=True)]
        self.n_rows += done.n_rows - len(done.bad)
        self.batch_size, self.device = done.batch_size, done.device
        self.bad |= done.bad
        for name, seconds in done.wait.items():
            self.wait[name] += seconds
        for words, (count, first) in done.notes.items():
            before, earlier = self._notes.get(words, (0, first))
            self._notes[words] = (before + count, earlier)
        self.kernels = done.kernels
        self._ended = time.perf_counter()  # by this machine's clock, wherever the chunk was done
        self._began = min(self._began, self._ended - done.seconds)

    def notes(self) -> list[Note]:
        return [Note(words, count, first) for words, (count, first) in self._notes.items()]

    def seconds(self, began: float) -> dict[str, float]:
        if not self._ended:
            return {"start": 0.0, "extract": 0.0}
        return {"start": self._began - began, "extract": self._ended - self._began}


class _Teller:
    """Turns numbers of pictures that are through into `Progress`."""

    def __init__(self, progress: Callable[[Progress], None] | None, total: int) -> None:
        self._progress, self._total = progress, total
        self._done, self._began = 0, time.perf_counter()

    def __call__(self, done: int) -> None:
        if self._progress is not None:
            rate = done / max(time.perf_counter() - self._began, 1e-9)
            self._progress(Progress(done, self._total, rate, (self._total - done) / rate))

    def add(self, done: Done) -> None:
        if not self._done:  # starting up is no rate
            self._began = time.perf_counter() - done.seconds
        self._done += done.n_rows
        self(self._done)


def _say(total: _Total, n_remembered: int) -> None:
    for note in total.notes():
        count = "1 picture" if note.n_pictures == 1 else f"{note.n_pictures} pictures"
        _log.info("%s: %s, %s the first", note.words, count, note.first)
    if n_remembered:
        _log.info(
            "%d bad pictures are known from earlier runs, not tried again; `retry_bad=True` tries "
            "them",
            n_remembered,
        )
