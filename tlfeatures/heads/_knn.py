"""Nearest-neighbour head on cosine distance."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from tlfeatures.heads._head import (
    FLOATS,
    checked_labels,
    common_facts,
    encode_labels,
    restore_common,
)
from tlfeatures.heads._saved import Facts, Tensors
from tlfeatures.heads._scoring import Floats, KNNScorer
from tlfeatures.neighbors import check_n_neighbors


class KNNHead(ClassifierMixin, BaseEstimator):
    """Vote of the nearest training pictures by cosine distance, each weighted by 1 / distance.

    Where training pictures lie at distance 0 (exact copies), they alone vote, one vote each.

    Parameters
    ----------
    n_neighbors : int, default=5
        How many vote; all where there are fewer training pictures.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    n_features_in_ : int
        Columns of the codes.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.eye(2).repeat(4, axis=0) + 0.1
    >>> KNNHead(3).fit(X, ["ant"] * 4 + ["bee"] * 4).predict([[0.2, 3.0]]).tolist()
    ['bee']
    """

    _kind = "knn"

    classes_: npt.NDArray[Any]
    n_features_in_: int

    def __init__(self, n_neighbors: int = 5) -> None:
        self.n_neighbors = n_neighbors

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Self:
        """Keep the training codes.

        Parameters
        ----------
        X : array-like of shape (n_images, n_features), float32 or float64
            Codes.
        y : array-like of shape (n_images,), str or int
            Labels of at least two classes.
        groups : array-like, optional
            Not used: nothing is chosen; taken so that all heads fit alike.

        Returns
        -------
        self
            The fitted head.

        Raises
        ------
        LabelsError
            If a label is missing, or there is one class only.
        UsageError
            If n_neighbors is no whole number of at least 1.
        ValueError
            If X or y is malformed (scikit-learn's checks).
        """
        check_n_neighbors(self.n_neighbors)
        codes, labels = validate_data(self, X, checked_labels(y), dtype=FLOATS)
        self.classes_, self._y = encode_labels(labels, type(self).__name__)
        self._X = np.array(codes)
        return self

    def predict_proba(self, X: npt.ArrayLike) -> Floats:
        """Share the votes among the classes.

        Parameters
        ----------
        X : array-like of shape (n_images, n_features), float32 or float64
            Codes.

        Returns
        -------
        ndarray of shape (n_images, n_classes), float64
            Rows sum to 1; columns in the order of `classes_`.

        Raises
        ------
        ValueError
            If X has another number of columns than the head was fitted on.
        """
        check_is_fitted(self)
        codes = validate_data(self, X, dtype=FLOATS, reset=False)
        scorer = KNNScorer(self.classes_, self._X, self._y, self.n_neighbors)
        return scorer.predict_proba(codes)

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Name the class with most of the votes; of equal ones the first in `classes_`.

        Parameters
        ----------
        X : array-like of shape (n_images, n_features), float32 or float64
            Codes.

        Returns
        -------
        ndarray of shape (n_images,)
            Labels as given to fit.

        Raises
        ------
        ValueError
            If X has another number of columns than the head was fitted on.
        """
        winners = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[winners])

    def to_arrays(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Give what a saved model needs; `head_from_arrays` rebuilds the head from it.

        Returns
        -------
        tensors : dict of str to ndarray
            `codes` of shape (n_images, n_features) as fitted, `y` of shape (n_images,), int64.
        facts : dict
            JSON values: kind, classes, params, n_features_in.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the head is not fitted.
        """
        check_is_fitted(self)
        return {"codes": np.array(self._X), "y": self._y.astype(np.int64)}, common_facts(self)

    @classmethod
    def _from_arrays(cls, tensors: Tensors, facts: Facts) -> Self:
        head = cls(**facts["params"])
        restore_common(head, facts)
        head._X, head._y = tensors["codes"], tensors["y"].astype(np.intp)
        return head
