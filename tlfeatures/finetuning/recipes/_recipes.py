"""Recipes: which parts are trained, when, and how fast. No torch in here.

Rates are those of the sources that each recipe names (docs/sources.md); where a source gives a
factor only, the base stands beside it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

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
L2SP = (0.1, 0.01)  # alpha, beta of Li, Grandvalet & Davoine 2018, the middle of their grid
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


@dataclass(frozen=True)
class Recipe:
    """A way to fine-tune.

    Attributes
    ----------
    name, source, words : str
        Its name, the document it is from, what it does in a few words.
    make_phases : callable
        Phases for a structure and a number of last blocks.
    optimizer : {"sgd", "adam", "adamw"}
    momentum : float
        Of SGD; Adam and AdamW keep torch's betas.
    is_nesterov : bool
    weight_decay : float
    head_start : {"probe", "random"}
    is_scratch : bool
    l2sp : (float, float) or None
        Strengths alpha of staying near the given weights, beta of a small new layer.
    batch_norms : {"frozen", "moving"}
        Whether the statistics of trained parts move. Those of small batches of small pictures are
        far from the given ones: frozen where the given weights are kept near.
    patience : int or None
        Epochs without improvement after which a phase ends; None: never.
    stops_unfreezing : bool
        Whether training ends with the first phase that improves nothing.
    is_shared : bool
        Whether a second task is trained along.
    note : str
        What else is to be known of its result; "": nothing.
    misfit : callable
        Gives the reason why a structure does not suit, or "".
    """

    name: str
    source: str
    words: str
    make_phases: Callable[[Structure, int], list[Phase]] = field(repr=False)
    optimizer: str = "adamw"
    momentum: float = 0.9
    is_nesterov: bool = False
    weight_decay: float = 0.01
    head_start: str = "probe"
    is_scratch: bool = False
    l2sp: tuple[float, float] | None = None
    batch_norms: str = "frozen"
    patience: int | None = 5
    stops_unfreezing: bool = False
    is_shared: bool = False
    note: str = ""
    misfit: Callable[[Structure], str] = field(default=lambda structure: "", repr=False)

    def phases(
        self,
        structure: Structure,
        *,
        n_blocks: int = 1,
        epochs: int | None = None,
        lr: float | None = None,
    ) -> list[Phase]:
        """What it means for one network.

        Parameters
        ----------
        structure : Structure
        n_blocks : int
            Stages, counted from the end, that "last-blocks" trains.
        epochs : int, optional
            In all; phases keep their proportions, one epoch each at least.
        lr : float, optional
            The highest rate; the others keep their proportions.

        Raises
        ------
        UsageError
            If the recipe does not fit the network.
        """
        if reason := self.misfit(structure):
            fitting = [each.name for each in RECIPES.values() if not each.misfit(structure)]
            raise UsageError(
                f"recipe {self.name!r} does not fit {structure.backbone}: {reason}; "
                f"those that do: {', '.join(fitting)}."
            )
        made = self.make_phases(structure, n_blocks)
        made = made if epochs is None else _share_epochs(made, epochs)
        return made if lr is None else _scaled(made, lr)


def make_recipe(recipe: str | Recipe) -> Recipe:
    """The recipe of that name or other name; a `Recipe` is itself.

    Raises
    ------
    UsageError
        If there is none.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str):
        raise UsageError(f"recipe is a {type(recipe).__name__}; give a name: {', '.join(RECIPES)}.")
    name = recipe.strip().replace("_", "-")
    name = OTHER_NAMES.get(name.lower(), name)
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, [*RECIPES, *OTHER_NAMES], 1)
    hint = f"did you mean {near[0]!r}? Choose" if near else "choose"
    raise UsageError(f"recipe {recipe!r} is unknown; {hint} one of {', '.join(RECIPES)}.")


