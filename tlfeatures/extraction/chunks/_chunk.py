"""One chunk of pictures: decode, compute in batches, store. No torch in here.

The function that all processes of a run map over their chunks. It needs nothing but its arguments
and the cache folder, and doing a chunk twice does no harm: rows are known by content.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np
from PIL import Image

from tlfeatures.engine import MOST_IN_ONE_PIECE, Engine, pictures_in_one_piece
from tlfeatures.errors import ImageReadError, StoreError
from tlfeatures.extraction.chunks._batch import prepare_item, stack_padded
from tlfeatures.extraction.chunks._probes import check_probes
from tlfeatures.extraction.chunks._values import Done, Row, Run
from tlfeatures.pictures import (
    DecodeOptions,
    bad_key,
    content_digest,
    read_bytes,
    row_key,
)
from tlfeatures.store import CodeCache, ShardWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray


A = TypeVar("A")
B = TypeVar("B")
_log = logging.getLogger(__name__)
REMEMBER_EVERY_S = 5.0  # bad pictures found so far
NOT_FINITE = "the network gives NaN or infinity for it; "
AHEAD = 4  # tasks a thread may be ahead of the network; bounds the memory


_engine: dict[str, Engine] = {}  # of the run that this process works for
_opening = threading.RLock()  # a cluster's worker may have several threads


def extract_chunk(run: Run, rows: Sequence[Row], tell: Callable[[int], None] | None = None) -> Done:
    """Give each of the rows its codes, in the cache.

    Parameters
    ----------
    run : Run
    rows : sequence of Row
    tell : callable, optional
        Called after each batch with the number of rows that are through.

    Raises
    ------
    StoreError, CodesMismatchError
    """
    stores = [CodeCache(run.cache, spec, run.store_dtype, run.what) for spec in run.specs]
    engine = _engine_of(run, stores)
    chunk = _Chunk(run, stores, engine, len(rows))
    with ExitStack() as stack:
        if getattr(engine, "resizer", None) and not _admits_huge(run.options, rows):
            stack.enter_context(pictures_in_one_piece())
        if run.n_threads == 1:
            chunk.work(rows, map(chunk.prepare, rows), tell)
        else:
            ahead = max(run.n_threads * AHEAD, engine.batch_size)
            _work_in_threads(chunk, rows, tell, run.n_threads, ahead)
    return chunk.done


def _admits_huge(options: DecodeOptions, rows: Sequence[Row]) -> bool:
    """Whether there may be pictures that cannot be decoded in one piece."""
    if not all(isinstance(row.item, (str, os.PathLike)) for row in rows):
        return True  # in memory: no limit holds for them
    own = Image.MAX_IMAGE_PIXELS  # Pillow refuses what is more than twice as large
    limit = options.max_pixels or (own and 2 * own)
    return limit is None or limit > MOST_IN_ONE_PIECE


def _work_in_threads(
    chunk: _Chunk,
    rows: Sequence[Row],
    tell: Callable[[int], None] | None,
    n_threads: int,
    ahead: int,
) -> None:
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            chunk.work(rows, iter_ahead(pool, chunk.prepare, rows, ahead), tell)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _engine_of(run: Run, stores: Sequence[CodeCache]) -> Engine:
    """The process's engine, opened and compared with the cache once a run."""
    with _opening:
        if run.token not in _engine:
            _engine.clear()
            engine = run.make_engine(run.specs)
            check_probes(engine, stores)
            _engine[run.token] = engine
        engine = _engine[run.token]
        # Read also to be written again with the next rows, should the folder be taken away.
        bare = [store for store in stores if store.read_probes() is None]
        if bare:
            check_probes(engine, bare)
        return engine


def forget_engine(run: Run) -> None:
    """Let go of the engine of a run that is over."""
    _engine.pop(run.token, None)


def forget_engines() -> None:
    """Let go of any run's; a chunk that comes nevertheless opens its engine again."""
    _engine.clear()


