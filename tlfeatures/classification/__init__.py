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

__all__ = [
    "Baseline",
    "Control",
    "HeadResult",
    "ModelScore",
    "TransferClassifier",
    "evaluate_baseline",
    "evaluate_model",
]
