"""Saved models: one safetensors file, its facts as JSON in the metadata, no pickle anywhere."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tlfeatures._targets import WAY_OUT, expand, expand_given, writing
from tlfeatures.errors import ModelFileError

__all__ = ["read_model_file", "write_model_file"]

FORMAT = "tlfeatures-model"
FORMAT_VERSION = "1"
# AttributeError: a kind of number that numpy does not have; RecursionError: brackets in brackets
UNREADABLE = (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
LONGEST_REASON = 200  # characters; a strange file may put anything into it


def write_model_file(
    path: str | os.PathLike[str],
    tensors: Mapping[str, npt.NDArray[Any]],
    facts: Mapping[str, Any],
) -> Path:
    """Write a model as one file; a file that is there is replaced only by a whole one.

    Parameters
    ----------
    path : path
        The file; its folder is made if need be.
    tensors : mapping of str to ndarray
        Numbers of any shape, float16 included.
    facts : mapping of str to JSON values
        Everything else.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelFileError
        If it cannot be written, or holds what the file cannot: nothing is then left behind.
    """
    target = expand(path)
    arrays = {name: _contiguous(name, tensor) for name, tensor in tensors.items()}
    text = _facts_text(facts)
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "facts": text,
        "facts_checksum": _checksum_of(text),
        "checksums": json.dumps({name: _checksum(array) for name, array in arrays.items()}),
    }
    try:
        with writing(target) as beside:
            save_file(arrays, beside, metadata)
    except (OSError, SafetensorError, ValueError) as error:  # ValueError: a null byte in the name
        raise ModelFileError(
            f"cannot write the model {target} ({getattr(error, 'strerror', None) or error}); "
            f"{WAY_OUT}."
        ) from error
    return target


def read_model_file(
    path: str | os.PathLike[str], *, prefix: str | None = None, without: str | None = None
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read what `write_model_file` wrote.

    Parameters
    ----------
    path : path
        The file.
    prefix : str, optional
        Read only tensors whose names start with it.
    without : str, optional
        Leave out tensors whose names start with it, as `"network."`.

    Returns
    -------
    tensors : dict of str to ndarray
        With the dtypes and shapes they were saved with.
    facts : dict
        Fresh JSON values.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, from elsewhere or of an unknown version.
    """
    source = Path(expand_given(os.fsdecode(path)))
    if source.is_dir():
        raise ModelFileError(f"{source} is a folder, no model file; name the file of the model.")
    if not source.is_file():
        raise ModelFileError(
            f"there is no model file {source}; 'tlfeatures fit IMAGES --out {source}' makes one."
        )
    try:
        with safe_open(source, framework="numpy") as file:
            facts, checksums = _read_metadata(source, file.metadata() or {})
            names = [name for name in file.keys() if _is_chosen(name, prefix, without)]  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in names}
    except ModelFileError:
        raise
    except OSError as error:
        raise ModelFileError(
            f"cannot read the model {source} ({error}); allow reading it, or give another file."
        ) from error
    except UNREADABLE as error:
        why = _cut(str(error))
        raise _foreign(source, f"it cannot be read as safetensors: {why}") from error
    for name, tensor in tensors.items():
        if checksums.get(name) != _checksum(tensor):
            raise _damaged(source, _cut(repr(name)))
    for name in checksums:
        if _is_chosen(name, prefix, without) and name not in tensors:
            raise _damaged(source, f"{_cut(repr(name))}, which is missing,")
    return tensors, facts


def _read_metadata(
    path: Path, metadata: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    if metadata.get("format") != FORMAT:
        raise _foreign(path, "another program wrote it")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has model format version {_cut(str(version))}, this tlfeatures knows "
            f"{FORMAT_VERSION}; "
            "update tlfeatures, or fit the model again."
        )
    if metadata.get("facts_checksum", _checksum_of(metadata["facts"])) != _checksum_of(
        metadata["facts"]
    ):  # older files have none
        raise _damaged(path, "what it says about itself")
    facts = json.loads(metadata["facts"], parse_constant=_refuse_constant)
    checksums = json.loads(metadata["checksums"])
    if not isinstance(facts, dict) or not isinstance(checksums, dict):
        raise ValueError("its facts are no JSON object")
    return facts, checksums


def _cut(words: str) -> str:
    """One line, not too long."""
    return " ".join(words.split())[:LONGEST_REASON]


def _refuse_constant(word: str) -> None:
    raise ValueError(f"its facts hold {word}, which is no number")


def _foreign(path: Path, why: str) -> ModelFileError:
    return ModelFileError(
        f"{path} is not a tlfeatures model ({why}); "
        f"give a file that 'tlfeatures fit IMAGES --out MODEL' made."
    )


def _damaged(path: Path, what: str) -> ModelFileError:
    return ModelFileError(
        f"{path} is damaged: {what} does not match its checksum; "
        "copy the file again, or fit the model again."
    )


def _is_chosen(name: str, prefix: str | None, without: str | None) -> bool:
    is_asked = prefix is None or name.startswith(prefix)
    return is_asked and (without is None or not name.startswith(without))


def _facts_text(facts: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(facts), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelFileError(
            f"the facts of a model must be JSON values ({error}); "
            "convert numpy numbers with int() or float(), and arrays to tensors."
        ) from error


def _contiguous(name: str, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = np.asarray(tensor, order="C")
    if array.dtype.kind not in "fiub":
        raise ModelFileError(
            f"tensor {name!r} has dtype {array.dtype}; a model file holds numbers, put text "
            "into the facts."
        )
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _checksum_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _checksum(array: npt.NDArray[Any]) -> str:
    digest = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