def _share_epochs(phases: list[Phase], epochs: int) -> list[Phase]:
    """The phases with so many epochs in all, one each at least."""
    if epochs < len(phases):
        raise UsageError(
            f"{epochs} epochs are fewer than the recipe's {len(phases)} phases; give at least "
            f"{len(phases)}."
        )
    total = sum(phase.n_epochs for phase in phases)
    ends = np.cumsum([phase.n_epochs for phase in phases]) * epochs / total
    counts = np.maximum(1, np.diff(np.round(ends), prepend=0)).astype(int)
    while counts.sum() > epochs:
        counts[counts.argmax()] -= 1
    return [replace(phase, n_epochs=int(n)) for phase, n in zip(phases, counts, strict=True)]


def _scaled(phases: list[Phase], lr: float) -> list[Phase]:
    if not 0 < lr < np.inf:
        raise UsageError(f"`lr` is {lr:g}; give a number above 0.")
    factor = lr / max(rate for phase in phases for rate in phase.rates.values())
    return [
        replace(phase, rates={name: rate * factor for name, rate in phase.rates.items()})
        for phase in phases
    ]


def _of(parts: tuple[Stage, ...] | list[Stage], rate: float) -> dict[str, float]:
    return {unit.name: rate for part in parts for unit in part.units}


def _classifier_part(structure: Structure, rate: float) -> dict[str, float]:
    return {} if structure.classifier is None else _of([structure.classifier], rate)


def _head(structure: Structure, n_blocks: int) -> list[Phase]:
    return [Phase("new layer", 20, {HEAD: HEAD_RATE})]


def _classifier(structure: Structure, n_blocks: int) -> list[Phase]:
    rates = _classifier_part(structure, RATE) | {HEAD: HEAD_RATE}
    return [Phase("classifier part", 20, rates)]


def _last_blocks(structure: Structure, n_blocks: int) -> list[Phase]:
    n_stages = len(structure.stages)
    if not 1 <= n_blocks <= n_stages:
        raise UsageError(
            f"{structure.backbone} has {n_stages} blocks, {n_blocks} were asked for; give 1 to "
            f"{n_stages}."
        )
    rates = _of(structure.stages[-n_blocks:], RATE) | _classifier_part(structure, RATE)
    name = "last block" if n_blocks == 1 else f"last {n_blocks} blocks"
    return [Phase(name, 20, rates | {HEAD: HEAD_RATE})]


def _backwards(structure: Structure, n_blocks: int) -> list[Phase]:
    rates = _classifier_part(structure, RATE) | {HEAD: HEAD_RATE}
    phases = [Phase("new layer", 3, rates)]
    for stage in reversed(structure.stages):
        rates = _of([stage], RATE) | rates
        phases.append(Phase(f"from {stage.name}", 3, rates))
    return phases


def _full(structure: Structure, n_blocks: int) -> list[Phase]:
    rates = _of(structure.parts, ALL_RATE) | {HEAD: ALL_HEAD_RATE}
    return [Phase("all", 20, rates, "one-cycle")]


def _l2sp(structure: Structure, n_blocks: int) -> list[Phase]:
    return [Phase("all", 20, _of(structure.parts, L2SP_RATE) | {HEAD: L2SP_RATE})]


def _scratch(structure: Structure, n_blocks: int) -> list[Phase]:
    return [Phase("all", 30, _of(structure.parts, 0.05) | {HEAD: 0.05}, "one-cycle")]


def _teh(features: float) -> Callable[[Structure, int], list[Phase]]:
    def make(structure: Structure, n_blocks: int) -> list[Phase]:
        rates = _of(structure.parts, features) | {HEAD: 1e-1}
        return [Phase("all", TEH_EPOCHS, rates, "constant")]

    return make


def _teh_d(structure: Structure, n_blocks: int) -> list[Phase]:
    """As the slides' code: groups by stage, the stem's batch norm in none of them."""
    rates = _of(structure.stages[:3], 1e-4) | _of(structure.stages[3:], 1e-3)
    rates |= _classifier_part(structure, 1e-3) | {HEAD: 1e-1}
    stem_norm = {name for name in rates if name == "bn1"}
    rates = {name: rate for name, rate in rates.items() if name not in stem_norm}
    return [Phase("all", TEH_EPOCHS, rates, "constant", frozenset(stem_norm))]


