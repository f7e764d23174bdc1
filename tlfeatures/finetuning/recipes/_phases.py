"""The phases of each recipe for a structure: which units are trained, when, and how fast.

Rates are those of the sources; where a source gives a factor only, the base stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tlfeatures.errors import UsageError
from tlfeatures.finetuning.recipes._parts import HEAD, Stage, Structure, Unit

RATE, HEAD_RATE = 1e-4, 1e-3  # of Adam, for given weights and for the new layer
# of everything at once: three times as high, 24 steps on 40 pictures cost 6 points of accuracy
ALL_RATE, ALL_HEAD_RATE = 3e-5, 3e-4
# with which torchvision trained its networks on ImageNet (SGD): AlexNet and the VGGs without batch
# norms at a tenth of what the others took (its references/classification)
ORIGINAL_RATE, ORIGINAL_RATE_WITHOUT_NORMS = 1e-1, 1e-2
CS231N_TOP, CS231N_MIDDLE = 1 / 10, 1 / 100
GUIDE_HEAD_EPOCHS, GUIDE_ALL_EPOCHS = 16, 8
GUIDE_FIRST, GUIDE_LAST = 1e-7, 1e-4  # of the feature part, linear over its modules
GUIDE_STEP = 3.0
TEH_EPOCHS = 100
TEH_STAGES = 5  # conv1 to conv5
ULMFIT_STEP = 2.6  # Howard & Ruder 2018
L2SP_RATE = 5e-3  # theirs, of SGD
RESNET_PARTS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Phase:
    """Epochs in which the same units are trained.

    Attributes
    ----------
    name : str
    n_epochs : int
    rates : dict of str to float
        Peak rate by unit, or `HEAD`; units not named are frozen, with their batch norms.
    schedule : {"constant", "cosine", "one-cycle", "slanted-triangle"}
    left_out : frozenset of str
        Units that the optimiser does not see while the statistics of their batch norms move.
    """

    name: str
    n_epochs: int
    rates: dict[str, float]
    schedule: str = "cosine"
    left_out: frozenset[str] = frozenset()


def _of(parts: tuple[Stage, ...] | list[Stage], rate: float) -> dict[str, float]:
    return {unit.name: rate for part in parts for unit in part.units}


def _classifier_part(structure: Structure, rate: float) -> dict[str, float]:
    return {} if structure.classifier is None else _of([structure.classifier], rate)


def head(structure: Structure, n_blocks: int) -> list[Phase]:
    """The new layer alone, faster than given weights are trained."""
    return [Phase("new layer", 20, {HEAD: HEAD_RATE})]


def classifier(structure: Structure, n_blocks: int) -> list[Phase]:
    """The classifier part and the new layer."""
    rates = _classifier_part(structure, RATE) | {HEAD: HEAD_RATE}
    return [Phase("classifier part", 20, rates)]


def last_blocks(structure: Structure, n_blocks: int) -> list[Phase]:
    """The last stages, what follows them, and the new layer."""
    n_stages = len(structure.stages)
    if not 1 <= n_blocks <= n_stages:
        raise UsageError(
            f"{structure.backbone} has {n_stages} blocks, {n_blocks} were asked for; give 1 to "
            f"{n_stages}."
        )
    rates = _of(structure.stages[-n_blocks:], RATE) | _classifier_part(structure, RATE)
    name = "last block" if n_blocks == 1 else f"last {n_blocks} blocks"
    return [Phase(name, 20, rates | {HEAD: HEAD_RATE})]


def backwards(structure: Structure, n_blocks: int) -> list[Phase]:
    """A stage more per phase, from the end."""
    rates = _classifier_part(structure, RATE) | {HEAD: HEAD_RATE}
    phases = [Phase("new layer", 3, rates)]
    for stage in reversed(structure.stages):
        rates = _of([stage], RATE) | rates
        phases.append(Phase(f"from {stage.name}", 3, rates))
    return phases


def full(structure: Structure, n_blocks: int) -> list[Phase]:
    """All at once, at low rates: faster, few pictures spoil the given weights."""
    rates = _of(structure.parts, ALL_RATE) | {HEAD: ALL_HEAD_RATE}
    return [Phase("all", 20, rates, "one-cycle")]


def l2sp(structure: Structure, n_blocks: int) -> list[Phase]:
    """All at once; the penalty allows the rate."""
    return [Phase("all", 20, _of(structure.parts, L2SP_RATE) | {HEAD: L2SP_RATE})]


def scratch(structure: Structure, n_blocks: int) -> list[Phase]:
    """All at once, from random weights."""
    return [Phase("all", 30, _of(structure.parts, 0.05) | {HEAD: 0.05}, "one-cycle")]


def teh(features: float) -> Callable[[Structure, int], list[Phase]]:
    """All at once at constant rates, the new layer at 1e-1."""

    def make(structure: Structure, n_blocks: int) -> list[Phase]:
        rates = _of(structure.parts, features) | {HEAD: 1e-1}
        return [Phase("all", TEH_EPOCHS, rates, "constant")]

    return make


def teh_d(structure: Structure, n_blocks: int) -> list[Phase]:
    """As the slides' code: groups by stage, the stem's batch norm in none of them."""
    rates = _of(structure.stages[:3], 1e-4) | _of(structure.stages[3:], 1e-3)
    rates |= _classifier_part(structure, 1e-3) | {HEAD: 1e-1}
    stem_norm = {name for name in rates if name == "bn1"}
    rates = {name: rate for name, rate in rates.items() if name not in stem_norm}
    return [Phase("all", TEH_EPOCHS, rates, "constant", frozenset(stem_norm))]


def no_five_stages(structure: Structure) -> str:
    """Why recipe teh-D does not suit; "" if it does."""
    n = len(structure.stages)
    return "" if n == TEH_STAGES else f"it names {TEH_STAGES} stages, conv1 to conv5, here are {n}"


def cs231n(structure: Structure, n_blocks: int) -> list[Phase]:
    """The first stage keeps its edges and colours: the lecture's figure freezes what is lowest."""
    original = _original_rate(structure)
    middle = _of(structure.stages[1:], original * CS231N_MIDDLE)
    top = _classifier_part(structure, original * CS231N_TOP) | {HEAD: original * CS231N_TOP}
    return [Phase("all but the first", 20, middle | top)]


