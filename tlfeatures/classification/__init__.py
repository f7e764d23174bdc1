"""Pictures -> labels: `TransferClassifier`, and `evaluate_baseline`, the whole honest protocol.

Promises: nothing is chosen on what is reported; a saved model refuses codes of another network;
`SavedModel` predicts without scikit-learn.
Must not know: how results are shown, command lines, pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures.classification._predictions import (
    Prediction,
    Predictions,
    predict_pictures,
    predict_saved,
)
from tlfeatures.classification._saved import SavedModel

if TYPE_CHECKING:
    from tlfeatures.classification._baseline import (
        Baseline,
        Control,
        HeadResult,
        ModelScore,
        check_labels,
        evaluate_baseline,
        evaluate_model,
    )
    from tlfeatures.classification._classifier import TransferClassifier
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {
            "Baseline": "_baseline",
            "Control": "_baseline",
            "HeadResult": "_baseline",
            "ModelScore": "_baseline",
            "TransferClassifier": "_classifier",
            "check_labels": "_baseline",
            "evaluate_baseline": "_baseline",
            "evaluate_model": "_baseline",
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
    "TransferClassifier",
    "check_labels",
    "evaluate_baseline",
    "evaluate_model",
    "predict_pictures",
    "predict_saved",
]