def _no_five_stages(structure: Structure) -> str:
    n = len(structure.stages)
    return "" if n == TEH_STAGES else f"it names {TEH_STAGES} stages, conv1 to conv5, here are {n}"


def _cs231n(structure: Structure, n_blocks: int) -> list[Phase]:
    """The first stage keeps its edges and colours: the lecture's figure freezes what is lowest."""
    original = _original_rate(structure)
    middle = _of(structure.stages[1:], original * CS231N_MIDDLE)
    top = _classifier_part(structure, original * CS231N_TOP) | {HEAD: original * CS231N_TOP}
    return [Phase("all but the first", 20, middle | top)]


def _original_rate(structure: Structure) -> float:
    has_norms = any(unit.batch_norms for unit in structure.units)
    return ORIGINAL_RATE if has_norms else ORIGINAL_RATE_WITHOUT_NORMS


def _guide(all_rates: Callable[[Structure], dict[str, float]]) -> Callable[..., list[Phase]]:
    def make(structure: Structure, n_blocks: int) -> list[Phase]:
        return [
            Phase("new layer", GUIDE_HEAD_EPOCHS, {HEAD: 1e-3}, "constant"),
            Phase("all", GUIDE_ALL_EPOCHS, all_rates(structure), "constant"),
        ]

    return make


def _vgg_rates(structure: Structure) -> dict[str, float]:
    """Linear over all modules of the feature part, of which not all have parameters.

    A step is 1/44 of a VGG16's 44 modules: the last module is a step below the classifier.
    """
    by_module = np.linspace(GUIDE_FIRST, GUIDE_LAST, structure.n_features + 1)
    units = [unit for stage in structure.stages for unit in stage.units]
    rates = {unit.name: float(by_module[_index(unit)]) for unit in units}
    return rates | _classifier_part(structure, GUIDE_LAST) | {HEAD: GUIDE_LAST}


def _index(unit: Unit) -> int:
    return int(unit.name.split(".")[1])


def _no_vgg(structure: Structure) -> str:
    units = [unit for stage in structure.stages for unit in stage.units]
    is_vgg = structure.classifier is not None and all(
        unit.name.startswith("features.") and unit.name.split(".")[1].isdigit() for unit in units
    )
    return "" if is_vgg else "it goes by the modules of a VGG's feature part"


def _resnet_rates(structure: Structure) -> dict[str, float]:
    """A third per group from the new layer down; the stem's batch norm is a group."""
    by_part = {
        part: GUIDE_LAST / GUIDE_STEP**i for i, part in enumerate(reversed(RESNET_PARTS), start=1)
    }
    rates = {unit.name: by_part[unit.name.split(".")[0]] for unit in structure.units}
    return rates | {HEAD: GUIDE_LAST}


def _no_resnet(structure: Structure) -> str:
    found = {unit.name.split(".")[0] for unit in structure.units}
    return "" if found == set(RESNET_PARTS) else "it goes by a ResNet's conv1, bn1, layer1 to 4"


def _ulmfit(structure: Structure, n_blocks: int) -> list[Phase]:
    """One part more per epoch, from the end; rates fall by 2.6 per part."""
    rates = {HEAD: HEAD_RATE}
    phases = [Phase("new layer", 1, rates, "slanted-triangle")]
    for i, part in enumerate(reversed(structure.parts), start=1):
        rates = _of([part], HEAD_RATE / ULMFIT_STEP**i) | rates
        phases.append(Phase(f"from {part.name}", 1, rates, "slanted-triangle"))
    return [*phases[:-1], replace(phases[-1], name="all", n_epochs=6)]


