"""Weights: files by name or path, the head they were trained for, their identity."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tlfeatures.backbones._checkpoint import StateDict, fit_names, likeliest_network, unwrap
from tlfeatures.backbones._torchvision import weights_entry
from tlfeatures.backbones._words import weights_file
from tlfeatures.errors import WeightsError

IGNORED = "num_batches_tracked"
_log = logging.getLogger(__name__)


def download(backbone: str, weights: str | None) -> StateDict:
    """Torchvision's weights, from its usual place or downloaded into it.

    Raises
    ------
    WeightsError
        If they cannot be had.
    """
    entry, target = weights_entry(backbone, weights), weights_file(backbone, weights)
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights {entry.name} of {backbone} could not be had ({_first_line(error)}); put "
            f"{Path(str(target)).name} into {Path(str(target)).parent}, or use `weights=FILE`, "
            f"or `backbone='embedded'`."
        ) from error


def read_file(path: Path) -> tuple[StateDict, list[str]]:
    """The tensors of a .safetensors or .pth file, and what was unwrapped; nothing is executed.

    Raises
    ------
    WeightsError
        If the file is missing, unreadable, corrupt or holds no state dict.
    """
    if not path.is_file():
        raise WeightsError(f"weights file {path} is not there; check the path in `weights`.")
    try:
        if path.suffix.lower() == ".safetensors":
            loaded = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise WeightsError(
            f"weights file {path} cannot be read ({_first_line(error)}); see that it is whole, "
            "or download or save it again."
        ) from error
    except Exception as error:  # UnpicklingError, KeyError: text, a web page, hostile files
        raise WeightsError(
            f"weights file {path} holds no plain tensors; it was refused. If it is a training "
            "checkpoint of yours, save its state_dict alone with safetensors."
        ) from error
    state, said = unwrap(loaded)
    if not state:
        raise WeightsError(
            f"weights file {path} holds no plain state dict; save one of tensors only."
        )
    return state, said


def assign(
    network: nn.Module,
    state: Mapping[str, torch.Tensor],
    path: object,
    name: str,
    said: Sequence[str] = (),
) -> None:
    """Copy the tensors of a file into the network as float32; names and shapes must agree.

    Prefixes of wrappers are taken off. The classifier may differ: one of another number of classes
    replaces the network's, one that is missing is filled with nan, so that layers which need it
    are refused later. What was done is said in the log.

    Raises
    ------
    WeightsError
        Naming missing, unexpected and misshapen parameters, and the likeliest network.
    """
    own = network.state_dict()
    state, more = fit_names(dict(state), own)
    notes = [*said, *more]
    head = _head_path(own)
    missing = [k for k in own if k not in state and not k.endswith(IGNORED)]
    unexpected = [k for k in state if k not in own]
    misshapen = [k for k in own if k in state and own[k].shape != state[k].shape]
    if misshapen and not missing and all(_is_other_head(k, head, own, state) for k in misshapen):
        _replace_head(network, head, state)
        notes.append(f"its classifier has {len(state[misshapen[0]])} classes")
        misshapen = []
    if missing and not misshapen and all(k.startswith(f"{head}.") for k in missing):
        notes.append("it has no classifier; layers before it can be used")
        state = {**state, **{k: torch.full_like(own[k], torch.nan) for k in missing}}
        missing = []
    if faults := _faults(missing, unexpected, misshapen):
        inside = f" (it is {'; '.join(notes)})" if notes else ""
        raise WeightsError(
            f"{path}{inside} is not for {name}: parameters {faults}. {_likeliest_words(state)}"
        )
    for words in notes:
        _log.warning("%s: %s", path, words)
    floats = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    network.load_state_dict(floats, strict=False)


def _is_other_head(
    key: str, head: str, own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]
) -> bool:
    """Whether this parameter is the classifier's, for the same inputs but other classes."""
    is_heads = key in (f"{head}.weight", f"{head}.bias")
    return is_heads and own[key].shape[1:] == state[key].shape[1:]


def check_finite(
    network: nn.Module, codes: Sequence[torch.Tensor], layers: Sequence[str], path: object
) -> None:
    """Refuse layers whose computation needs weights that are no numbers.

    Parameters
    ----------
    network : nn.Module
    codes : sequence of Tensor
        What the layers say of an example.
    layers : sequence of str
    path : object
        Where the weights are from.

    Raises
    ------
    WeightsError
    """
    wrong = [la for la, c in zip(layers, codes, strict=True) if not bool(torch.isfinite(c).all())]
    names = (n for n, t in network.state_dict().items() if _has_nan(t))
    if wrong and (name := next(names, None)) is not None:
        raise WeightsError(
            f"layer {', '.join(wrong)} needs {name}, which holds values that are not finite "
            f"numbers in {path}; choose an earlier layer, or other weights."
        )


def _has_nan(tensor: object) -> bool:
    is_float = isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    return is_float and not bool(torch.isfinite(tensor).all())  # type: ignore[arg-type]


def make_weights_id(network: nn.Module) -> str:
    """sha256 over sorted (name, shape, float32 bytes); float16 files of equal values agree."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith(IGNORED):
            continue
        if not isinstance(tensor, torch.Tensor):  # what get_extra_state of a module gives
            digest.update(f"{name}{tensor!r}".encode())
            continue
        values = tensor.detach().cpu().float().contiguous()
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def _head_path(own: Mapping[str, torch.Tensor]) -> str:
    """The module of the last weight matrix, the classifier."""
    matrices = [n for n, t in own.items() if isinstance(t, torch.Tensor) and t.ndim > 1]
    return matrices[-1].rpartition(".")[0] if matrices else ""


def _replace_head(network: nn.Module, path: str, state: Mapping[str, torch.Tensor]) -> None:
    old = network.get_submodule(path)
    n_classes, has_bias = len(state[f"{path}.weight"]), f"{path}.bias" in state
    if isinstance(old, nn.Linear):
        new: nn.Module = nn.Linear(old.in_features, n_classes, bias=has_bias)
    else:
        new = nn.Conv2d(old.in_channels, n_classes, old.kernel_size, bias=has_bias)  # type: ignore[arg-type]
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, new.eval())


def _faults(missing: list[str], unexpected: list[str], misshapen: list[str]) -> str:
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
    return "; ".join(
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in kinds
        if names
    )


def _likeliest_words(state: Mapping[str, torch.Tensor]) -> str:
    found = likeliest_network(state)
    if found is None:
        return "No known network has such parameters; name its own network in `backbone`."
    name, share = found
    return f"They look like {name} ({share:.0%} agree): use `backbone='{name}'`."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
