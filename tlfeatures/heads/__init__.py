"""Classifiers on codes: linear SVM, logistic regression, nearest neighbours; scikit-learn outside.

Promises: rows L2-normalised, C chosen inside the training data, predict = argmax of probability;
`scorer_from_arrays` predicts without scikit-learn.
Must not know: torch, pictures, files, how the codes came about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures.heads._saved import check_saved_head
from tlfeatures.heads._scoring import KNNScorer, LinearScorer, Scorer, scorer_from_arrays

if TYPE_CHECKING:
    from tlfeatures.heads._choose import SIMPLEST_FIRST, HeadScore, choose_head
    from tlfeatures.heads._knn import KNNHead
    from tlfeatures.heads._registry import HEADS, Head, head_from_arrays, head_name, make_head
    from tlfeatures.heads.linear._logistic import LogisticHead
    from tlfeatures.heads.linear._svm import SVMHead
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {
            "HEADS": "_registry",
            "SIMPLEST_FIRST": "_choose",
            "Head": "_registry",
            "HeadScore": "_choose",
            "KNNHead": "_knn",
            "LogisticHead": "linear._logistic",
            "SVMHead": "linear._svm",
            "choose_head": "_choose",
            "head_from_arrays": "_registry",
            "head_name": "_registry",
            "make_head": "_registry",
        },
    )


__all__ = [
    "HEADS",
    "SIMPLEST_FIRST",
    "Head",
    "HeadScore",
    "KNNHead",
    "KNNScorer",
    "LinearScorer",
    "LogisticHead",
    "SVMHead",
    "Scorer",
    "check_saved_head",
    "choose_head",
    "head_from_arrays",
    "head_name",
    "make_head",
    "scorer_from_arrays",
]
