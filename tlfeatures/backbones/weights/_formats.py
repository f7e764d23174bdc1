"""Which kind of file a weights file is, and the tensors of those that hold plain ones."""

from __future__ import annotations

import re
import zipfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from tlfeatures.errors import WeightsError, few

OWN_FORMAT = "tlfeatures-model"
AGAIN = "see that it is whole, or download or save it again"
SAVE_STATE = "save its state_dict alone, with torch.save or safetensors"
BEGINNINGS = (  # of files of other kinds: what they are, and what to do
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes (.h5)", "convert it to PyTorch first"),
    (b"\x93NUMPY", "a NumPy array (.npy)", "save a dictionary of tensors with torch.save"),
    (b"GGUF", "a GGUF file", "give the PyTorch weights that it was made of"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "fetch it: git lfs pull"),
    (b"<", "a web page or XML, no weights", "download the file itself"),
    (b"%PDF", "a PDF document", "give a file of weights"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first"),
    (b"BZh", "compressed with bzip2", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
)
SUFFIXES = {  # of files whose beginning says nothing
    ".onnx": "an ONNX network",
    ".pb": "a TensorFlow graph",
    ".tflite": "a TensorFlow Lite network",
    ".index": "a TensorFlow checkpoint",
    ".msgpack": "a Flax checkpoint",
    ".caffemodel": "a Caffe network",
    ".pdparams": "a Paddle checkpoint",
    ".mlmodel": "a Core ML network",
}
CONVERT = "convert it to PyTorch first"
INERT = (Namespace, np.dtype, type(np.dtype("f4")), type(np.dtype("f8")), type(np.dtype("i8")))


def load_anything(path: Path) -> Any:
    """What a .safetensors or .pth file holds; its first bytes say which it is, nothing is executed.

    Raises
    ------
    WeightsError
        Naming what the file is, if it is neither, or holds more than plain values.
    """
    if path.is_dir():
        raise WeightsError(f"weights file {path} is a folder; name the file of weights in it.")
    if not path.is_file():
        raise WeightsError(f"weights file {path} is not there; check the path in `weights`.")
    try:
        with path.open("rb") as file:
            first = file.read(64)
        if said := _other_kind(path, first):
            what, cure = said
            raise WeightsError(f"weights file {path} is {what}; {cure}.")
        if _is_safetensors(first) or (path.suffix.lower() == ".safetensors" and first[:2] != b"PK"):
            return _load_safetensors(path)
        with torch.serialization.safe_globals([*INERT, _numpy_scalar()]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise WeightsError(
            f"weights file {path} cannot be read ({first_line(error)}); {AGAIN}."
        ) from error
    except Exception as error:  # UnpicklingError, KeyError: text, pickles, hostile files
        raise WeightsError(f"weights file {path} {_what_was_refused(path, error)}") from error


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        facts, names = file.metadata() or {}, list(file.keys())
    if facts.get("format") == OWN_FORMAT and not any(name.startswith("network.") for name in names):
        raise WeightsError(
            f"weights file {path} is a model of tlfeatures without its network; use it with "
            "'tlfeatures predict MODEL IMAGES', or save it with its weights inside."
        )
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors


def _is_safetensors(first: bytes) -> bool:
    """Whether it begins with the length of a JSON header, and that header."""
    return first[8:9] == b"{" and int.from_bytes(first[:8], "little") < 2**30


def _other_kind(path: Path, first: bytes) -> tuple[str, str] | None:
    """What another kind of file is, and what to do; None of what may hold tensors."""
    if first[:2] == b"PK":
        return _other_archive(path)
    if _is_safetensors(first):
        return None
    for beginning, what, cure in BEGINNINGS:
        if first.startswith(beginning):
            return what, cure
    if first[4:8] == b"TFL3":
        return SUFFIXES[".tflite"], CONVERT
    is_onnx = first[:1] == b"\x08" and first[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a")
    what = SUFFIXES[".onnx"] if is_onnx else SUFFIXES.get(path.suffix.lower(), "")
    return (what, CONVERT) if what else None


def _other_archive(path: Path) -> tuple[str, str] | None:
    """The same for a zip archive; torch's own has data.pkl in a folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return None  # torch says what is wrong with it
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends or any("/code/" in name for name in names):
        return (
            "a TorchScript archive, a network compiled with its code",
            f"write its tensors: torch.save(torch.jit.load({str(path)!r}).state_dict(), 'w.pth'), "
            "and give that file",
        )
    if "archive_format" in ends or "serialized_exported_program.json" in ends:
        return (
            "an archive of torch.export, a network with its code",
            f"write its tensors: torch.save(dict(torch.export.load({str(path)!r}).state_dict), "
            "'w.pth'), and give that file",
        )
    if "model.weights.h5" in ends:
        return "a network of Keras (.keras)", CONVERT
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays (.npz)", "save a dictionary of tensors with torch.save"
    if "data.pkl" not in ends:
        return "a zip archive without weights of PyTorch", "unpack it first"
    return None


def _what_was_refused(path: Path, error: Exception) -> str:
    """That a file holds more than tensors, what it is, and what to do."""
    found = list(_globals_in(path, error))
    if any(name.startswith("torch.nn.modules.") for name in found) or _is_class_of_networks(found):
        root = next((n for n in found if not n.startswith("torch.")), found[0])
        return (
            f"holds a whole network pickled as Python objects ({root}), which would be code to "
            "run; it was refused. If you trust it, write its tensors: torch.save(torch.load("
            f"{str(path)!r}, weights_only=False).state_dict(), 'w.pth'), and give that file."
        )
    if any(name.endswith(("_reconstruct", "numpy.ndarray")) for name in found):
        return (
            "holds NumPy arrays, no plain tensors; it was refused. Save its state_dict as tensors, "
            "with torch.save or safetensors."
        )
    objects = f" but Python objects ({few(found, shown=3)})" if found else ""
    return (
        f"holds no plain tensors{objects}; it was refused. If it is a training checkpoint of "
        f"yours, {SAVE_STATE}."
    )


def _is_class_of_networks(found: Sequence[str]) -> bool:
    return any(re.match(r"(torchvision\.models|timm)\.", name) for name in found)


def _globals_in(path: Path, error: Exception) -> Iterator[str]:
    """Names of the classes and functions that unpickling would call; read, not imported."""
    try:
        yield from sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # older formats: the first one stands in the error
        yield from re.findall(r"GLOBAL ([\w.]+) was not", str(error))[:1]


def _numpy_scalar() -> Any:
    """What makes a number of numpy from its bytes; checkpoints hold best accuracies so."""
    return np.float64(0).__reduce__()[0]


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
