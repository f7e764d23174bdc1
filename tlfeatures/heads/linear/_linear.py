"""What linear heads share: C chosen along a path inside the training data, scores, arrays."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tlfeatures._columns import whole_groups
from tlfeatures._parameters import check_jobs, seed_of
from tlfeatures.errors import UsageError
from tlfeatures.heads._head import (
    FLOATS,
    checked_labels,
    common_facts,
    encode_labels,
    restore_common,
)
from tlfeatures.heads._saved import Facts, Tensors
from tlfeatures.heads._scoring import (
    Floats,
    Ints,
    LinearScorer,
    Model,
    one_score_a_class,
    unit_rows,
)
from tlfeatures.heads.linear._path import Fold, Path, make_folds, rotate, search


class LinearHead(ClassifierMixin, BaseEstimator, ABC):
    """What both linear heads share; each says its grid, its solver and its probabilities."""

    _kind: str
    _grid: tuple[float, ...]
    _fallback: float
    _needs_scores: bool
    _seed = 0  # each fit draws its own

    classes_: npt.NDArray[Any]
    n_features_in_: int

    def __init__(
        self,
        C: float | str = "auto",
        random_state: int | np.random.RandomState | None = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.C = C
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Self:
        """Choose C inside the training data, then fit on all of it.

        Parameters
        ----------
        X : array-like of shape (n_images, n_features), float32 or float64
            Codes.
        y : array-like of shape (n_images,), str or int
            Labels of at least two classes.
        groups : array-like of shape (n_images,), optional
            Pictures of one group stay in one fold; a picture without one (None, NaN) is a group
            of its own.

        Returns
        -------
        self
            The fitted head.

        Raises
        ------
        LabelsError
            If a label is missing, or there is one class only.
        UsageError
            If C is neither "auto" nor a number above 0, or random_state or n_jobs is impossible.
        ValueError
            If X or y is malformed (scikit-learn's checks).

        Warns
        -----
        UserWarning
            If a class has one picture (or group): neither C nor, for the SVM, the
            probabilities can then be estimated, and stated defaults are used.
        """
        # once a fit: folds and solvers, in threads, must not draw one after the other
        self._seed, grid = seed_of(self.random_state), self._check_grid()
        check_jobs(self.n_jobs)
        codes, labels = validate_data(self, X, checked_labels(y), dtype=FLOATS)
        self.classes_, encoded = encode_labels(labels, type(self).__name__)
        group_of = self._check_groups(groups, codes)
        Z, basis = rotate(unit_rows(codes))
        with threadpool_limits(1, user_api="blas"):  # thin products: threads cost ten times more
            self._choose(Z, encoded, grid, group_of)
            coef, self.intercept_ = self._fit_along(Z, encoded, [self.C_])[0]
        self.coef_ = coef if basis is None else coef @ basis.T
        return self

    def _check_groups(self, groups: npt.ArrayLike | None, X: Floats) -> npt.NDArray[Any] | None:
        if groups is None:
            return None
        column = whole_groups(groups)
        check_consistent_length(X, column)
        return column

    def _check_grid(self) -> tuple[float, ...]:
        C: Any = self.C
        if isinstance(C, str) and C == "auto":
            return self._grid
        if not isinstance(C, Real) or not 0 < float(C) < np.inf:
            raise UsageError(f'C is {C!r:.80}; give "auto" or a number above 0.')
        return (float(C),)

    def _choose(
        self,
        Z: Floats,
        y: Ints,
        grid: tuple[float, ...],
        groups: npt.NDArray[Any] | None,
    ) -> None:
        """Set C_, cv_results_, out_of_fold_ and what the probabilities need."""
        self.C_ = grid[0] if len(grid) == 1 else self._fallback
        self.cv_results_: dict[str, Floats] = {}
        self.out_of_fold_: npt.NDArray[Any] | None = None
        if len(grid) == 1 and not self._needs_scores:
            return
        folds = make_folds(y, groups, self._seed)
        if folds is None:
            self._warn_no_folds(y, groups, grid)
            self._learn_probabilities(None, y)
            return
        path = self._search(Z, y, grid, folds)
        self.C_ = float(path.grid[path.best])
        self.cv_results_ = {
            "C": path.grid,
            "fold_accuracy": path.accuracy,
            "mean_accuracy": path.accuracy.mean(axis=1),
            "std_accuracy": path.accuracy.std(axis=1),
        }
        self.out_of_fold_ = self.classes_[path.honest_predictions()]
        self._learn_probabilities(path.decisions[path.best], y)

    def _search(self, Z: Floats, y: Ints, grid: Sequence[float], folds: list[Fold]) -> Path:
        return search(self._fit_along, Z, y, grid, folds, self.n_jobs)

    def _warn_no_folds(self, y: Ints, groups: Any, grid: tuple[float, ...]) -> None:
        units = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
        pairs = np.unique(np.stack([y, units.ravel()], 1), axis=0)  # a class's pictures, or groups
        rare = self.classes_[np.bincount(pairs[:, 0]).argmin()]
        missing = [f"C (it stays at {self.C_:g})"] if len(grid) > 1 else []
        missing += ["probabilities (a fixed sigmoid is used)"] if self._needs_scores else []
        warnings.warn(
            f"class {rare!s} has one picture or group; without a second one nothing can be held "
            f"out to estimate {' and '.join(missing)}; add pictures of it or leave it out.",
            UserWarning,
            stacklevel=4,
        )

    def decision_function(self, X: npt.ArrayLike) -> Floats:
        """Score pictures.

        Parameters
        ----------
        X : array-like of shape (n_images, n_features), float32 or float64
            Codes.

        Returns
        -------
        ndarray of shape (n_images,) for two classes, else (n_images, n_classes), float64
            Higher is more likely; above 0 means `classes_[1]` for two classes.

        Raises
        ------
        ValueError
            If X has another number of columns than the head was fitted on.
        """
        scores = self._scores(X)
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Name the class with the highest score, of shape (n_images,).

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
        scores = one_score_a_class(self._scores(X))
        return np.asarray(self.classes_[scores.argmax(axis=1)])

    def predict_proba(self, X: npt.ArrayLike) -> Floats:
        """Estimate the probability of each class; its argmax is what predict names.

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
        codes = self._checked(X)
        return self._scorer().predict_proba(codes)

    def _scores(self, X: npt.ArrayLike) -> Floats:
        codes = self._checked(X)
        return self._scorer().scores(codes)

    def _checked(self, X: npt.ArrayLike) -> Floats:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=FLOATS, reset=False))

    def _scorer(self) -> LinearScorer:
        return LinearScorer(self.classes_, self.coef_, self.intercept_)

    def to_arrays(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Give what a saved model needs; `head_from_arrays` rebuilds the head from it.

        Returns
        -------
        tensors : dict of str to ndarray
            `coef` of shape (n_scores, n_features) and `intercept` of shape (n_scores,), float64.
        facts : dict
            JSON values: kind, classes, params, n_features_in, C, and the SVM's sigmoid.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the head is not fitted.
        """
        check_is_fitted(self)
        tensors = {"coef": np.array(self.coef_), "intercept": np.array(self.intercept_)}
        return tensors, {**common_facts(self), "C": self.C_, **self._more_facts()}

    @classmethod
    def _from_arrays(cls, tensors: Tensors, facts: Facts) -> Self:
        head = cls(**facts["params"])
        restore_common(head, facts)
        head.C_ = float(facts["C"])
        head.coef_, head.intercept_ = tensors["coef"], tensors["intercept"]
        head._restore(facts)
        return head

    @abstractmethod
    def _fit_along(self, Z: Floats, y: Ints, grid: Sequence[float]) -> list[Model]:
        """Fit one model per C, coefficients in terms of Z."""

    def _learn_probabilities(self, scores: Floats | None, y: Ints) -> None:
        """Learn from out-of-fold scores what probabilities need: nothing by default."""

    def _more_facts(self) -> dict[str, Any]:
        return {}

    def _restore(self, facts: Facts) -> None:
        """Take up what `_more_facts` gave: nothing by default."""
