"""Pictures -> labels: `TransferClassifier`, and `evaluate_baseline`, the whole honest protocol.

Promises: nothing is chosen on what is reported; a saved model refuses codes of another network.
Must not know: how results are shown, command lines, pages.
"""

from tlfeatures.classification._baseline import (
    Baseline,
    Control,
    HeadResult,
    ModelScore,
    evaluate_baseline,
    evaluate_model,
)
from tlfeatures.classification._classifier import TransferClassifier
from tlfeatures.classification._predictions import Prediction, Predictions, predict_pictures

__all__ = [
    "Baseline",
    "Control",
    "HeadResult",
    "ModelScore",
    "Prediction",
    "Predictions",
    "TransferClassifier",
    "evaluate_baseline",
    "evaluate_model",
    "predict_pictures",
]
