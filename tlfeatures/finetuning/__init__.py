"""The last stage: a network trained further where codes are not enough.

Promises: starts where the baseline ended, chooses on pictures carved out of the training data,
keeps the baseline where fine-tuning does not win. Must not know: pages, the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tlfeatures.finetuning._augment import (
    DEFAULT_AUGMENTATION,
    PRESETS,
    Augmentation,
    make_transform,
    parse_augmentation,
)
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

if TYPE_CHECKING:
    from tlfeatures.finetuning._samples import AugmentationSheet, draw_augmentation

__all__ = [
    "BASELINE",
    "DEFAULT_AUGMENTATION",
    "FINE_TUNED",
    "PRESETS",
    "Augmentation",
    "AugmentationSheet",
    "EpochRow",
    "FineTuning",
    "GroupPlan",
    "HeldOut",
    "PhasePlan",
    "RateSearch",
    "TrainingPlan",
    "draw_augmentation",
    "make_transform",
    "parse_augmentation",
]

_TORCH_SIDE = {"AugmentationSheet": "_samples", "draw_augmentation": "_samples"}


def __getattr__(name: str) -> Any:
    if name not in _TORCH_SIDE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_TORCH_SIDE[name]}"), name)
