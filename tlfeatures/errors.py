"""The errors of tlfeatures, one tree; each is also a builtin error, so that either catches it.

    TlfeaturesError
    ├── UsageError (ValueError)               wrong words, whatever the disk holds: exit code 2
    │   ├── UnknownBackboneError
    │   └── UnknownLayerError
    ├── PicturesError (ValueError)            a folder, manifest or list that cannot be used
    │   └── LabelsError                       too few classes or pictures for what was asked
    ├── ImageReadError (OSError)              a bad picture, or several, with their reasons
    ├── WeightsError (OSError)                weights that are missing, corrupt or another network's
    ├── StoreError (OSError)                  the cache cannot be read or written
    │   ├── StoreCorruptError                 a row whose checksum fails, a file that is no shard
    │   └── StoreFormatError                  a format version this program does not know
    ├── ExtractionError (RuntimeError)        workers that were killed, a network that fails
    ├── OutputError (OSError)                 a page, sheet or table that cannot be written
    ├── ModelFileError (OSError)              a model file that is missing, broken or from elsewhere
    └── CodesMismatchError (ValueError)       codes of another network, weights or preprocessing

Messages say what was given, what was expected and what to do, in one line.
"""

from __future__ import annotations

from collections.abc import Sequence


class TlfeaturesError(Exception):
    """Anything tlfeatures refuses or cannot do."""


class UsageError(TlfeaturesError, ValueError):
    """An option or name that is wrong whatever the disk holds."""


class UnknownBackboneError(UsageError):
    """A backbone name nobody knows."""


class UnknownLayerError(UsageError):
    """A layer the backbone does not have."""


class PicturesError(TlfeaturesError, ValueError):
    """A folder, manifest or list of pictures that cannot be used."""


class LabelsError(PicturesError):
    """Too few classes, or too few pictures of a class, for what was asked."""


class ImageReadError(TlfeaturesError, OSError):
    """One or more bad pictures.

    Attributes
    ----------
    bad : list of (path, reason)
        Every bad picture with its reason.
    is_lasting : bool
        Whether the reason lies in the picture; False for errors of the system (permission, too many
        open files), which may be gone the next time.
    """

    def __init__(
        self, message: str, bad: Sequence[tuple[str, str]] = (), *, is_lasting: bool = True
    ) -> None:
        super().__init__(message)
        self.bad = list(bad)
        self.is_lasting = is_lasting


class WeightsError(TlfeaturesError, OSError):
    """Weights that are missing, corrupt or belong to another network."""


class StoreError(TlfeaturesError, OSError):
    """A cache folder that cannot be read or written."""


class StoreCorruptError(StoreError):
    """A row whose checksum fails, or a file that is no shard."""


class StoreFormatError(StoreError):
    """A file of a format version this program does not know."""


class ExtractionError(TlfeaturesError, RuntimeError):
    """Workers that were killed again and again, a network that fails; what was computed is kept."""


class OutputError(TlfeaturesError, OSError):
    """A page, sheet, table or picture that cannot be written where it was asked for."""


class ModelFileError(TlfeaturesError, OSError):
    """A model file that is missing, broken or was not written by tlfeatures."""


class CodesMismatchError(TlfeaturesError, ValueError):
    """Codes of another network, other weights or another preprocessing than expected."""


def few(names: Sequence[str], separator: str = ", ", shown: int = 5) -> str:
    """The first names of a list, and how many more there are: a message stays one line.

    Examples
    --------
    >>> few(["a", "b", "c"], shown=2)
    'a, b and 1 more'
    """
    listed = separator.join(names[:shown])
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown:,} more"
