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
from tlfeatures.store._shard import Float32Array
from tlfeatures.store._spec import canonical_json

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


def read_probes(path: Path) -> Probes:
    """Read what `write_probes` wrote.

    Raises
    ------
    FileNotFoundError
        If there are none.
    StoreError
        If they cannot be read.
    StoreCorruptError
        If the file is damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["digest"] != _digest(values):
            raise ValueError("its digest does not fit")
        codes = np.frombuffer(bytes.fromhex(values["codes"]), "<f4").reshape(values["shape"])
        return Probes(codes.astype(np.float32), values["made_with"])
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(
            f"{path} is damaged ({error}); run 'tlfeatures cache repair'."
        ) from error
    except OSError as error:
        raise read_error(path, error) from error


def write_probes(path: Path, probes: Probes) -> None:
    """Write them, unless there are some already: those stay.

    Raises
    ------
    OSError
        If that is not possible.
    """
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
    """The largest ||a - b|| / ||b|| of the rows; infinite for other shapes."""
    if found.shape != stored.shape:
        return float("inf")
    lengths = np.maximum(np.linalg.norm(stored, axis=1), 1e-12)
    return float((np.linalg.norm(found - stored, axis=1) / lengths).max(initial=0))