def _no_classifier_part(structure: Structure) -> str:
    if structure.classifier is not None:
        return ""
    return "between its features and the codes is no layer, so it would be 'head'"


RULE_OF_THUMB = "rule of thumb"
SLIDES = "PyTorch slides on transfer learning"
GUIDE = "a PyTorch guide to transfer learning on Flowers-102"
CS231N = "CS231n 2016, lecture 7"
_teh_recipe = partial(
    Recipe,
    optimizer="sgd",
    weight_decay=5e-4,
    head_start="random",
    batch_norms="moving",
    patience=None,
)
_guide_recipe = partial(
    Recipe,
    optimizer="adam",
    weight_decay=0.0,
    head_start="random",
    batch_norms="moving",
    patience=None,
)
OTHER_NAMES = {  # of the same procedures in the literature
    "soft-sharing": "l2sp",
    "soft-parameter-sharing": "l2sp",
    "l2-sp": "l2sp",
    "hard-parameter-sharing": "hard-sharing",
    "gradual-unfreezing": "ulmfit",
}
FIRST_TASK_ONLY = (
    "both tasks train the network; the first task's last layer alone is kept and scored, the "
    "second's is left aside"
)
RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("head", RULE_OF_THUMB, "the new layer only", _head),
        Recipe(
            "classifier",
            RULE_OF_THUMB,
            "the whole classifier part",
            _classifier,
            misfit=_no_classifier_part,
        ),
        Recipe("last-blocks", "CS231n notes", "the last N blocks", _last_blocks),
        Recipe(
            "backwards",
            RULE_OF_THUMB,
            "unfreezes from the end until the carved split stops improving",
            _backwards,
            patience=None,
            stops_unfreezing=True,
        ),
        Recipe("full", RULE_OF_THUMB, "everything, from the linear probe", _full),
        Recipe(
            "scratch",
            RULE_OF_THUMB,
            "everything, from random weights",
            _scratch,
            optimizer="sgd",
            is_nesterov=True,
            weight_decay=5e-4,
            head_start="random",
            is_scratch=True,
            batch_norms="moving",
            patience=None,
        ),
        _teh_recipe("teh-A", SLIDES, "scratch, all at 1e-1", _teh(1e-1), is_scratch=True),
        _teh_recipe("teh-B", SLIDES, "pretrained, all at 1e-1", _teh(1e-1)),
        _teh_recipe("teh-C", SLIDES, "features 1e-4, new layer 1e-1", _teh(1e-4)),
        _teh_recipe(
            "teh-D",
            SLIDES,
            "conv1-3 1e-4, conv4-5 1e-3, new layer 1e-1",
            _teh_d,
            misfit=_no_five_stages,
        ),
        Recipe(
            "cs231n",
            CS231N,
            "a tenth of the original rate at the top, a hundredth in the middle",
            _cs231n,
            optimizer="sgd",
            weight_decay=1e-4,
        ),
        _guide_recipe(
            "guide-vgg",
            GUIDE,
            "16 epochs new layer, 8 all, rates linear over the feature part",
            _guide(_vgg_rates),
            misfit=_no_vgg,
        ),
        _guide_recipe(
            "guide-resnet",
            GUIDE,
            "16 epochs new layer, 8 all, a third per group",
            _guide(_resnet_rates),
            misfit=_no_resnet,
        ),
        Recipe(
            "ulmfit",
            "Howard and Ruder 2018",
            "one part more per epoch, discriminative rates, slanted triangles",
            _ulmfit,
            patience=None,
        ),
        Recipe(
            "l2sp",
            "Li et al. 2018",
            "everything, with a penalty for leaving the given weights",
            _l2sp,
            optimizer="sgd",
            weight_decay=0.0,
            l2sp=L2SP,
        ),
        Recipe(
            "hard-sharing",
            "multi-task learning",
            "one network for two tasks, trained together",
            _full,
            is_shared=True,
            note=FIRST_TASK_ONLY,
        ),
    )
}
