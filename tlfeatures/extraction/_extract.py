"""The loop: hash, look up, decode in workers, compute in batches, store. No torch in here."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from tlfeatures.errors import ImageReadError, StoreError
from tlfeatures.extraction._batch import run_padded
from tlfeatures.extraction._probes import check_probes
from tlfeatures.pictures import (
    DecodeOptions,
    Pictures,
    bad_key,
    content_digest,
    decode_with_notes,
    read_bytes,
    row_key,
)
from tlfeatures.store import CodeCache, Codes, CodeSpec, FileMemo, ShardWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

A = TypeVar("A")
B = TypeVar("B")
_log = logging.getLogger(__name__)
Row = tuple[bytes, Any, str]  # key, item, path
REMEMBER_EVERY_S = 5.0  # bad pictures found so far
AHEAD = 4  # tasks a worker may be ahead of the network; bounds the memory


class Engine(Protocol):
    """What the loop needs of a network; a fake one takes ten lines."""

    batch_size: int
    device: str
    made_with: dict[str, str]

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """The network's input for one RGB picture; called in worker threads."""

    def codes(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Codes (n, d), float32, of prepared pictures, one array a spec that it was made for."""


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
class _Prepared:
    """A picture as the network takes it, or the reason why it is bad."""

    key: bytes
    path: str
    pixels: NDArray[Any] | str
    notes: frozenset[str] = frozenset()
    is_lasting: bool = False


@dataclass(frozen=True)
class Note:
    """Something done to pictures that a person should know.

    Attributes
    ----------
    words : str
    n_pictures : int
        Of those decoded in this run.
    first : str
        One of them, by path.
    """

    words: str
    n_pictures: int
    first: str


@dataclass(frozen=True)
class Extraction:
    """What became of the pictures given, for one layer.

    Attributes
    ----------
    pictures : Pictures
        Those that have codes, in the order given.
    rows : ndarray of shape (n_coded,), int
        Their positions among the pictures given.
    codes : Codes
        Row i belongs to pictures[i].
    bad : list of (path, reason)
    remembered : int
        How many of the bad ones are known from earlier runs and were not tried again.
    notes : list of Note
        What was done to pictures in decoding, each kind once.
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
    remembered: int
    notes: list[Note]
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
    specs: Sequence[CodeSpec],
    make_engine: Callable[[Sequence[CodeSpec]], Engine],
    *,
    cache: str | os.PathLike[str],
    options: DecodeOptions | None = None,
    n_jobs: int | None = None,
    retry_bad: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[Extraction]:
    """Give every picture its codes, from the cache where they are there.

    Parameters
    ----------
    pictures : Pictures
    specs : sequence of CodeSpec
        Which codes: layers of one network with one preprocessing, computed in one pass.
    make_engine : callable
        Called only if something must be computed, with the specs that lack something; gives an
        engine of exactly these.
    cache : path
        The cache folder.
    options : DecodeOptions, optional
    n_jobs : int, optional
        Decoder threads; default: one a core, at most 16.
    retry_bad : bool, default=False
        Decode pictures again that the cache remembers as bad.
    progress : callable, optional
        Called after each batch.

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
    """
    started, options = time.perf_counter(), options or DecodeOptions()
    n_jobs = n_jobs or min(16, os.cpu_count() or 1)
    stores = [CodeCache(cache, spec) for spec in specs]
    with ThreadPoolExecutor(n_jobs) as pool:
        try:
            keys, reasons = _make_keys(pool, pictures.items, options, FileMemo(cache))
            remembered = {} if retry_bad else remembered_bad(stores, keys, options)
            reasons.update(remembered)
            missing = {id(store): _missing(store, keys, reasons) for store in stores}
            lacking = [store for store in stores if missing[id(store)]]
            todo = sorted({i for rows in missing.values() for i in rows})
            run = _Run(lacking, options, pool, n_jobs)
            if todo:
                rows = [(keys[i], pictures.items[i], pictures.paths[i]) for i in todo]
                wanted = {id(store): {keys[i] for i in missing[id(store)]} for store in lacking}
                bad_keys = run.compute(rows, wanted, make_engine, progress)
                reasons.update({i: bad_keys[k] for i, k in enumerate(keys) if k in bad_keys})
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for note in run.notes():
        count = "1 picture" if note.n_pictures == 1 else f"{note.n_pictures} pictures"
        _log.info("%s: %s, %s the first", note.words, count, note.first)
    if remembered:
        _log.info(
            "%d bad pictures are known from earlier runs, not tried again; --retry-bad tries them",
            len(remembered),
        )
    rows_kept = np.array([i for i in range(len(pictures)) if i not in reasons], dtype=np.intp)
    kept: Pictures = pictures[rows_kept]
    labels = None if kept.labels is None else kept.labels.tolist()
    seconds = time.perf_counter() - started
    return [
        Extraction(
            pictures=kept,
            rows=rows_kept,
            codes=Codes(store, [keys[i] for i in rows_kept], kept.paths, labels),
            bad=[(pictures.paths[i], reasons[i]) for i in sorted(reasons)],
            remembered=len(remembered),
            notes=run.notes(),
            given=len(pictures),
            computed=run.computed.get(id(store), 0),
            cached=len(rows_kept) - run.computed.get(id(store), 0),
            device=run.device,
            batch_size=run.batch_size,
            n_jobs=n_jobs if run.batch_size else 0,
            seconds=seconds,
            images_per_s=run.done / seconds if run.done else 0.0,
            wait=run.wait,
        )
        for store in stores
    ]


def _make_keys(
    pool: ThreadPoolExecutor, items: Sequence[Any], options: DecodeOptions, memo: FileMemo
) -> tuple[list[bytes], dict[int, str]]:
    """Row keys, and the reasons of those that cannot be read (their key is empty)."""
    files = [i for i, item in enumerate(items) if isinstance(item, (str, os.PathLike))]
    paths = [os.fspath(items[i]) for i in files]
    known, facts = memo.look_up(paths)
    digests = [b""] * len(items)
    for i, digest in zip(files, known, strict=True):
        digests[i] = digest
    unknown = [i for i, digest in enumerate(digests) if not digest]

    def digest_of(item: Any) -> tuple[bytes, str]:
        try:
            return content_digest(item), ""
        except ImageReadError as error:
            return b"", str(error)

    answers = iter_ahead(pool, digest_of, [items[i] for i in unknown], 64)
    reasons: dict[int, str] = {}
    for i, (digest, reason) in zip(unknown, answers, strict=True):
        digests[i] = digest
        if reason:
            reasons[i] = reason
    new = [j for j, i in enumerate(files) if not known[j] and digests[i]]
    memo.remember([paths[j] for j in new], facts[new], [digests[files[j]] for j in new])
    return [row_key(digest, options) if digest else b"" for digest in digests], reasons


def remembered_bad(
    stores: Sequence[CodeCache], keys: Sequence[bytes], options: DecodeOptions
) -> dict[int, str]:
    """The reasons of pictures that one of the caches knows to be bad, by position.

    One that has codes is not bad: it was tried again.
    """
    known: dict[bytes, str] = {}
    for store in stores:
        known |= store.read_bad()
    if not known:
        return {}
    bad = {i: known.get(bad_key(key, options)) for i, key in enumerate(keys) if key}
    rows = [i for i, reason in bad.items() if reason is not None]
    has_codes = np.zeros(len(rows), bool)
    for store in stores:
        has_codes |= store.find([keys[i] for i in rows])
    return {i: str(bad[i]) for i, has in zip(rows, has_codes, strict=True) if not has}


def _missing(store: CodeCache, keys: Sequence[bytes], reasons: Mapping[int, str]) -> list[int]:
    """The first position of each key that is not stored, bad pictures left out."""
    wanted = [i for i, key in enumerate(keys) if key and i not in reasons]
    present = store.find([keys[i] for i in wanted])
    first: dict[bytes, int] = {}
    for i, is_there in zip(wanted, present, strict=True):
        if not is_there:
            first.setdefault(keys[i], i)
    return list(first.values())


class _Run:
    """The part of a run that computes."""

    def __init__(
        self,
        stores: Sequence[CodeCache],
        options: DecodeOptions,
        pool: ThreadPoolExecutor,
        n_jobs: int,
    ) -> None:
        self._stores, self._options, self._pool, self._n_jobs = stores, options, pool, n_jobs
        self.computed: dict[int, int] = {id(store): 0 for store in stores}
        self.done, self.batch_size, self.device = 0, 0, "cached"
        self.wait = {"decode": 0.0, "network": 0.0, "write": 0.0}
        self._noted: dict[str, list[str]] = {}
        self._remembered: set[bytes] = set()

    def notes(self) -> list[Note]:
        """What was done to pictures, each kind once."""
        return [Note(words, len(paths), paths[0]) for words, paths in self._noted.items()]

    def compute(
        self,
        todo: Sequence[Row],
        wanted: dict[int, set[bytes]],
        make_engine: Callable[[Sequence[CodeSpec]], Engine],
        progress: Callable[[Progress], None] | None,
    ) -> dict[bytes, str]:
        """Compute and store the codes of the rows; returns the reasons of the bad ones."""
        engine = make_engine([store.spec for store in self._stores])
        check_probes(engine, self._stores)
        self.batch_size, self.device = engine.batch_size, engine.device
        bad: dict[bytes, str] = {}
        lasting: dict[bytes, str] = {}
        keys: list[bytes] = []
        batch: list[NDArray[Any]] = []
        started = remembered_at = time.perf_counter()
        prepared = self._prepared(todo, engine)
        with ExitStack() as stack:
            stack.callback(self._remember, lasting)
            writers = [stack.enter_context(store.writer()) for store in self._stores]
            for done, answer in enumerate(prepared, 1):
                if isinstance(answer.pixels, str):
                    bad[answer.key] = answer.pixels
                    if answer.is_lasting:
                        lasting[bad_key(answer.key, self._options)] = answer.pixels
                else:
                    keys.append(answer.key)
                    batch.append(answer.pixels)
                for words in answer.notes:
                    self._noted.setdefault(words, []).append(answer.path)
                if len(batch) == engine.batch_size or (batch and done == len(todo)):
                    codes = self._timed("network", run_padded, engine, batch)
                    self._timed("write", self._write, writers, wanted, keys, codes)
                    self.done += len(keys)
                    keys, batch = [], []
                    _tell(progress, done, len(todo), started)
                    if time.perf_counter() - remembered_at > REMEMBER_EVERY_S:
                        self._remember(lasting)
                        remembered_at = time.perf_counter()
            for writer in writers:
                self._timed("write", writer.flush)
        return bad

    def _remember(self, lasting: dict[bytes, str]) -> None:
        """Remember bad pictures; it only saves time, so a failure ends nothing."""
        new = {key: reason for key, reason in lasting.items() if key not in self._remembered}
        for store in self._stores if new else ():
            try:
                store.remember_bad(new)
            except StoreError as error:
                _log.warning("bad pictures were not remembered: %s", error)
        self._remembered |= new.keys()

    def _write(
        self,
        writers: Sequence[ShardWriter],
        wanted: dict[int, set[bytes]],
        keys: Sequence[bytes],
        codes: Sequence[NDArray[np.float32]],
    ) -> None:
        """Append to each store the rows that it lacks."""
        for store, writer, rows in zip(self._stores, writers, codes, strict=True):
            lacking = [i for i, key in enumerate(keys) if key in wanted[id(store)]]
            if lacking:
                writer.append([keys[i] for i in lacking], rows[lacking])
                self.computed[id(store)] += len(lacking)

    def _prepared(self, todo: Sequence[Row], engine: Engine) -> Iterator[_Prepared]:
        def prepare(row: Row) -> _Prepared:
            key, item, path = row
            try:
                decoded = decode_with_notes(self._unchanged(key, item), self._options)
                pixels = engine.prepare(decoded.picture)
            except ImageReadError as error:
                return _Prepared(key, path, str(error), is_lasting=error.is_lasting)
            except MemoryError:
                return _Prepared(key, path, "not enough memory to decode it; see max_pixels")
            return _Prepared(key, path, pixels, decoded.notes)

        ahead = max(self._n_jobs * AHEAD, engine.batch_size)
        answers = iter_ahead(self._pool, prepare, todo, ahead)
        for _ in todo:
            yield self._timed("decode", next, answers)

    def _unchanged(self, key: bytes, item: Any) -> Any:
        """The bytes of a file, read once; they must be those that the key was made of."""
        if not isinstance(item, (str, os.PathLike)):
            return item
        data = read_bytes(item)
        if row_key(content_digest(data), self._options) != key:
            raise ImageReadError("changed while it was read; run again", is_lasting=False)
        return data

    def _timed(self, what: str, call: Callable[..., A], *arguments: Any) -> A:
        started = time.perf_counter()
        answer = call(*arguments)
        self.wait[what] += time.perf_counter() - started
        return answer


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
