"""Fine-tuning under the honest protocol: split, baseline, training, one score -> a dataclass."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlfeatures.classification import TransferClassifier
from tlfeatures.evaluation import Score, make_split, mcnemar_p, score
from tlfeatures.extraction import Resolved, as_codes
from tlfeatures.finetuning._classifier import FineTunedClassifier
from tlfeatures.finetuning._result import FINE_TUNED, FineTuning, HeldOut
from tlfeatures.pictures import Pictures, check_readable, labelled_pictures


def evaluate_finetuning(
    pictures: Pictures,
    classifier: FineTunedClassifier,
    *,
    test: float | None = None,
    shared_with: Pictures | None = None,
    begin: Callable[[Pictures, Resolved], None] = lambda pictures, resolved: None,
) -> FineTuning:
    """Fine-tune on the training side, score once on the other one, beside the baseline.

    Split: the test folder if there is one, else val, else a stratified 25 % that respects groups,
    as `evaluate_baseline` has it. The classifier carves its own split out of the training side;
    the baseline that is scored is fitted on what is left of it, as the network is.

    Parameters
    ----------
    pictures : Pictures
        With labels; bad ones are left out and listed.
    classifier : FineTunedClassifier
        Fitted here.
    test : float, optional
        The share to hold out.
    shared_with : Pictures, optional
        See `FineTunedClassifier.fit`.
    begin : callable
        Given the pictures, once labels, split and the classifier's options are found possible, and
        before a network is opened or downloaded.

    Raises
    ------
    LabelsError, PicturesError, UsageError, ModelFileError, ExtractionError
        As `FineTunedClassifier.fit`.
    """
    pictures = labelled_pictures(pictures)
    shared_with = None if shared_with is None else labelled_pictures(shared_with)
    classifier.check(pictures, test=test, shared_with=shared_with)
    codes_of = as_codes(classifier.backbone)
    resolved = codes_of.resolve(len(pictures))
    begin(pictures, resolved)
    began = time.perf_counter()
    extraction, bad = codes_of.extract(pictures, resolved), []
    if shared_with is not None:
        shared = codes_of.extract(shared_with)
        shared_with, bad = shared.pictures, shared.bad
    kept = extraction.pictures
    labels: Any = kept.labels
    check_readable(pictures, kept, extraction.bad)
    seed = classifier.random_state
    split = make_split(labels, kept.split, kept.groups, test, None, seed)
    train, held_out = kept[split.train], kept[split.test]
    extracted = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        classifier.fit(train, shared_with=shared_with)
    fitted = time.perf_counter()
    truth = labels[split.test]
    baseline, tuned = (_predict(m, held_out) for m in (classifier.baseline_, classifier.tuned_))
    final = tuned if classifier.kept_ == FINE_TUNED else _predict(classifier.model_, held_out)
    spec = classifier.baseline_.spec_
    n_valid = len(train) - classifier.n_trained_on_
    return FineTuning(
        classes=[str(each) for each in classifier.classes_],
        protocol=split.protocol,
        n_train=classifier.n_trained_on_,
        n_valid=n_valid,
        n_test=len(held_out),
        bad=[*extraction.bad, *bad],
        backbone=spec.backbone,
        weights_id=spec.weights_id,
        layer=spec.layer,
        plan=classifier.plan_,
        epochs=classifier.history_,
        best_epoch=classifier.best_epoch_,
        baseline=_held_out(score(truth, baseline)),
        tuned=_held_out(score(truth, tuned)),
        final=_held_out(score(truth, final)),
        p_value=mcnemar_p(baseline == truth, tuned == truth),
        kept=classifier.kept_,
        warnings=list(dict.fromkeys([*kept.notes, *split.warnings, *_words(caught)])),
        seconds={
            "extract": round(extracted - began, 3),
            "fit": round(fitted - extracted, 3),
            "score": round(time.perf_counter() - fitted, 3),
        },
        valid_accuracy=classifier.valid_accuracy_,
        classifier=classifier,
    )


def _predict(model: TransferClassifier, pictures: Pictures) -> NDArray[Any]:
    return np.asarray(model.head_.predict(model.codes_.transform(pictures)))


def _held_out(result: Score) -> HeldOut:
    return HeldOut(result.accuracy, result.ci95, result.mean_recall, result.mean_recall_ci95)


def _words(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
