"""Classifiers on codes: linear SVM, logistic regression, nearest neighbours; scikit-learn outside.

Promises: rows L2-normalised, C chosen inside the training data, predict = argmax of probability.
Must not know: torch, pictures, files, how the codes came about.
"""

from tlfeatures.heads._choose import SIMPLEST_FIRST, HeadScore, choose_head
from tlfeatures.heads._knn import KNNHead
from tlfeatures.heads._linear import LogisticHead, SVMHead
from tlfeatures.heads._registry import HEADS, Head, head_from_arrays, make_head

__all__ = [
    "HEADS",
    "SIMPLEST_FIRST",
    "Head",
    "HeadScore",
    "KNNHead",
    "LogisticHead",
    "SVMHead",
    "choose_head",
    "head_from_arrays",
    "make_head",
]