def _original_rate(structure: Structure) -> float:
    has_norms = any(unit.batch_norms for unit in structure.units)
    return ORIGINAL_RATE if has_norms else ORIGINAL_RATE_WITHOUT_NORMS


def guide(all_rates: Callable[[Structure], dict[str, float]]) -> Callable[..., list[Phase]]:
    """First the new layer alone, then all, at the rates of one kind of network."""

    def make(structure: Structure, n_blocks: int) -> list[Phase]:
        return [
            Phase("new layer", GUIDE_HEAD_EPOCHS, {HEAD: 1e-3}, "constant"),
            Phase("all", GUIDE_ALL_EPOCHS, all_rates(structure), "constant"),
        ]

    return make


def vgg_rates(structure: Structure) -> dict[str, float]:
    """Linear over all modules of the feature part, of which not all have parameters.

    A step is 1/44 of a VGG16's 44 modules: the last module is a step below the classifier.
    """
    by_module = np.linspace(GUIDE_FIRST, GUIDE_LAST, structure.n_features + 1)
    units = [unit for stage in structure.stages for unit in stage.units]
    rates = {unit.name: float(by_module[_index(unit)]) for unit in units}
    return rates | _classifier_part(structure, GUIDE_LAST) | {HEAD: GUIDE_LAST}


def _index(unit: Unit) -> int:
    return int(unit.name.split(".")[1])


def no_vgg(structure: Structure) -> str:
    """Why the rates for VGGs do not suit; "" if they do."""
    units = [unit for stage in structure.stages for unit in stage.units]
    is_vgg = structure.classifier is not None and all(
        unit.name.startswith("features.") and unit.name.split(".")[1].isdigit() for unit in units
    )
    return "" if is_vgg else "it goes by the modules of a VGG's feature part"


def resnet_rates(structure: Structure) -> dict[str, float]:
    """A third per group from the new layer down; the stem's batch norm is a group."""
    by_part = {
        part: GUIDE_LAST / GUIDE_STEP**i for i, part in enumerate(reversed(RESNET_PARTS), start=1)
    }
    rates = {unit.name: by_part[unit.name.split(".")[0]] for unit in structure.units}
    return rates | {HEAD: GUIDE_LAST}


def no_resnet(structure: Structure) -> str:
    """Why the rates for ResNets do not suit; "" if they do."""
    found = {unit.name.split(".")[0] for unit in structure.units}
    return "" if found == set(RESNET_PARTS) else "it goes by a ResNet's conv1, bn1, layer1 to 4"


def ulmfit(structure: Structure, n_blocks: int) -> list[Phase]:
    """One part more per epoch, from the end; rates fall by 2.6 per part."""
    rates = {HEAD: HEAD_RATE}
    phases = [Phase("new layer", 1, rates, "slanted-triangle")]
    for i, part in enumerate(reversed(structure.parts), start=1):
        rates = _of([part], HEAD_RATE / ULMFIT_STEP**i) | rates
        phases.append(Phase(f"from {part.name}", 1, rates, "slanted-triangle"))
    return [*phases[:-1], replace(phases[-1], name="all", n_epochs=6)]


def no_classifier_part(structure: Structure) -> str:
    """Why recipe classifier does not suit; "" if it does."""
    if structure.classifier is not None:
        return ""
    return "between its features and the codes is no layer, so it would be 'head'"
