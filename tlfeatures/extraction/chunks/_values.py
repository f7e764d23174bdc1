"""What passes between a run and its chunks: plain values, sent to worker processes and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlfeatures.engine import Engine
from tlfeatures.pictures import DecodeOptions
from tlfeatures.store import CodeSpec

if TYPE_CHECKING:
    from tlfeatures.extraction.chunks._said import Said

MakeEngine = Callable[[Sequence[CodeSpec]], Engine]


@dataclass(frozen=True)
class Row:
    """A picture that lacks codes.

    Attributes
    ----------
    key : bytes
        Its row key.
    item : path, PIL picture or array
    path : str
        Its name in messages.
    lacks : tuple of int
        Which specs of the run, by position.
    """

    key: bytes
    item: Any
    path: str
    lacks: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """What all chunks of a run have in common.

    Attributes
    ----------
    token : str
        Unlike that of any other run: a process opens its engine once a run.
    specs : tuple of CodeSpec
    make_engine : callable
        Gives an engine of these specs.
    cache : Path
    options : DecodeOptions
    store_dtype : str or None
        See `CodeCache`.
    n_threads : int
        Decoder threads; 1: decoding in the thread that computes.
    what : str or None
        See `CodeCache`.
    """

    token: str
    specs: tuple[CodeSpec, ...]
    make_engine: MakeEngine
    cache: Path
    options: DecodeOptions
    store_dtype: str | None = None
    n_threads: int = 1
    what: str | None = None


@dataclass
class Done:
    """What became of a chunk.

    Attributes
    ----------
    n_rows : int
    computed : list of int
        Rows stored, for each spec of the run.
    bad : dict of bytes to str
        Reasons by row key.
    notes : dict of str to (int, str)
        How many pictures, and the first path.
    wait : dict of str to float
        Seconds spent decoding (with gathering batches), in the network, writing, or waiting for
        each of them.
    seconds : float
        From the first picture to the last row written; opening the engine comes before.
    device : str
    batch_size : int
    kernels : tuple of str
        The operations of our own that took part.
    said : tuple of Said
        What was logged meanwhile in another process, to be logged in the caller's.
    """

    n_rows: int
    computed: list[int]
    bad: dict[bytes, str] = field(default_factory=dict)
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)
    wait: dict[str, float] = field(
        default_factory=lambda: {"decode": 0.0, "network": 0.0, "write": 0.0}
    )
    seconds: float = 0.0
    device: str = ""
    batch_size: int = 0
    kernels: tuple[str, ...] = ()
    said: tuple[Said, ...] = ()
