"""What the network itself is asked: its depths, its original head, the time to train it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlfeatures.advice._rules import CODES, FULL, LAST_BLOCKS
from tlfeatures.backbones import BackboneRequest, Network, WeightsFacts, list_backbones

TARGETS = (0.2, 0.4, 0.6, 0.8)  # of the way to the codes asked for, which are the fifth
LATEST = 0.95  # of that way; what comes later says the same as the codes
IMAGENET_CLASSES = 1000
TIMED = 4  # pictures in a timed step
LAST_SHARE = 0.75  # weights from here on are the last block: about one of four stages


@dataclass(frozen=True)
class Depths:
    """Where a network is probed.

    Attributes
    ----------
    layers : tuple of str
        By depth, the layer asked for last.
    depths : tuple of float
        Shares of the layers with weights; 1: the default layer.
    output : str
        The layer of the original head's answers.
    facts : WeightsFacts or None
        Published of these weights; None where that head's answers say nothing.
    missing : dict of str to str
        Why a signal cannot be measured.
    """

    layers: tuple[str, ...]
    depths: tuple[float, ...]
    output: str
    facts: WeightsFacts | None
    missing: dict[str, str]


def find_depths(network: Network, request: BackboneRequest, is_carried: bool = False) -> Depths:
    """About five depths to probe, and the original head where its answers mean something.

    Parameters
    ----------
    network : Network
    request : BackboneRequest
        That it was loaded for; earlier layers are compared with the layer it asks for.
    is_carried : bool, default=False
        Whether the weights are not those that the request names but a saved model's.

    Raises
    ------
    UnknownLayerError
    """
    last, missing = network.layers.resolve(request.layer), {}
    depth_of = _depths_of(network)
    earlier = _earlier_layers(network, depth_of, depth_of[last])
    if not earlier:
        missing["depth"] = f"no block that could be told apart ends before {last}"
    facts, why = _published(network, request, is_carried)
    if facts is None:
        missing["confidence"] = why
    layers, depths = zip(*earlier, (last, round(depth_of[last], 3)), strict=True)
    return Depths(layers, depths, network.layers.names[-1], facts, missing)


def _earlier_layers(
    network: Network, depth_of: dict[str, float], last: float
) -> list[tuple[str, float]]:
    """Ends of blocks nearest to the target depths before the last one, with their own depths."""
    aliases = network.layers.aliases
    ends = [layer for alias, layer in aliases.items() if alias.startswith("block-")]
    candidates = [(depth_of[end], end) for end in ends if depth_of[end] < LATEST * last]
    if not candidates:
        return []
    nearest = {min(candidates, key=lambda c: abs(c[0] - target * last)) for target in TARGETS}
    return [(layer, round(depth, 3)) for depth, layer in sorted(nearest)]


def _depths_of(network: Network) -> dict[str, float]:
    """For each layer the share of layers with weights behind it; 1 from the default one on."""
    passed, found = 0, {}
    for call in network.layers.calls:
        passed += call.module is not None and _has_matrix(call.module)
        found[call.name] = passed
    whole = max(1, found[network.layers.default_layer()])
    return {name: min(1.0, count / whole) for name, count in found.items()}


def _has_matrix(module: nn.Module) -> bool:
    return any(p.ndim > 1 for p in module.parameters(recurse=False))


def _published(
    network: Network, request: BackboneRequest, is_carried: bool
) -> tuple[WeightsFacts | None, str]:
    """What is published of the weights, or why the original head says nothing."""
    facts = next((f for f in list_backbones() if f.name == request.backbone), None)
    if facts is None:
        return None, "only of torchvision's networks it is known how accurate their heads are"
    if is_carried:  # fine-tuning leaves the head as it was, for layers that are others now
        return None, "of weights that a saved model brought along no accuracy is known"
    if (request.weights or "").partition(":")[0] == "random":
        return None, "random weights have not learned any classes"
    entry = next((e for e in facts.entries if e.name == request.weights), facts.entries[0])
    with torch.inference_mode():
        answer = network.module(network.example())
    is_usable = answer.shape[1:] == (IMAGENET_CLASSES,) and bool(torch.isfinite(answer).all())
    if entry.top1 is None or not is_usable:
        return None, f"these weights have no head of ImageNet's {IMAGENET_CLASSES:,} classes"
    return entry, ""


def seconds_per_picture(network: Network) -> dict[str, float]:
    """By strategy, what a picture takes in a step of training, timed on a few; codes: forward.

    The network's parameters keep their values.
    """
    module, batch = network.module, network.example(TIMED)
    parameters = list(module.parameters())
    matrices = [p for p in parameters if p.ndim > 1]
    last = matrices[int(LAST_SHARE * len(matrices)) :]
    seconds = {}
    for strategy, trained in ((CODES, []), (LAST_BLOCKS, last), (FULL, parameters)):
        with _training(trained):
            seconds[strategy] = _timed(lambda: _step(module, batch)) / TIMED
    return seconds


def _timed(call: Callable[[], None]) -> float:
    call()  # the first time, memory is fetched
    _wait()
    started = time.perf_counter()
    call()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    """Until a GPU has done what it was given: calls return before."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _step(network: nn.Module, batch: torch.Tensor) -> None:
    classes = torch.zeros(len(batch), dtype=torch.long, device=batch.device)
    loss = cross_entropy(network(batch).flatten(1), classes)
    if loss.requires_grad:
        loss.backward()


@contextmanager
def _training(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Gradients for these parameters, taken away again."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        with torch.set_grad_enabled(bool(parameters)):
            yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
