"""A task: labelled pictures, a part of them carved out, and the baseline of the rest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlfeatures.classification import TrainedOn, TransferClassifier
from tlfeatures.evaluation import make_split
from tlfeatures.extraction import CNNCodes
from tlfeatures.pictures import Pictures, content_digest


@dataclass(frozen=True)
class Task:
    """Labelled pictures of one task, split, and the baseline fitted on the training part."""

    train: Pictures
    valid: Pictures
    baseline: TransferClassifier

    @property
    def classes(self) -> NDArray[Any]:
        found: NDArray[Any] = self.baseline.classes_
        return found

    def encode(self, labels: Any, first: int = 0) -> NDArray[np.intp]:
        """Class numbers, counted from `first`."""
        return np.searchsorted(self.classes, np.asarray(labels)) + first


def carve(pictures: Pictures, codes: CNNCodes, head: str, valid: float, seed: int) -> Task:
    """Carve a share out of the pictures, and fit the baseline on the others."""
    split = make_split(labels_of(pictures), None, pictures.groups, valid, None, seed)
    training: Pictures = pictures[split.train]
    carved: Pictures = pictures[split.test]
    baseline = TransferClassifier(codes, head, seed)
    return Task(training, carved, baseline.fit(training))


def labels_of(pictures: Pictures) -> NDArray[Any]:
    """Their labels, which they have."""
    return np.asarray(pictures.labels)


def trained_on(tasks: list[Task]) -> TrainedOn:
    """Of all that the network has seen, what was carved out to choose the epoch included."""
    parts = [part for task in tasks for part in (task.train, task.valid)]
    return TrainedOn.of(content_digest(item) for part in parts for item in part.items)


def digest_of(tasks: list[Task], codes: CNNCodes) -> str:
    """Of the pictures' contents and labels, in order; what a file is called says nothing."""
    digest = hashlib.sha256()
    for task in tasks:
        for part in (task.train, task.valid):
            for key, label in zip(codes.codes(part).keys, labels_of(part), strict=True):
                digest.update(key + f"\0{label}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
