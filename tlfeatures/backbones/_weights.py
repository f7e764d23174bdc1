"""Weights: torchvision's by name, local files, the embedded ones, random ones; their identity."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tlfeatures.backbones._registry import EMBEDDED, weights_entry
from tlfeatures.errors import UsageError, WeightsError

StateDict = Mapping[str, torch.Tensor]
FILE_SUFFIXES = (".safetensors", ".pth", ".pt")
IGNORED_SUFFIX = "num_batches_tracked"


def is_file_name(weights: str | None) -> bool:
    """Whether the word names a file rather than an entry."""
    return weights is not None and (weights.lower().endswith(FILE_SUFFIXES) or "/" in weights)


def random_seed(weights: str | None) -> int | None:
    """The seed in "random" or "random:SEED"; None for any other word."""
    if weights is None or weights.partition(":")[0] != "random":
        return None
    seed = weights.partition(":")[2] or "0"
    if not seed.isdigit():
        raise UsageError(f"weights {weights!r}: write 'random' or 'random:SEED', SEED a number.")
    return int(seed)


def weights_file(backbone: str, weights: str | None) -> Path | None:
    """The file that these words mean, whether or not it is there; None for random weights."""
    if random_seed(weights) is not None:
        return None
    if weights is not None and is_file_name(weights):
        return Path(weights)
    if backbone == EMBEDDED:
        return Path(str(files("tlfeatures.backbones") / "embedded.safetensors"))
    url = str(weights_entry(backbone, weights).url)
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def load_weights(network: nn.Module, backbone: str, weights: str | None) -> None:
    """Load the weights into the network, strictly.

    Raises
    ------
    WeightsError
        If they are missing, corrupt or another network's.
    UsageError
        If the network has no such entry.
    """
    if random_seed(weights) is not None:
        return  # the network was built under that seed
    if backbone == EMBEDDED and weights is not None and not is_file_name(weights):
        raise UsageError(f"weights {weights!r}: the embedded network has its own; leave it out.")
    if backbone == EMBEDDED or is_file_name(weights):
        path = weights_file(backbone, weights)
        assign_strictly(network, read_file(Path(str(path))), f"{path} is not for {backbone}")
    else:
        network.load_state_dict(download(backbone, weights))


def download(backbone: str, weights: str | None) -> StateDict:
    """Torchvision's weights, from its usual place or downloaded into it."""
    entry, target = weights_entry(backbone, weights), weights_file(backbone, weights)
    try:
        state: StateDict = entry.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights {entry.name} of {backbone} could not be had ({_first_line(error)}); put "
            f"{Path(str(target)).name} into {Path(str(target)).parent}, or use --weights FILE, "
            f"or --backbone embedded."
        ) from error
    return state


def read_file(path: Path) -> StateDict:
    """The tensors of a .safetensors or .pth file; nothing in it is executed.

    Raises
    ------
    WeightsError
        If the file is missing, unreadable, corrupt or holds anything but tensors.
    """
    if not path.is_file():
        raise WeightsError(f"weights file {path} is not there; check the path after --weights.")
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(f"weights file {path} cannot be read: {_first_line(error)}") from error
    except Exception as error:  # pickle.UnpicklingError and what hostile files make it raise
        raise WeightsError(
            f"weights file {path} holds no plain tensors; it was refused."
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(v, torch.Tensor) for v in state.values()
    ):
        raise WeightsError(
            f"weights file {path} holds no plain state dict; save one of tensors only."
        )
    return state


def assign_strictly(network: nn.Module, state: StateDict, complaint: str) -> None:
    """Copy the tensors into the network as float32; names and shapes must agree exactly.

    Raises
    ------
    WeightsError
        Naming missing, unexpected and misshapen parameters.
    """
    own = network.state_dict()
    missing = [k for k in own if k not in state and not k.endswith(IGNORED_SUFFIX)]
    unexpected = [k for k in state if k not in own]
    misshapen = [k for k in own if k in state and own[k].shape != state[k].shape]
    faults = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
        )
        if names
    ]
    if faults:
        raise WeightsError(
            f"{complaint}: parameters {'; '.join(faults)}. Name its own network with --backbone."
        )
    floats = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    network.load_state_dict(floats, strict=False)
    if not all(bool(torch.isfinite(v).all()) for v in floats.values() if v.is_floating_point()):
        raise WeightsError(f"{complaint}: it holds values that are not finite numbers.")


def make_weights_id(network: nn.Module) -> str:
    """sha256 over sorted (name, shape, float32 bytes); float16 files of equal values agree."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith(IGNORED_SUFFIX):
            continue
        values = tensor.detach().cpu().float().contiguous()
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
