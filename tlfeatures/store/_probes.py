"""Codes of the probe pictures, kept beside the shards with what they were made with."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tlfeatures.errors import StoreCorruptError
from tlfeatures.store._files import publish_bytes, read_error
from tlfeatures.store._shard import Float32Array
from tlfeatures.store._spec import canonical_json

PROBES_NAME = "probes.npz"
TOLERANCE = 1e-4  # of float32, relative to the code's length


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
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return Probes(file["codes"].astype(np.float32), json.loads(str(file["made_with"])))
    except FileNotFoundError:
        raise
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise StoreCorruptError(f"{path} is damaged ({error}); run 'cache repair'.") from error
    except OSError as error:
        raise read_error(path, error) from error


def write_probes(path: Path, probes: Probes) -> None:
    """Write them; a file already there is replaced.

    Raises
    ------
    OSError
        If that is not possible.
    """
    buffer = io.BytesIO()
    np.savez(buffer, codes=probes.codes, made_with=np.array(canonical_json(dict(probes.made_with))))
    publish_bytes(buffer.getvalue(), path)


def relative_difference(found: Float32Array, stored: Float32Array) -> float:
    """The largest ||a - b|| / ||b|| of the rows; infinite for other shapes."""
    if found.shape != stored.shape:
        return float("inf")
    lengths = np.maximum(np.linalg.norm(stored, axis=1), 1e-12)
    return float((np.linalg.norm(found - stored, axis=1) / lengths).max(initial=0))
