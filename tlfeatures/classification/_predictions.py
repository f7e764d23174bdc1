"""Labels with probabilities, picture by picture; bad pictures are listed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlfeatures._parameters import check_whole
from tlfeatures._targets import write_whole
from tlfeatures.classification._saved import SavedModel
from tlfeatures.errors import few
from tlfeatures.extraction import Extraction, Progress, RunOptions, extract
from tlfeatures.heads import Scorer, scorer_from_arrays
from tlfeatures.pictures import Pictures, as_pictures

if TYPE_CHECKING:
    from tlfeatures.classification._score import ModelScore


@dataclass(frozen=True)
class Prediction:
    """A picture's most probable label.

    Attributes
    ----------
    path, label : str
    probability : float
    top : list of (label, probability)
        The best first.
    given : str or None
        The label that the picture came with.
    """

    path: str
    label: str
    probability: float
    top: list[tuple[str, float]]
    given: str | None = None


@dataclass(frozen=True)
class Predictions:
    """Predictions of the pictures that could be read.

    Attributes
    ----------
    predictions : list of Prediction
    bad : list of (path, reason)
    score : ModelScore or None
        Where pictures came with labels, one of which at least the model knows.
    note : str
        Why labels that the pictures came with were not scored.
    """

    predictions: list[Prediction]
    bad: list[tuple[str, str]]
    score: ModelScore | None = None
    note: str = ""

    def to_json(self) -> list[dict[str, Any]]:
        """Plain data."""
        return [
            {**asdict(p), "top": [{"label": name, "probability": share} for name, share in p.top]}
            for p in self.predictions
        ]

    def save_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write path, label, probability as CSV, and labels that were given, whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        has_given = any(p.given is not None for p in self.predictions)
        writer.writerow(["path", "label", "probability", *(["given"] if has_given else [])])
        writer.writerows(
            [p.path, p.label, f"{p.probability:.6f}", *([p.given] if has_given else [])]
            for p in self.predictions
        )
        data = text.getvalue().encode("utf-8", "surrogateescape")
        return write_whole(path, data, "the table")


def predict_saved(
    model: SavedModel,
    pictures: Pictures,
    run: RunOptions | None = None,
    *,
    top: int = 3,
    progress: Callable[[Progress], None] | None = None,
) -> Predictions:
    """Predict every picture that can be read, without scikit-learn.

    Parameters
    ----------
    model : SavedModel
    pictures : Pictures
    run : RunOptions, optional
        Pictures are decoded as in the fit, whatever `decode` says.
    top : int, default=3
        How many labels to list a picture.
    progress : callable, optional

    Raises
    ------
    UsageError
        If `top` is below 1.
    ModelFileError, WeightsError
        If the model's network is damaged or not there.
    CodesMismatchError
        If the network found now gives other codes than the model was fitted on.
    """
    check_whole("top", top)
    scorer, run = scorer_from_arrays(*model.head), model.run_options(run)
    network = model.network
    pictures = as_pictures(pictures)
    extraction = extract(pictures, model.request, run, tensors=network, progress=progress)
    return _label(extraction, scorer, model, top)


def _label(extraction: Extraction, scorer: Scorer, model: SavedModel, top: int) -> Predictions:
    kept, bad = extraction.pictures, extraction.bad
    if not len(kept):
        return Predictions([], bad)
    probabilities, classes = scorer.predict_proba(np.asarray(extraction.codes)), scorer.classes
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    given = [None] * len(kept) if kept.labels is None else [str(each) for each in kept.labels]
    predictions = []
    for path, row, best, label in zip(kept.paths, probabilities, order, given, strict=True):
        named = [(str(classes[i]), float(row[i])) for i in best]
        predictions.append(Prediction(path, *named[0], named, label))
    if kept.labels is None:
        return Predictions(predictions, bad)
    if not set(kept.labels.tolist()) & set(classes.tolist()):
        note = f"not scored: the model knows no class {few(list(kept.classes))}."
        return Predictions(predictions, bad, note=note)
    from tlfeatures.classification._score import Scored, score_answers

    C = model.head[1].get("C")
    scored = Scored(classes, model.trained_on, model.head_name, C, model.spec)
    return Predictions(predictions, bad, score_answers(extraction, classes[order[:, 0]], scored))
