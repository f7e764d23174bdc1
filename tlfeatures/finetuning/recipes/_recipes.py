"""Recipes: each with its source, its optimiser and its phases. No torch in here.

docs/sources.md says more of the sources, and what differs here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from tlfeatures.errors import UsageError
from tlfeatures.finetuning.recipes import _phases
from tlfeatures.finetuning.recipes._parts import Structure
from tlfeatures.finetuning.recipes._phases import Phase

L2SP = (0.1, 0.01)  # alpha, beta of Li, Grandvalet & Davoine 2018, the middle of their grid


@dataclass(frozen=True)
class Recipe:
    """A way to fine-tune.

    Attributes
    ----------
    name, source, words : str
        Its name, the source it is from, what it does in a few words.
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
        Recipe("head", RULE_OF_THUMB, "the new layer only", _phases.head),
        Recipe(
            "classifier",
            RULE_OF_THUMB,
            "the whole classifier part",
            _phases.classifier,
            misfit=_phases.no_classifier_part,
        ),
        Recipe("last-blocks", "CS231n notes", "the last N blocks", _phases.last_blocks),
        Recipe(
            "backwards",
            RULE_OF_THUMB,
            "unfreezes from the end until the carved split stops improving",
            _phases.backwards,
            patience=None,
            stops_unfreezing=True,
        ),
        Recipe(
            "full",
            RULE_OF_THUMB,
            "everything, from the linear probe",
            _phases.full,
        ),
        Recipe(
            "scratch",
            RULE_OF_THUMB,
            "everything, from random weights",
            _phases.scratch,
            optimizer="sgd",
            is_nesterov=True,
            weight_decay=5e-4,
            head_start="random",
            is_scratch=True,
            batch_norms="moving",
            patience=None,
        ),
        _teh_recipe("teh-A", SLIDES, "scratch, all at 1e-1", _phases.teh(1e-1), is_scratch=True),
        _teh_recipe("teh-B", SLIDES, "pretrained, all at 1e-1", _phases.teh(1e-1)),
        _teh_recipe("teh-C", SLIDES, "features 1e-4, new layer 1e-1", _phases.teh(1e-4)),
        _teh_recipe(
            "teh-D",
            SLIDES,
            "conv1-3 1e-4, conv4-5 1e-3, new layer 1e-1",
            _phases.teh_d,
            misfit=_phases.no_five_stages,
        ),
        Recipe(
            "cs231n",
            CS231N,
            "a tenth of the original rate at the top, a hundredth in the middle",
            _phases.cs231n,
            optimizer="sgd",
            weight_decay=1e-4,
        ),
        _guide_recipe(
            "guide-vgg",
            GUIDE,
            "16 epochs new layer, 8 all, rates linear over the feature part",
            _phases.guide(_phases.vgg_rates),
            misfit=_phases.no_vgg,
        ),
        _guide_recipe(
            "guide-resnet",
            GUIDE,
            "16 epochs new layer, 8 all, a third per group",
            _phases.guide(_phases.resnet_rates),
            misfit=_phases.no_resnet,
        ),
        Recipe(
            "ulmfit",
            "Howard and Ruder 2018",
            "one part more per epoch, discriminative rates, slanted triangles",
            _phases.ulmfit,
            patience=None,
        ),
        Recipe(
            "l2sp",
            "Li et al. 2018",
            "everything, with a penalty for leaving the given weights",
            _phases.l2sp,
            optimizer="sgd",
            weight_decay=0.0,
            l2sp=L2SP,
        ),
        Recipe(
            "hard-sharing",
            "multi-task learning",
            "one network for two tasks, trained together",
            _phases.full,
            is_shared=True,
            note=FIRST_TASK_ONLY,
        ),
    )
}
