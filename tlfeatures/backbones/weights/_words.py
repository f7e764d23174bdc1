"""What the word for the weights means: a seed, a file, an entry's file. No torch in here."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from tlfeatures.backbones.sources._listing import EMBEDDED, list_backbones, weights_place
from tlfeatures.errors import UsageError

LARGEST_SEED = 2**64 - 1  # of torch's
FILE_SUFFIXES = (
    ".safetensors", ".pth", ".pt", ".tar", ".bin", ".ckpt", ".pkl", ".pickle", ".th",
    # Of other kinds, so that they are told what they are.
    ".pt2", ".torchscript", ".jit", ".ptl", ".onnx", ".h5", ".hdf5", ".keras", ".npz", ".npy",
    ".pb", ".tflite", ".msgpack", ".caffemodel", ".pdparams", ".mlmodel", ".gguf", ".zip", ".gz",
    ".xz", ".bz2", ".zst", ".7z", ".json", ".txt",
)  # fmt: skip


def is_file_name(weights: str | None) -> bool:
    """Whether the word names a file rather than an entry."""
    return weights is not None and (weights.lower().endswith(FILE_SUFFIXES) or "/" in weights)


def random_seed(weights: str | None) -> int | None:
    """The seed in "random" or "random:SEED"; None for any other word."""
    if weights is None or weights.partition(":")[0] != "random":
        return None
    seed = weights.partition(":")[2] or "0"
    if not seed.isdecimal() or len(seed) > len(str(LARGEST_SEED)) or int(seed) > LARGEST_SEED:
        raise UsageError(
            f"weights {weights!r:.80}: write 'random' or 'random:SEED', SEED a number up to "
            f"{LARGEST_SEED}."
        )
    return int(seed)


def weights_file(backbone: str, weights: str | None) -> Path | None:
    """The file that these words mean, whether or not it is there; None where there is none."""
    if random_seed(weights) is not None:
        return None
    if weights is not None and is_file_name(weights):
        return Path(weights)
    if backbone == EMBEDDED:
        return Path(str(files("tlfeatures.backbones") / "embedded.safetensors"))
    facts = next((facts for facts in list_backbones() if facts.name == backbone), None)
    if facts is not None:
        wanted = facts.entries[0].name if weights is None else weights
        file = next((entry.file for entry in facts.entries if entry.name == wanted), None)
        if file is not None:
            return weights_place(file)
    return _file_of_newer_entry(backbone, weights)


def _file_of_newer_entry(backbone: str, weights: str | None) -> Path | None:
    """For networks and entries that only the installed torchvision knows."""
    from tlfeatures.backbones.sources._torchvision import torchvision_names, weights_entry

    if backbone not in torchvision_names():
        return None
    return weights_place(str(weights_entry(backbone, weights).url))
