"""Weights: files by name or path, put into a network, their identity."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn

from tlfeatures._torch_private import versions_of, with_versions
from tlfeatures.backbones.sources._lean import torchvision
from tlfeatures.backbones.sources._torchvision import fit_state, weights_entry
from tlfeatures.backbones.weights._checkpoint import find_states, likeliest_network
from tlfeatures.backbones.weights._formats import first_line, load_anything
from tlfeatures.backbones.weights._heads import (
    IGNORED,
    Faults,
    compare,
    is_other_count,
    left_aside,
    set_class_count,
)
from tlfeatures.backbones.weights._names import State, fit_names, n_fitting
from tlfeatures.backbones.weights._quiet import words_only
from tlfeatures.backbones.weights._words import weights_file
from tlfeatures.errors import WeightsError, few

RGB = 3
MNASNET_NOW = 2  # the version of its code
_log = logging.getLogger(__name__)


def download(backbone: str, weights: str | None) -> State:
    """Torchvision's weights, from its usual place or downloaded into it.

    Raises
    ------
    WeightsError
        If they cannot be had.
    """
    entry, target = weights_entry(backbone, weights), weights_file(backbone, weights)
    try:
        # What lies in torch's folder already is not hashed again, and others may write there.
        with words_only():
            found = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights {entry.name} of {backbone} could not be had ({first_line(error)}); put "
            f"{Path(str(target)).name} into {Path(str(target)).parent}, or use `weights=FILE`, "
            f"or `backbone='embedded'`."
        ) from error
    except Exception as error:  # UnpicklingError, ValueError: a hostile file or archive
        raise WeightsError(
            f"the weights file {target} holds no plain tensors; it was refused: delete it, and it "
            "is downloaded again."
        ) from error
    return State(dict(found), versions_of(found))


def read_file(path: Path) -> list[State]:
    """The state dicts of a .safetensors or .pth file, best first; nothing is executed.

    Raises
    ------
    WeightsError
        If the file is missing, unreadable, corrupt, of another kind, or holds no state dict.
    """
    found = find_states(load_anything(path))
    if not found:
        raise WeightsError(
            f"weights file {path} holds no plain state dict; save one of tensors only."
        )
    return found


def assign(network: nn.Module, states: Sequence[State], path: object, name: str) -> tuple[str, ...]:
    """Copy the tensors of a file into the network as float32; names and shapes must agree.

    Of several state dicts that one is taken which fits best. Names are made the network's own
    (`fit_names`). The classifier may differ: one of another number of classes replaces the
    network's; another one, or none, is left aside: the network's is filled with nan, so that layers
    which need it are refused later. A first convolution of one channel takes a third of it from
    each of three. What was done is said in the log.

    Returns
    -------
    tuple of str
        Parameters of the head that was left aside, because the file has another one or none.

    Raises
    ------
    WeightsError
        Naming missing, unexpected and misshapen parameters, and the likeliest network.
    """
    given = max(states, key=lambda state: n_fitting(state, network))
    state = fit_names(given, network)
    state = replace(state, tensors=fit_state(network, state.tensors))
    state = _with_three_channels(network, state, path, name)
    faults = compare(network.state_dict(), state.tensors)
    if is_other_count(faults, network, state.tensors):
        count = set_class_count(network, state.tensors)
        state = state.and_said(f"its classifier has {count} classes", state.tensors)
        faults = compare(network.state_dict(), state.tensors)
    aside = left_aside(faults, network, state.tensors)
    if aside is None:
        inside = f" (it is {'; '.join(state.said)})" if state.said else ""
        raise WeightsError(
            f"{path}{inside} is not for {name}: parameters {faults}. "
            f"{_what_to_do(faults, given.tensors, name)}"
        )
    for words in (*state.said, *_head_words(faults, aside, name)):
        _log.warning("%s: %s", path, words)
    _fill(network, state.tensors, aside)
    return aside


def _with_three_channels(network: nn.Module, state: State, path: object, name: str) -> State:
    """The state with a first convolution of three channels, made of one of one channel.

    Each takes a third: three equal channels give what one gave.

    Raises
    ------
    WeightsError
        If it takes another number of channels.
    """
    own = network.state_dict()
    kernels = (n for n, t in own.items() if isinstance(t, torch.Tensor) and t.ndim == 4)
    first = next(kernels, None)
    if first is None or first not in state.tensors or own[first].shape[1] != RGB:
        return state
    kernel, shape = state.tensors[first], own[first].shape
    if kernel.ndim != len(shape) or (kernel.shape[0], *kernel.shape[2:]) != (shape[0], *shape[2:]):
        return state
    if kernel.shape[1] == 1:
        words = (
            "its first convolution takes one channel, grey: each of three takes a third of it, so "
            "that grey pictures give what they gave; see that `preprocess` is that of its training"
        )
        return state.and_said(words, {**state.tensors, first: kernel.repeat(1, RGB, 1, 1) / RGB})
    if kernel.shape[1] != RGB:
        raise WeightsError(
            f"{path} is of {name} with a first convolution of {kernel.shape[1]} channels ({first}),"
            " and pictures here have three, red, green and blue; give a network of your own that "
            "makes its channels of these, or weights for three."
        )
    return state


def _head_words(faults: Faults, aside: Sequence[str], name: str) -> list[str]:
    """What is left aside, in words."""
    if aside:
        other = faults.unexpected or (*faults.misshapen, *faults.integers)
        if not other:
            return ["it has no classifier; layers before it can be used"]
        return [
            f"its head is another than that of {name} ({few(other, shown=3)}) and is left aside; "
            "layers before it can be used"
        ]
    if faults.unexpected:
        n, shown = len(faults.unexpected), few(faults.unexpected, shown=3)
        return [f"{n} tensors that {name} has not are left aside ({shown})"]
    return []


def _fill(network: nn.Module, tensors: Mapping[str, torch.Tensor], aside: Sequence[str]) -> None:
    """Load them as float32, with nan where the head is left aside."""
    own = network.state_dict()
    floats: Any = OrderedDict(
        (n, t.float() if isinstance(t, torch.Tensor) and t.is_floating_point() else t)
        for n, t in tensors.items()
        if n in own
    )
    floats.update((n, torch.full_like(own[n], torch.nan)) for n in aside)
    versions = versions_of(own)  # they have today's names by now
    if isinstance(network, torchvision.models.MNASNet):
        versions.setdefault("", {})["version"] = MNASNET_NOW
    with_versions(floats, versions)
    network.load_state_dict(floats, strict=False)


def check_finite(
    network: nn.Module,
    codes: Sequence[torch.Tensor],
    layers: Sequence[str],
    path: object,
    aside: Sequence[str] = (),
    earlier: str | None = None,
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
    aside : sequence of str
        Parameters of the head that was left aside.
    earlier : str, optional
        A layer before the head.

    Raises
    ------
    WeightsError
    """
    wrong = [la for la, c in zip(layers, codes, strict=True) if not bool(torch.isfinite(c).all())]
    names = (n for n, t in network.state_dict().items() if _has_nan(t))
    if not wrong or (name := next(names, None)) is None:
        return
    if name in aside:
        raise WeightsError(
            f"layer {few(wrong)} lies in the head and needs {name}, and {path} has another "
            "head or none, so that it was left aside; choose an earlier layer"
            f"{f', such as {earlier}' if earlier else ''}, or other weights."
        )
    raise WeightsError(
        f"layer {few(wrong)} needs {name}, which holds values that are not finite "
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


def _what_to_do(faults: Faults, state: Mapping[str, torch.Tensor], name: str) -> str:
    if faults.integers and len(faults.integers) == len(faults.unfilled):
        return "They were made whole numbers (quantised): give the weights from before."
    found = likeliest_network(state)
    if found is None:
        return "No known network has such parameters; name its own network in `backbone`."
    likely, share = found
    if likely == name:
        return (
            f"It was changed before training ({share:.0%} of them agree): give the changed network "
            "itself, `backbone=package.module:function`, and this file as its `weights`."
        )
    return f"They look like {likely} ({share:.0%} agree): use `backbone='{likely}'`."
