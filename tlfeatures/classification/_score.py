"""A saved model on labelled pictures, those that it was trained on told apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlfeatures.classification._trained import TrainedOn
from tlfeatures.errors import few
from tlfeatures.evaluation import score
from tlfeatures.extraction import Extraction
from tlfeatures.pictures import check_readable, labelled_pictures
from tlfeatures.store import CodeSpec

Interval = tuple[float, float]


@dataclass(frozen=True)
class ModelScore:
    """How a saved model does on labelled pictures; fractions in 0..1.

    Attributes
    ----------
    accuracy, ci95, mean_recall, mean_recall_ci95 : float, or (float, float), or None
        On pictures that the model was not trained on; None where there are none.
    C : float or None
        Of the head; None where it has none.
    n_test : int
        Pictures that these figures are of.
    n_copies : int or None
        Further pictures, of the content of one that the model was trained on; None where the
        model keeps no digests of these, so that the figures may count some.
    accuracy_all, ci95_all : float, (float, float)
        On all n_test + n_copies pictures: no test of the model, where there are copies.
    bad : list of (path, reason)
    warnings : list of str
    copies : list of str
        The n_copies pictures.
    head, backbone, key : str
        The classifier's kind, the network, and the key of the codes.
    """

    accuracy: float | None
    ci95: Interval | None
    mean_recall: float | None
    mean_recall_ci95: Interval | None
    C: float | None
    n_test: int
    n_copies: int | None
    accuracy_all: float
    ci95_all: Interval
    bad: list[tuple[str, str]]
    warnings: list[str]
    copies: list[str] = field(default_factory=list)
    head: str = ""
    backbone: str = ""
    key: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "bad": [{"path": p, "reason": r} for p, r in self.bad]}


def evaluate_model(model: Any, pictures: Any) -> ModelScore:
    """Score a fitted model on labelled pictures; bad ones are left out and listed.

    Pictures of the content of one that the model was trained on, whatever they are called, say
    nothing about others: they are counted, named, and left out of the accuracy.

    Parameters
    ----------
    model : TransferClassifier or FineTunedClassifier
        Fitted, or loaded.
    pictures : Pictures, folder, or list of pictures
        With labels.

    Raises
    ------
    LabelsError
        If the pictures have no labels.
    PicturesError
        If none can be read.
    """
    model, pictures = getattr(model, "model_", model), labelled_pictures(pictures)
    extraction = model.codes_.extract(pictures)
    check_readable(pictures, extraction.pictures, extraction.bad, sides=False)
    predicted = model.head_.predict(np.asarray(extraction.codes))
    C = getattr(model.head_, "C_", None)
    scored = Scored(model.classes_, model.trained_on_, model.head_name_, C, model.spec_)
    return score_answers(extraction, predicted, scored)


class Scored(NamedTuple):
    """What of a model is needed to score its answers."""

    classes: NDArray[Any]
    trained_on: TrainedOn | None
    head: str
    C: float | None
    spec: CodeSpec


def score_answers(extraction: Extraction, predicted: NDArray[Any], model: Scored) -> ModelScore:
    """Score answers that are there.

    Parameters
    ----------
    extraction : Extraction
        Of labelled pictures.
    predicted : ndarray of shape (n_coded,)
    model : Scored
    """
    kept = extraction.pictures
    labels, trained_on = np.asarray(kept.labels), model.trained_on
    is_copy = (
        np.zeros(len(kept), bool) if trained_on is None else trained_on.has(extraction.digests)
    )
    of_all = score(labels, predicted)
    new = ~is_copy
    of_new = score(labels[new], predicted[new]) if new.any() else None
    copies = [kept.paths[i] for i in np.flatnonzero(is_copy)]
    return ModelScore(
        accuracy=None if of_new is None else of_new.accuracy,
        ci95=None if of_new is None else of_new.ci95,
        mean_recall=None if of_new is None else of_new.mean_recall,
        mean_recall_ci95=None if of_new is None else of_new.mean_recall_ci95,
        C=None if model.C is None else float(model.C),
        n_test=int(new.sum()),
        n_copies=None if trained_on is None else len(copies),
        accuracy_all=of_all.accuracy,
        ci95_all=of_all.ci95,
        bad=extraction.bad,
        warnings=[*_unknown(labels, model.classes), *_said(trained_on, copies, len(kept))],
        copies=copies,
        head=model.head,
        backbone=model.spec.backbone,
        key=model.spec.key,
    )


def _unknown(labels: NDArray[Any], classes: NDArray[Any]) -> list[str]:
    unknown = sorted(map(str, set(labels.tolist()) - set(classes.tolist())))
    words = f"the model knows no class {few(unknown)}; those pictures count as wrong."
    return [words] if unknown else []


def _said(trained_on: Any, copies: list[str], n: int) -> list[str]:
    """What is to be known of pictures that the model was trained on."""
    if trained_on is None:
        return [
            "the model keeps no digests of its training pictures, as those that earlier versions "
            "saved: whether some of these are among them is not known."
        ]
    if len(copies) == n:
        return [
            f"there is no accuracy: the model was trained on {_all_of(n)} ({few(copies)}); give "
            "pictures that it has not seen."
        ]
    if copies:
        return [
            f"the model was trained on {len(copies)} of the {n} pictures ({few(copies)}); the "
            "accuracy leaves them out."
        ]
    return []


def _all_of(n: int) -> str:
    return "this picture" if n == 1 else f"each of the {n} pictures"