@dataclass(frozen=True)
class _Prepared:
    """A picture as the network takes it, or the reason why it is bad."""

    pixels: Any
    notes: frozenset[str] = frozenset()
    is_lasting: bool = False


@dataclass
class _Batch:
    """Prepared pictures; n_through: how many rows are through with them, bad ones included."""

    rows: list[Row] = field(default_factory=list)
    pixels: list[Any] = field(default_factory=list)
    n_through: int = 0


@dataclass(frozen=True)
class _Computed:
    """A batch's codes, one array (n, d) a spec; n_through as of `_Batch`."""

    rows: list[Row]
    n_through: int
    codes: list[NDArray[np.float32]]


class _Behind(Generic[B]):
    """Calls of one function, in order; apart: in a thread, one behind, while the caller goes on.

    What a call raises is raised by the next one, or by `wait`.
    """

    def __init__(self, call: Callable[..., B], *, is_apart: bool) -> None:
        self._call = call
        self._pool = ThreadPoolExecutor(1) if is_apart else None
        self._last: Future[B] | None = None

    def __call__(self, *arguments: Any) -> B | None:
        """What the call gives; apart, what the one before gave: None for the first."""
        if self._pool is None:
            return self._call(*arguments)
        done = self.wait()
        self._last = self._pool.submit(self._call, *arguments)
        return done

    def wait(self) -> B | None:
        """What the last call gave, once it is done; None if that has been told before."""
        last, self._last = self._last, None
        return None if last is None else last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()


