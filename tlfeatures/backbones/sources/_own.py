"""A user's own network: a module, a function that makes one, or where to import it from."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tlfeatures.backbones._preprocessing import stable_repr
from tlfeatures.errors import UnknownBackboneError, UsageError

STD_WITHOUT_RESET = 0.02  # of parameters that no module knows how to draw (class tokens, positions)


def make_own(backbone: Any) -> nn.Module:
    """The network, in eval mode; a module given itself is copied, never changed.

    Parameters
    ----------
    backbone : nn.Module, callable, or str "package.module:attribute"

    Raises
    ------
    UnknownBackboneError
        If there is no such attribute.
    UsageError
        If it is, or makes, no network.
    """
    thing = _import(backbone) if isinstance(backbone, str) else backbone
    if not isinstance(thing, nn.Module) and not callable(thing):
        raise UsageError(f"{backbone!r} is neither a network nor a function that makes one.")
    try:
        network = copy.deepcopy(thing) if isinstance(thing, nn.Module) else thing()
    except Exception as error:  # it is the user's own
        what = "copied" if isinstance(thing, nn.Module) else "called"
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UsageError(
            f"{stable_repr(thing)[:80]} could not be {what} ({line}); give a function without "
            "arguments that makes the network."
        ) from error
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"{stable_repr(thing)} gave {type(network).__name__}, no torch.nn.Module; "
            "it must make a network."
        )
    if isinstance(network, torch.jit.ScriptModule):
        raise UsageError("TorchScript networks cannot be cut into layers; give the Python module.")
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in network.parameters()):
        raise UsageError("the network has lazy layers; run it on one batch before giving it.")
    return network.eval()


def own_name(network: nn.Module) -> str:
    """The qualified name of its class."""
    return f"{type(network).__module__}.{type(network).__qualname__}"


def own_weights_id(network: nn.Module, weights_id: str) -> str:
    """Identity: the weights, the class and the repr; what `forward` does is for the probes."""
    words = (weights_id, own_name(network), stable_repr(network))
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def draw_weights(network: nn.Module) -> None:
    """Give it untrained weights, by each module's own way of drawing them."""
    drawn: set[int] = set()
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None) or getattr(
            module, "_reset_parameters", None
        )
        if reset is not None:
            reset()
            drawn |= {id(p) for p in module.parameters(recurse=False)}
    for parameter in network.parameters():
        if id(parameter) not in drawn:
            nn.init.normal_(parameter, std=STD_WITHOUT_RESET)


def _import(backbone: str) -> Any:
    module, _, attribute = backbone.partition(":")
    try:
        with _working_folder_for(module.partition(".")[0]):
            return getattr(import_module(module), attribute)
    except Exception as error:  # the module's own code runs
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UnknownBackboneError(
            f"backbone {backbone!r} cannot be imported ({line}); write package.module:attribute."
        ) from error


@contextlib.contextmanager
def _working_folder_for(package: str) -> Iterator[None]:
    """Let a package be found in the working folder, unless it is installed.

    Whoever types the name of an installed one does not mean a file that happens to lie there.
    """
    here = str(Path.cwd())
    if here in sys.path or _is_elsewhere(package, here):
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _is_elsewhere(package: str, here: str) -> bool:
    """Whether a package is found that does not lie in the working folder."""
    try:
        spec = find_spec(package)
    except ValueError:  # no name, or a module that was made by hand
        return package in sys.modules
    if spec is None:
        return False
    places = spec.submodule_search_locations or [spec.origin or ""]
    return here not in {str(Path(place).parent) for place in places}


def same_answers(one: nn.Module, other: nn.Module, batch: torch.Tensor) -> bool:
    """Whether two networks say the same of a batch, to 1e-5."""
    with torch.inference_mode():
        a, b = one(batch), other(batch)
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor) or a.shape != b.shape:
        return False
    return bool(torch.linalg.vector_norm(a - b) <= 1e-5 * torch.linalg.vector_norm(b) + 1e-12)
