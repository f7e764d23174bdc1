"""The linear support vector machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sklearn.svm import LinearSVC

from tlfeatures.heads._saved import Facts
from tlfeatures.heads._scoring import Floats, Ints, LinearScorer, Model, saved_sigmoid
from tlfeatures.heads.linear._linear import LinearHead
from tlfeatures.heads.linear._sigmoid import FIXED_SIGMOID, fit_sigmoid


class SVMHead(LinearHead):
    """Linear support vector machine, squared hinge, one class against the rest.

    Rows are L2-normalised; C is chosen by stratified cross-validation (with `groups`, by whole
    groups) in the training data; probabilities come from one sigmoid over all out-of-fold scores
    (Platt 1999), normalised over the classes.

    Parameters
    ----------
    C : "auto" or float, default="auto"
        Inverse strength of the regularisation; a number skips the search.
    random_state : int, RandomState or None, default=0
        Of the folds and the solver.
    n_jobs : int or None, default=None
        Folds fitted at a time; None means 1.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    C_ : float
        The C in use.
    coef_ : ndarray of shape (n_scores, n_features), float64
        Weights on L2-normalised codes; n_scores is 1 for two classes.
    intercept_ : ndarray of shape (n_scores,), float64
        Offsets.
    sigmoid_ : tuple of (float, float)
        Slope and offset; (2, 0) where no score could be held out.
    cv_results_ : dict of str to ndarray
        C, fold_accuracy of shape (n_C, n_folds), mean_accuracy, std_accuracy; empty where
        nothing was held out.
    out_of_fold_ : ndarray of shape (n_images,) or None
        Each training picture's label as predicted without its fold, C chosen by the other folds.
    n_features_in_ : int
        Columns of the codes.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.eye(2).repeat(4, axis=0) + 0.1
    >>> SVMHead().fit(X, ["ant"] * 4 + ["bee"] * 4).predict([[0.2, 3.0]]).tolist()
    ['bee']
    """

    _kind = "svm"
    _grid = (0.01, 0.1, 1.0, 10.0, 100.0)
    _fallback = 1.0
    _needs_scores = True

    sigmoid_: tuple[float, float]

    def _fit_along(self, Z: Floats, y: Ints, grid: Sequence[float]) -> list[Model]:
        models = []
        for C in grid:
            # coordinates of the dual are fast for small C, crawl for large; Newton steps never do
            svm = LinearSVC(C=C, dual=C <= 1, max_iter=5000, random_state=self._seed)
            svm.fit(Z, y)
            models.append((svm.coef_, svm.intercept_))
        return models

    def _learn_probabilities(self, scores: Floats | None, y: Ints) -> None:
        self.sigmoid_ = FIXED_SIGMOID if scores is None else fit_sigmoid(scores, y)

    def _scorer(self) -> LinearScorer:
        return replace(super()._scorer(), sigmoid=self.sigmoid_)

    def _more_facts(self) -> dict[str, Any]:
        return {"sigmoid": list(self.sigmoid_)}

    def _restore(self, facts: Facts) -> None:
        self.sigmoid_ = saved_sigmoid(facts)
