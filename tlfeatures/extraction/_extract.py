"""The loop: hash, look up, decode in workers, compute in batches, store. No torch in here."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures import DecodeOptions, Pictures, content_digest, decode, row_key
from tlfeatures.store import CodeCache, Codes, CodeSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

A = TypeVar("A")
B = TypeVar("B")
AHEAD = 4  # tasks a worker may be ahead of the network; bounds the memory


class Engine(Protocol):
    """What the loop needs of a network; a fake one takes ten lines."""

    spec: CodeSpec
    batch_size: int
    device: str

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop one RGB picture to (side, side, 3); called in worker threads."""

    def codes(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Codes (n, d), float32, of prepared pictures (n, side, side, 3)."""


@dataclass(frozen=True)
class Progress:
    """How far a run is, for a progress display.

    Attributes
    ----------
    done, total : int
        Pictures of those that must be computed.
    images_per_s : float
    seconds_left : float
    """

    done: int
    total: int
    images_per_s: float
    seconds_left: float


@dataclass(frozen=True)
class Extraction:
    """What became of the pictures given.

    Attributes
    ----------
    pictures : Pictures
        Those that have codes, in the order given.
    rows : ndarray of shape (n_coded,), int
        Their positions among the pictures given.
    codes : Codes
        Row i belongs to pictures[i].
    bad : list of (path, reason)
    given, computed, cached : int
        given = computed + cached + len(bad); a copy of a picture already coded counts as cached.
    device : str
        "cached" when no network was needed.
    batch_size, n_jobs : int
        0 when no network was needed.
    seconds : float
    images_per_s : float
        Of the computed ones; 0 when none was.
    wait : dict
        Seconds that the loop spent waiting for decoding, in the network, and writing.
    """

    pictures: Pictures
    rows: NDArray[np.intp]
    codes: Codes
    bad: list[tuple[str, str]]
    given: int
    computed: int
    cached: int
    device: str
    batch_size: int
    n_jobs: int
    seconds: float
    images_per_s: float
    wait: dict[str, float] = field(default_factory=dict)


def extract_codes(
    pictures: Pictures,
    spec: CodeSpec,
    make_engine: Callable[[], Engine],
    *,
    cache: str | os.PathLike[str],
    options: DecodeOptions | None = None,
    n_jobs: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Extraction:
    """Give every picture its code, from the cache where it is there.

    Parameters
    ----------
    pictures : Pictures
    spec : CodeSpec
        Which codes; `make_engine` must give an engine of this very spec.
    make_engine : callable
        Called only if something must be computed.
    cache : path
        The cache folder.
    options : DecodeOptions, optional
    n_jobs : int, optional
        Decoder threads; default: one a core, at most 16.
    progress : callable, optional
        Called after each batch.

    Returns
    -------
    Extraction

    Raises
    ------
    StoreError
        If the cache cannot be read or written; what was stored before stays.
    """
    started, options = time.perf_counter(), options or DecodeOptions()
    n_jobs = n_jobs or min(16, os.cpu_count() or 1)
    store = CodeCache(cache, spec)
    with ThreadPoolExecutor(n_jobs) as pool:
        try:
            keys, reasons = _make_keys(pool, pictures.items, options)
            todo = _missing(store, keys)
            run = _Run(store, options, pool, n_jobs)
            if todo:
                bad_keys = run.compute(
                    [(keys[i], pictures.items[i]) for i in todo], make_engine, progress
                )
                reasons.update({i: bad_keys[k] for i, k in enumerate(keys) if k in bad_keys})
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    rows = np.array([i for i in range(len(pictures)) if i not in reasons], dtype=np.intp)
    kept: Pictures = pictures[rows]
    labels = None if kept.labels is None else kept.labels.tolist()
    seconds = time.perf_counter() - started
    return Extraction(
        pictures=kept,
        rows=rows,
        codes=Codes(store, [keys[i] for i in rows], kept.paths, labels),
        bad=[(pictures.paths[i], reasons[i]) for i in sorted(reasons)],
        given=len(pictures),
        computed=run.computed,
        cached=len(rows) - run.computed,
        device=run.device,
        batch_size=run.batch_size,
        n_jobs=n_jobs if run.batch_size else 0,
        seconds=seconds,
        images_per_s=run.computed / seconds if run.computed else 0.0,
        wait=run.wait,
    )


def _make_keys(
    pool: ThreadPoolExecutor, items: Sequence[Any], options: DecodeOptions
) -> tuple[list[bytes], dict[int, str]]:
    """Row keys, and the reasons of those that cannot be read (their key is empty)."""

    def key_of(item: Any) -> tuple[bytes, str]:
        try:
            return row_key(content_digest(item), options), ""
        except ImageReadError as error:
            return b"", str(error)

    answers = list(iter_ahead(pool, key_of, items, 64))
    return [key for key, _ in answers], {i: why for i, (_, why) in enumerate(answers) if why}


def _missing(store: CodeCache, keys: Sequence[bytes]) -> list[int]:
    """The first position of each key that is not stored."""
    readable = [i for i, key in enumerate(keys) if key]
    present = store.find([keys[i] for i in readable])
    first: dict[bytes, int] = {}
    for i, is_there in zip(readable, present, strict=True):
        if not is_there:
            first.setdefault(keys[i], i)
    return list(first.values())


class _Run:
    """The part of a run that computes."""

    def __init__(
        self, store: CodeCache, options: DecodeOptions, pool: ThreadPoolExecutor, n_jobs: int
    ) -> None:
        self._store, self._options, self._pool, self._n_jobs = store, options, pool, n_jobs
        self.computed, self.batch_size, self.device = 0, 0, "cached"
        self.wait = {"decode": 0.0, "network": 0.0, "write": 0.0}

    def compute(
        self,
        todo: Sequence[tuple[bytes, Any]],
        make_engine: Callable[[], Engine],
        progress: Callable[[Progress], None] | None,
    ) -> dict[bytes, str]:
        """Compute and store the codes of (key, item) pairs; returns the reasons of the bad ones."""
        engine = make_engine()
        self.batch_size, self.device = engine.batch_size, engine.device
        bad: dict[bytes, str] = {}
        keys: list[bytes] = []
        batch: list[NDArray[np.uint8]] = []
        started = time.perf_counter()
        prepared = self._prepared(todo, engine)
        with self._store.writer() as writer:
            for done, (key, pixels) in enumerate(prepared, 1):
                if isinstance(pixels, str):
                    bad[key] = pixels
                else:
                    keys.append(key)
                    batch.append(pixels)
                if len(batch) == engine.batch_size or (batch and done == len(todo)):
                    codes = self._timed("network", run_padded, engine, batch)
                    self._timed("write", writer.append, keys, codes)
                    self.computed += len(keys)
                    keys, batch = [], []
                    _tell(progress, done, len(todo), started)
            self._timed("write", writer.flush)
        return bad

    def _prepared(
        self, todo: Sequence[tuple[bytes, Any]], engine: Engine
    ) -> Iterator[tuple[bytes, NDArray[np.uint8] | str]]:
        def prepare(pair: tuple[bytes, Any]) -> tuple[bytes, NDArray[np.uint8] | str]:
            try:
                return pair[0], engine.prepare(decode(pair[1], self._options))
            except ImageReadError as error:
                return pair[0], str(error)

        ahead = max(self._n_jobs * AHEAD, engine.batch_size)
        answers = iter_ahead(self._pool, prepare, todo, ahead)
        for _ in todo:
            yield self._timed("decode", next, answers)

    def _timed(self, what: str, call: Callable[..., A], *arguments: Any) -> A:
        started = time.perf_counter()
        answer = call(*arguments)
        self.wait[what] += time.perf_counter() - started
        return answer


def run_padded(engine: Engine, batch: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Codes (n, d) of n <= batch_size pictures, computed in a batch of the fixed size.

    A row's bits may depend on the size of its batch; stored rows are all computed at one size.
    """
    stacked = np.stack(list(batch))
    if len(batch) < engine.batch_size:
        padding = ((0, engine.batch_size - len(batch)), (0, 0), (0, 0), (0, 0))
        stacked = np.pad(stacked, padding)
    return engine.codes(stacked)[: len(batch)]


def iter_ahead(
    pool: ThreadPoolExecutor, call: Callable[[A], B], items: Iterable[A], ahead: int
) -> Iterator[B]:
    """Like `pool.map`, but never more than `ahead` answers wait, so memory stays flat."""
    waiting: deque[Future[B]] = deque()
    for item in items:
        waiting.append(pool.submit(call, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _tell(
    progress: Callable[[Progress], None] | None, done: int, total: int, started: float
) -> None:
    if progress is not None:
        rate = done / max(time.perf_counter() - started, 1e-9)
        progress(Progress(done, total, rate, (total - done) / rate))
