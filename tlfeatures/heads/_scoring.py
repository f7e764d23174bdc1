"""From codes to probabilities by fitted numbers: numpy alone, no scikit-learn to wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tlfeatures.errors import ModelFileError
from tlfeatures.heads._saved import Facts, Tensors, check_saved_head
from tlfeatures.neighbors import kneighbors

Floats = npt.NDArray[Any]
Ints = npt.NDArray[np.intp]
Model = tuple[Floats, Floats]  # coef of shape (n_scores, d), intercept of shape (n_scores,)
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class LinearScorer:
    """A fitted linear head.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
    coef : ndarray of shape (n_scores, n_features), float64
        On L2-normalised codes; n_scores is 1 for two classes.
    intercept : ndarray of shape (n_scores,), float64
    sigmoid : tuple of (float, float), optional
        Slope and offset of the probabilities of one class against the rest; None: a softmax.
    """

    classes: npt.NDArray[Any]
    coef: Floats
    intercept: Floats
    sigmoid: tuple[float, float] | None = None

    def scores(self, X: Floats) -> Floats:
        """Of codes (n, n_features), shape (n, n_scores), float64."""
        return decide(unit_rows(X), (self.coef, self.intercept))

    def predict_proba(self, X: Floats) -> Floats:
        """Of codes (n, n_features), shape (n, n_classes), float64; rows sum to 1."""
        scores = self.scores(X)
        if self.sigmoid is not None:
            return sigmoid_probabilities(one_score_a_class(scores), *self.sigmoid)
        if scores.shape[1] == 1:  # two classes: the sigmoid of f is the softmax of (0, f)
            scores = np.hstack([np.zeros_like(scores), scores])
        return softmax_probabilities(scores)


@dataclass(frozen=True, eq=False)
class KNNScorer:
    """Training codes that vote.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
    codes : ndarray of shape (n_images, n_features), float32 or float64
    y : ndarray of shape (n_images,), int
        Class numbers.
    n_neighbors : int
    """

    classes: npt.NDArray[Any]
    codes: Floats
    y: Ints
    n_neighbors: int

    def predict_proba(self, X: Floats) -> Floats:
        """Of codes (n, n_features), shape (n, n_classes), float64; rows sum to 1."""
        distances, neighbours = kneighbors(X, self.codes, self.n_neighbors)
        votes = np.zeros((len(X), len(self.classes)))
        rows = np.arange(len(X))[:, None]
        np.add.at(votes, (rows, self.y[neighbours]), _weights(distances))
        return np.asarray(votes / votes.sum(axis=1, keepdims=True))


Scorer = LinearScorer | KNNScorer


def scorer_from_arrays(tensors: Tensors, facts: Facts) -> Scorer:
    """What a saved head predicts by: `head_from_arrays` without scikit-learn.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        As given by a head's `to_arrays`; further entries are not looked at.
    facts : mapping
        As given by `to_arrays`, also after a trip through JSON.

    Raises
    ------
    ModelFileError
        If something is missing or the kind is unknown.
    """
    known: dict[str, Callable[[Tensors, Facts], Scorer]] = {
        "svm": _linear_scorer,
        "logistic": _linear_scorer,
        "knn": _knn_scorer,
    }
    return restore(known, tensors, facts)


def restore(
    known: Mapping[str, Callable[[Tensors, Facts], T]], tensors: Tensors, facts: Facts
) -> T:
    """Build what the facts' kind names, if the head is whole.

    Raises
    ------
    ModelFileError
        If something is missing or is not what such a head has, or the kind is unknown.
    """
    kind = facts.get("kind")
    if not isinstance(kind, str) or kind not in known:
        raise ModelFileError(
            f"the model holds a head of kind {kind!r:.40}, this version knows "
            f"{', '.join(known)}; open it with the version that wrote it."
        )
    try:
        check_saved_head(tensors, facts)
        return known[kind](tensors, facts)
    except KeyError as error:
        raise ModelFileError(
            f"the model's {kind} head is incomplete: {error} is missing; train and save it again."
        ) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(
            f"the model's {kind} head cannot be used ({error}); train and save it again."
        ) from error


def saved_classes(facts: Facts) -> npt.NDArray[Any]:
    """The labels of shape (n_classes,), sorted: text, numbers or objects as they were fitted."""
    return np.asarray(facts["classes"], dtype=object if facts["classes_kind"] == "O" else None)


def saved_sigmoid(facts: Facts) -> tuple[float, float]:
    """Slope and offset of a saved support vector machine."""
    slope, offset = facts["sigmoid"]
    return float(slope), float(offset)


def _linear_scorer(tensors: Tensors, facts: Facts) -> LinearScorer:
    sigmoid = saved_sigmoid(facts) if facts["kind"] == "svm" else None
    return LinearScorer(saved_classes(facts), tensors["coef"], tensors["intercept"], sigmoid)


def _knn_scorer(tensors: Tensors, facts: Facts) -> KNNScorer:
    numbers = tensors["y"].astype(np.intp)
    return KNNScorer(
        saved_classes(facts), tensors["codes"], numbers, facts["params"]["n_neighbors"]
    )


def unit_rows(X: Floats) -> Floats:
    """Rows of length 1 (rows of zeros stay), float64."""
    X = np.asarray(X, dtype=np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", X, X))
    return np.asarray(X / np.where(lengths > 0, lengths, 1.0)[:, None])


def decide(Z: Floats, model: Model) -> Floats:
    """Scores of shape (n, n_scores); n_scores is 1 for two classes."""
    coef, intercept = model
    return np.asarray(Z @ coef.T + intercept)


def one_score_a_class(scores: Floats) -> Floats:
    """Scores of shape (n, n_classes): for two classes the two columns -f and f."""
    return np.hstack([-scores, scores]) if scores.shape[1] == 1 else scores


def sigmoid_probabilities(scores: Floats, slope: float, offset: float) -> Floats:
    """Probabilities of shape (n, n_classes) that sum to 1, in the order of the scores."""
    logs = -np.logaddexp(0, -(slope * scores + offset))
    return _normalised(logs, scores)


def softmax_probabilities(scores: Floats) -> Floats:
    """Multinomial probabilities of shape (n, n_classes), in the order of the scores."""
    return _normalised(np.asarray(scores, dtype=float), scores)


def _normalised(logs: Floats, scores: Floats) -> Floats:
    probabilities = np.exp(logs - logs.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    # where rounding made the largest equal, the largest score stays ahead by one step
    rows, winner = np.arange(len(scores)), scores.argmax(axis=1)
    ahead = np.nextafter(probabilities.max(axis=1), 2.0)
    tied = probabilities.argmax(axis=1) != winner
    probabilities[rows[tied], winner[tied]] = ahead[tied]
    return np.asarray(probabilities)


def _weights(distances: Floats) -> Floats:
    """1 / distance, row by row scaled to at most 1; zero distances take the whole vote."""
    nearest = distances[:, :1].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(nearest > 0, nearest / distances, distances == 0)
