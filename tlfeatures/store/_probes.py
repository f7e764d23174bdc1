"""Codes of the probe pictures, kept beside the shards with what they were made with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlfeatures.errors import StoreCorruptError
from tlfeatures.store._files import publish_new, read_error
from tlfeatures.store._spec import canonical_json
from tlfeatures.store.shards._shard import Float32Array

PROBES_NAME = "probes.json"
TOLERANCE = 1e-4  # of float32, relative to the code's length
HALF_TOLERANCE = 0.0316  # of half precision: a cosine of 0.9995


@dataclasses.dataclass(frozen=True)
class Probes:
    """What a network said of the probe pictures.

    Attributes
    ----------
    codes : ndarray of shape (n_probes, d), float32
    made_with : mapping of str to str
        Versions and devices, in words.
    """

    codes: Float32Array
    made_with: Mapping[str, str]


class NothingToCompareError(StoreCorruptError):
    """Probes as an earlier version wrote them, whose numbers nothing can be compared with."""


def read_probes(path: Path, dim: int | None = None) -> Probes:
    """Read what `write_probes` wrote.

    Parameters
    ----------
    path : Path
    dim : int, optional
        The width that they must have.

    Raises
    ------
    FileNotFoundError
        If there are none.
    StoreError
        If they cannot be read.
    StoreCorruptError
        If the file is damaged.
    NothingToCompareError
        If it is as it was written, but holds NaN or infinity, nothing, or another width.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["digest"] != _digest(values):
            raise ValueError("its digest does not fit")
        codes = np.frombuffer(bytes.fromhex(values["codes"]), "<f4").reshape(values["shape"])
        probes = Probes(codes.astype(np.float32), dict(values["made_with"]))
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(
            f"{path} is damaged ({error}); run 'tlfeatures cache verify --repair'."
        ) from error
    except OSError as error:
        raise read_error(path, error) from error
    if flaw := _flaw(probes.codes, dim):
        raise NothingToCompareError(
            f"{path} holds codes of the probe pictures that are {flaw}: nothing can be compared "
            "with them. The next run stores others; 'tlfeatures cache verify --repair' moves them "
            "aside."
        )
    return probes


def check_comparable(codes: Float32Array, dim: int) -> None:
    """Raise unless later codes can be compared with these.

    Raises
    ------
    ValueError
    """
    if flaw := _flaw(codes, dim):
        raise ValueError(f"codes of the probe pictures are {flaw}; give finite ones, (n, {dim}).")


def _flaw(codes: Float32Array, dim: int | None) -> str:
    """Why nothing can be compared with these codes, "" if it can."""
    if codes.ndim != 2 or not codes.size or dim not in (None, codes.shape[1]):
        return f"of shape {codes.shape}"
    return "" if np.isfinite(codes).all() else "NaN or infinity"


def write_probes(path: Path, probes: Probes) -> None:
    """Write them, unless there are some already: those stay, if anything can be compared with them.

    Raises
    ------
    ValueError
        If nothing could ever be compared with these.
    OSError
        If that is not possible.
    """
    dim = probes.codes.shape[-1]
    check_comparable(probes.codes, dim)
    try:
        read_probes(path, dim)
    except NothingToCompareError:
        path.unlink(missing_ok=True)
    except OSError:  # none, or one that is damaged: of that 'cache verify --repair' decides
        pass
    values = {
        "format": "tlfeatures-probes",
        "format_version": 1,
        "shape": list(probes.codes.shape),
        "codes": np.ascontiguousarray(probes.codes, "<f4").tobytes().hex(),
        "made_with": dict(probes.made_with),
    }
    text = canonical_json({**values, "digest": _digest(values)})
    publish_new(f"{text}\n".encode(), path)


def _digest(values: Mapping[str, Any]) -> str:
    """Of everything but the digest itself."""
    text = canonical_json({name: value for name, value in values.items() if name != "digest"})
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def tolerance(precision: str) -> float:
    """How far codes of one precision class may lie apart, relative to the code's length."""
    return TOLERANCE if precision == "float32" else HALF_TOLERANCE


def relative_difference(found: Float32Array, stored: Float32Array) -> float:
    """The largest ||a - b|| / ||b|| of the rows; infinite for other shapes, none, NaN, infinity."""
    if found.shape != stored.shape or _flaw(found, None) or _flaw(stored, None):
        return float("inf")
    a, b = found.astype(float), stored.astype(float)  # squares of float32 may leave its range
    apart, lengths = np.linalg.norm(a - b, axis=1), np.linalg.norm(b, axis=1)
    # A code of zeros has no length that a difference could be small against.
    relative = np.divide(apart, lengths, out=np.where(apart > 0, np.inf, 0.0), where=lengths > 0)
    return float(relative.max())
