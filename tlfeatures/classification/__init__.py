"""Pictures -> labels: `TransferClassifier`, and `evaluate_baseline`, the whole honest protocol.

Promises: nothing is chosen on what is reported; a saved model refuses codes of another network;
`SavedModel` predicts without scikit-learn.
Must not know: how results are shown, command lines, pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures.classification._predictions import Prediction, Predictions, predict_saved
from tlfeatures.classification._saved import SavedModel
from tlfeatures.classification._trained import TrainedOn

if TYPE_CHECKING:
    from tlfeatures.classification._baseline import evaluate_baseline
    from tlfeatures.classification._classifier import TransferClassifier, extract_good, load_model
    from tlfeatures.classification._result import Baseline, Control, HeadResult
    from tlfeatures.classification._score import ModelScore, evaluate_model
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {
            "Baseline": "_result",
            "Control": "_result",
            "HeadResult": "_result",
            "ModelScore": "_score",
            "TransferClassifier": "_classifier",
            "evaluate_baseline": "_baseline",
            "evaluate_model": "_score",
            "extract_good": "_classifier",
            "load_model": "_classifier",
        },
    )


__all__ = [
    "Baseline",
    "Control",
    "HeadResult",
    "ModelScore",
    "Prediction",
    "Predictions",
    "SavedModel",
    "TrainedOn",
    "TransferClassifier",
    "evaluate_baseline",
    "evaluate_model",
    "extract_good",
    "load_model",
    "predict_saved",
]
