"""Files that a command is asked to write: looked at before the work, written after the results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tlfeatures._targets import check_target, expand, expand_given, place_of
from tlfeatures.cli._echo import echo
from tlfeatures.cli._wording import as_typed
from tlfeatures.errors import UsageError

if TYPE_CHECKING:
    from tlfeatures.pictures import Pictures


class Kind(NamedTuple):
    """What is written, and how such a file's name ends; no ending: any."""

    what: str
    endings: tuple[str, ...] = ()


MODEL = Kind("the model")
CHECKPOINT = Kind("the checkpoint")
PAGE = Kind("the page", (".html", ".htm"))
SHEET = Kind("the sheet", (".png",))
TABLE = Kind("the table", (".csv",))
CODES = Kind("the codes", (".h5", ".hdf5"))


def check_targets(
    targets: Mapping[str, tuple[str | Path | None, Kind]], reads: Iterable[str | None] = ()
) -> None:
    """Look whether all files can be written, before any work is done.

    Parameters
    ----------
    targets : mapping of str to (path or None, Kind)
        By the option, "--out".
    reads : iterable of str or None
        Files and folders that the command reads.

    Raises
    ------
    UsageError
        If two files have one place, or one would replace what is read.
    OutputError
        If one cannot be written.
    """
    places: dict[str, Path] = {}
    for option, (path, kind) in targets.items():
        if path is not None:
            check_target(path, f"{option}: {kind.what}", kind.endings)
            places[option] = place_of(path)
    for option, place in places.items():
        _check_among(option, place, places)
        for read in filter(None, reads):
            if _is_file_of(place, read):
                raise UsageError(
                    f"{option}: {place} is what the command reads ({read}); name another file."
                )


def check_pictures(targets: Iterable[str | Path | None], pictures: Pictures | None) -> None:
    """Refuse to write over one of the pictures.

    Raises
    ------
    UsageError
    """
    there = {os.path.realpath(expand(path)) for path in targets if path is not None}
    there = {place for place in there if os.path.exists(place)}
    names = {os.path.basename(place) for place in there}
    for path in pictures.paths if there and pictures is not None else ():
        # a link may have another name than what it leads to
        if (os.path.basename(path) in names or os.path.islink(path)) and (
            os.path.realpath(path) in there
        ):
            raise UsageError(f"{path} is one of the pictures; name another file to write.")


def to(path: str | None, write: Callable[[str], object]) -> Callable[[], object] | None:
    """The writing of one file, for `then_write`; None if it was not asked for."""
    return None if path is None else partial(write, path)


@contextmanager
def then_write(*writes: Callable[[], object] | None) -> Iterator[None]:
    """Write files after what is inside has printed the results, also where nobody reads these.

    Parameters
    ----------
    *writes : callable or None
        Each writes one file; what fails keeps none of the others from being written.

    Raises
    ------
    OSError
        The first that failed, after all were tried; others are said.
    """
    try:
        yield
    except OSError:  # such as a reader that has gone
        _write_all(writes)
        raise
    _write_all(writes)


def _write_all(writes: Iterable[Callable[[], object] | None]) -> None:
    failed = []
    for write in filter(None, writes):
        try:
            write()
        except OSError as error:  # that of each room is one
            failed.append(error)
    for each in failed[1:]:
        echo(f"error: {as_typed(str(each))}", err=True)
    if failed:
        raise failed[0]


def _check_among(option: str, place: Path, places: Mapping[str, Path]) -> None:
    """Refuse two files of one place, and one that would be the other's folder."""
    for other, there in places.items():
        if other != option and (place == there or there in place.parents):
            raise UsageError(
                f"{option} and {other} both name {there}; give each a file of its own."
            )


def _is_file_of(place: Path, read: str) -> bool:
    """Whether a place is that of a file that is read."""
    there = Path(os.path.realpath(expand_given(read)))
    return place == there and there.is_file()
