"""Multinomial logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.linear_model import LogisticRegression

from tlfeatures.heads._scoring import Floats, Ints, Model
from tlfeatures.heads.linear._linear import LinearHead


class LogisticHead(LinearHead):
    """Multinomial logistic regression, L2-regularised.

    Rows are L2-normalised, columns centred on the training data's mean (which the intercept takes
    up); C is chosen as for `SVMHead`.

    Parameters
    ----------
    C : "auto" or float, default="auto"
        Inverse strength of the regularisation; a number skips the search.
    random_state : int, RandomState or None, default=0
        Of the folds.
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
    cv_results_ : dict of str to ndarray
        C, fold_accuracy of shape (n_C, n_folds), mean_accuracy, std_accuracy; empty where
        nothing was held out.
    out_of_fold_ : ndarray of shape (n_images,) or None
        Each training picture's label as predicted without its fold, C chosen by the other folds;
        None where C was given.
    n_features_in_ : int
        Columns of the codes.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.eye(2).repeat(4, axis=0) + 0.1
    >>> LogisticHead(C=10).fit(X, ["ant"] * 4 + ["bee"] * 4).predict([[0.2, 3.0]]).tolist()
    ['bee']
    """

    _kind = "logistic"
    _grid = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
    _fallback = 10.0
    _needs_scores = False

    def _fit_along(self, Z: Floats, y: Ints, grid: Sequence[float]) -> list[Model]:
        mean = Z.mean(axis=0)
        centred = Z - mean
        model = LogisticRegression(max_iter=10_000, tol=1e-6, warm_start=True)
        models = []
        for C in grid:
            model.set_params(C=C).fit(centred, y)
            models.append((model.coef_.copy(), model.intercept_ - model.coef_ @ mean))
        return models
