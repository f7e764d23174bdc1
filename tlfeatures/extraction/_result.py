"""What a run gives and tells: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tlfeatures._notebook import block, facts, lines
from tlfeatures.errors import ImageReadError, few
from tlfeatures.pictures import Pictures
from tlfeatures.store import Codes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


@dataclass(frozen=True, repr=False)
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
        n_jobs: processes; both 0 when no network was needed.
    seconds : dict of str to float
        "total"; of it "start" until the first picture was worked on, with "compile" in it, and
        "extract" from there to the end of the last batch.
    images_per_s : float
        Of the computed ones, start not counted; 0 when none was.
    wait : dict of str to float
        Seconds spent decoding, in the network and writing, or waiting for each of them, all
        processes together.
    kernels : tuple of str
        The operations of our own that took part, of "resizing" and "convolutions".
    chosen : tuple of str
        What was chosen for this machine and why, in sentences.
    digests : sequence of bytes
        Of the content of pictures[i], however it is decoded.
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
    seconds: dict[str, float]
    images_per_s: float
    wait: dict[str, float] = field(default_factory=dict)
    kernels: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    digests: Sequence[bytes] = ()

    def __repr__(self) -> str:
        spec = self.codes.spec
        counts = f"{self.computed} computed, {self.cached} cached, {len(self.bad)} bad"
        return f"<Extraction: {spec.backbone} {spec.layer}, {spec.dim}-D; {counts}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        spec = self.codes.spec
        found = {
            "codes": f"{spec.backbone} {spec.layer}, {spec.dim}-D, {spec.precision}",
            "pictures": f"{self.given:,} given = {self.computed:,} computed + {self.cached:,} "
            f"cached + {len(self.bad):,} bad",
            "time": f"{self.seconds['total']:.1f} s, on {self.device}",
        }
        notes = [f"{note.words}: {note.n_pictures:,} pictures" for note in self.notes]
        bad = [f"bad picture: {path}: {reason}" for path, reason in self.bad]
        return block("codes of pictures", facts(found), lines(notes), lines(bad))


def raise_if_bad(extraction: Extraction) -> None:
    """Raise an ImageReadError that names every bad picture, if there is one."""
    if extraction.bad:
        raise bad_pictures_error(extraction.bad)


def bad_pictures_error(bad: list[tuple[str, str]]) -> ImageReadError:
    """The error for bad pictures: all are in `.bad`, the first are named in the message."""
    listed = few([f"{path}: {reason}" for path, reason in bad], "; ")
    return ImageReadError(
        f"{len(bad)} bad pictures ({listed}); remove them, or use `on_bad='nan'`: their codes are "
        "nan then, and TransferClassifier leaves them out of its fit.",
        bad,
    )
