"""The last stage: a network trained further where codes are not enough.

Promises: starts where the baseline ended, chooses on pictures carved out of the training data,
keeps the baseline where fine-tuning does not win. Must not know: pages, the command line. Importing
the room imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tlfeatures._later import load_later
from tlfeatures.errors import UsageError
from tlfeatures.finetuning._result import (
    BASELINE,
    FINE_TUNED,
    EpochRow,
    FineTuning,
    GroupPlan,
    HeldOut,
    PhasePlan,
    RateSearch,
    TrainingPlan,
)
from tlfeatures.finetuning.augmentation._augment import (
    DEFAULT_AUGMENTATION,
    PRESETS,
    Augmentation,
    parse_augmentation,
)
from tlfeatures.finetuning.recipes._recipes import RECIPES, Recipe, make_recipe

if TYPE_CHECKING:
    from tlfeatures.finetuning._ahead import plan_training
    from tlfeatures.finetuning._classifier import FineTunedClassifier
    from tlfeatures.finetuning._evaluate import evaluate_finetuning
    from tlfeatures.finetuning.augmentation._distort import make_transform
    from tlfeatures.finetuning.augmentation._samples import AugmentationSheet, draw_augmentation

__all__ = [
    "BASELINE",
    "DEFAULT_AUGMENTATION",
    "FINE_TUNED",
    "PRESETS",
    "RECIPES",
    "Augmentation",
    "AugmentationSheet",
    "EpochRow",
    "FineTunedClassifier",
    "FineTuning",
    "GroupPlan",
    "HeldOut",
    "PhasePlan",
    "RateSearch",
    "Recipe",
    "TrainingPlan",
    "draw_augmentation",
    "evaluate_finetuning",
    "make_recipe",
    "make_transform",
    "parse_augmentation",
    "plan_training",
]

_torch_side, __dir__ = load_later(
    __name__,
    {
        "AugmentationSheet": "augmentation._samples",
        "FineTunedClassifier": "_classifier",
        "draw_augmentation": "augmentation._samples",
        "make_transform": "augmentation._distort",
        "evaluate_finetuning": "_evaluate",
        "plan_training": "_ahead",
    },
)


def __getattr__(name: str) -> Any:
    try:
        return _torch_side(name)
    except ModuleNotFoundError as error:
        if error.name != "skorch":
            raise
        raise UsageError(
            "fine-tuning needs skorch; install it with: pip install 'tlfeatures[finetune]'."
        ) from error
