"""Labels with probabilities, picture by picture; bad pictures are listed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlfeatures._parameters import check_whole
from tlfeatures._targets import write_whole
from tlfeatures.classification._saved import SavedModel
from tlfeatures.extraction import Extraction, Progress, RunOptions, extract
from tlfeatures.heads import Scorer, scorer_from_arrays
from tlfeatures.pictures import Pictures, as_pictures


@dataclass(frozen=True)
class Prediction:
    """A picture's most probable label; `top` lists (label, probability), best first."""

    path: str
    label: str
    probability: float
    top: list[tuple[str, float]]


@dataclass(frozen=True)
class Predictions:
    """Predictions of the pictures that could be read, and the bad ones with their reasons."""

    predictions: list[Prediction]
    bad: list[tuple[str, str]]

    def to_json(self) -> list[dict[str, Any]]:
        """Plain data."""
        return [
            {**asdict(p), "top": [{"label": name, "probability": share} for name, share in p.top]}
            for p in self.predictions
        ]

    def save_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write path, label, probability as CSV, whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(["path", "label", "probability"])
        writer.writerows([p.path, p.label, f"{p.probability:.6f}"] for p in self.predictions)
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
    return _label(extraction, scorer, top)


def _label(extraction: Extraction, scorer: Scorer, top: int) -> Predictions:
    if not len(extraction.pictures):
        return Predictions([], extraction.bad)
    probabilities = scorer.predict_proba(np.asarray(extraction.codes))
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    predictions = []
    for path, row, best in zip(extraction.pictures.paths, probabilities, order, strict=True):
        named = [(str(scorer.classes[i]), float(row[i])) for i in best]
        predictions.append(Prediction(path, *named[0], named))
    return Predictions(predictions, extraction.bad)