class _Chunk:
    def __init__(self, run: Run, stores: Sequence[CodeCache], engine: Engine, n_rows: int) -> None:
        self._run, self._stores, self._engine = run, stores, engine
        self.done = Done(
            n_rows, [0] * len(stores), device=engine.device, batch_size=engine.batch_size
        )
        self._lasting: dict[bytes, str] = {}
        self._remembered: set[bytes] = set()
        self._remembered_at = time.perf_counter()

    def work(
        self,
        rows: Sequence[Row],
        prepared: Iterator[_Prepared],
        tell: Callable[[int], None] | None,
    ) -> None:
        """Compute and store what `prepare` gives of the rows, in their order.

        With decoder threads a batch is in the network while the next one is gathered and the one
        before is written.
        """
        began, told, is_apart = time.perf_counter(), 0, self._run.n_threads > 1
        with ExitStack() as stack:
            stack.callback(self._remember)
            writers = [stack.enter_context(store.writer()) for store in self._stores]
            write = stack.enter_context(_Behind(self._write, is_apart=is_apart))
            compute = stack.enter_context(_Behind(self._compute, is_apart=is_apart))
            for computed in self._computed(rows, prepared, compute):
                self._timed("write", write, writers, computed)
                told = computed.n_through
                if tell is not None:
                    tell(told)
                self._remember_now_and_then()
            self._timed("write", write.wait)
            for writer in writers:
                self._timed("write", writer.flush)
        if tell is not None and told < len(rows):  # the last ones were bad
            tell(len(rows))
        self.done.batch_size = self._engine.batch_size
        self.done.kernels = getattr(self._engine, "kernels", ())
        self.done.seconds = time.perf_counter() - began

    def _computed(
        self, rows: Sequence[Row], prepared: Iterator[_Prepared], compute: _Behind[_Computed]
    ) -> Iterator[_Computed]:
        """The batches' codes, in order; what is in the network when another one fails, too."""
        try:
            for batch in self._batches(rows, prepared):
                pixels = self._timed("decode", stack_padded, self._engine, batch.pixels)
                computed = self._timed("network", compute, batch, pixels)
                if computed is not None:
                    yield computed
        except Exception:
            computed = compute.wait()
            if computed is not None:
                yield computed
            raise
        computed = self._timed("network", compute.wait)
        if computed is not None:
            yield computed

    def _compute(self, batch: _Batch, pixels: Any) -> _Computed:
        codes = self._engine.codes(pixels)
        return _Computed(batch.rows, batch.n_through, [each[: len(batch.rows)] for each in codes])

    def _batches(self, rows: Sequence[Row], prepared: Iterator[_Prepared]) -> Iterator[_Batch]:
        """What can be computed, as many as the engine's batch has by then; bad ones are noted."""
        batch = _Batch()
        for n_through, row in enumerate(rows, 1):
            answer = self._timed("decode", next, prepared)
            self._take_notes(row, answer)
            if not isinstance(answer.pixels, str):
                batch.rows.append(row)
                batch.pixels.append(answer.pixels)
            is_full = len(batch.rows) >= self._engine.batch_size
            if is_full or (batch.rows and n_through == len(rows)):
                batch.n_through = n_through
                yield batch
                batch = _Batch()

    def prepare(self, row: Row) -> _Prepared:
        """Decode one picture, resize and crop it."""
        try:
            item = self._unchanged(row)
            pixels, notes = prepare_item(self._engine, item, self._run.options)
        except ImageReadError as error:
            return _Prepared(str(error), is_lasting=error.is_lasting)
        except MemoryError:
            return _Prepared("not enough memory to decode it; see `max_pixels`")
        return _Prepared(pixels, notes)

    def _unchanged(self, row: Row) -> Any:
        """The bytes of a file, read once; they must be those that the key was made of."""
        if not isinstance(row.item, (str, os.PathLike)):
            return row.item
        data = read_bytes(row.item)
        if row_key(content_digest(data), self._run.options) != row.key:
            raise ImageReadError("changed while it was read; run again", is_lasting=False)
        return data

    def _take_notes(self, row: Row, answer: _Prepared) -> None:
        if isinstance(answer.pixels, str):
            self.done.bad[row.key] = answer.pixels
            if answer.is_lasting:
                self._lasting[bad_key(row.key, self._run.options)] = answer.pixels
        for words in answer.notes:
            count, first = self.done.notes.get(words, (0, row.path))
            self.done.notes[words] = (count + 1, first)

    def _write(self, writers: Sequence[ShardWriter], computed: _Computed) -> None:
        """Append to each store the rows that it lacks; a picture without numbers is a bad one."""
        rows = computed.rows
        is_finite = np.all([np.isfinite(codes).all(axis=1) for codes in computed.codes], axis=0)
        reason = not_finite(self._run.specs[0].precision)
        self.done.bad.update({rows[j].key: reason for j in np.flatnonzero(~is_finite)})
        for i, (writer, values) in enumerate(zip(writers, computed.codes, strict=True)):
            lacking = [j for j, row in enumerate(rows) if i in row.lacks and is_finite[j]]
            if lacking:
                writer.append([rows[j].key for j in lacking], values[lacking])
                self.done.computed[i] += len(lacking)

    def _remember_now_and_then(self) -> None:
        if time.perf_counter() - self._remembered_at > REMEMBER_EVERY_S:
            self._remember()
            self._remembered_at = time.perf_counter()

    def _remember(self) -> None:
        """Remember bad pictures; it only saves time, so a failure ends nothing."""
        new = {key: reason for key, reason in self._lasting.items() if key not in self._remembered}
        for store in self._stores if new else ():
            try:
                store.remember_bad(new)
            except StoreError as error:
                _log.warning("bad pictures were not remembered: %s", error)
        self._remembered |= new.keys()

    def _timed(self, what: str, call: Callable[..., A], *arguments: Any) -> A:
        started = time.perf_counter()
        answer = call(*arguments)
        self.done.wait[what] += time.perf_counter() - started
        return answer


def not_finite(precision: str) -> str:
    """Why a picture without numbers is a bad one, and what to do."""
    if precision == "float32":
        return f"{NOT_FINITE}try another layer, or look at this picture"
    return f"{NOT_FINITE}try `precision='float32'`"


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
