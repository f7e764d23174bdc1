"""Honest numbers from labels and predictions: splits, scores with intervals, controls.

Promises: every figure with its n and 95 % interval, the same answer every time, nothing dropped.
Must not know: torch, pictures, files, which head or network made the predictions.
"""

from tlfeatures.evaluation._controls import majority, shuffled_labels
from tlfeatures.evaluation._scores import (
    PairedDifference,
    Score,
    mcnemar_p,
    mean_recall,
    mean_recall_interval,
    paired_difference,
    recall_bounds,
    score,
    wilson_interval,
)
from tlfeatures.evaluation._split import Split, draw, make_split

__all__ = [
    "PairedDifference",
    "Score",
    "Split",
    "draw",
    "majority",
    "make_split",
    "mcnemar_p",
    "mean_recall",
    "mean_recall_interval",
    "paired_difference",
    "recall_bounds",
    "score",
    "shuffled_labels",
    "wilson_interval",
]
