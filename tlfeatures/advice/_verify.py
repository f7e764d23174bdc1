"""The candidates tried, on pictures that nothing was chosen on: prediction beside outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from tlfeatures._parameters import seed_of
from tlfeatures.advice._advise import Advice, advise_on, check_sides, take_sides
from tlfeatures.advice._costs import pooling_of_earlier
from tlfeatures.advice._rules import CODES, EARLIER, FULL, LAST_BLOCKS
from tlfeatures.classification import TransferClassifier
from tlfeatures.errors import TlfeaturesError
from tlfeatures.evaluation import Score, mcnemar_p, score
from tlfeatures.extraction import CNNCodes, Resolved, as_codes
from tlfeatures.pictures import Pictures, labelled_pictures

HEAD = "logistic"  # of every candidate
TRIED_EPOCHS = 5
LEVEL = 0.05
Labels = npt.NDArray[Any]
Predict = Callable[[Pictures], Labels]
Fit = Callable[[Pictures], tuple[Predict, str]]  # with a note
Train = Callable[[str, Pictures, CNNCodes, int, int], tuple[Predict, str]]


@dataclass(frozen=True)
class Attempt:
    """A candidate's predictions of the held-out pictures; None: it could not be tried."""

    strategy: str
    predictions: Labels | None
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Candidate:
    """What one strategy came to.

    Attributes
    ----------
    strategy : str
    score : Score or None
        On the held-out pictures; None: could not be tried, the note says why.
    p_value : float or None
        Exact McNemar test against codes on the same pictures.
    p_against_predicted : float or None
        The same against the strategy that was predicted.
    seconds : float
    note : str
    """

    strategy: str
    score: Score | None
    p_value: float | None
    p_against_predicted: float | None
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """All candidates on one held-out side.

    Attributes
    ----------
    predicted : str
        What the advice had recommended, measured on the training side alone.
    holds : bool
        Whether no candidate is significantly better than the predicted one.
    words : str
    candidates : tuple of Candidate
    epochs : int
        The budget of those that train the network.
    """

    predicted: str
    holds: bool
    words: str
    candidates: tuple[Candidate, ...]
    epochs: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def verify(
    pictures: Any,
    backbone: str | CNNCodes = "resnet50",
    *,
    test: float | None = None,
    epochs: int = TRIED_EPOCHS,
    random_state: int | np.random.RandomState | None = 0,
    say: Callable[[str], None] = lambda words: None,
    begin: Callable[[Pictures, Resolved], None] = lambda pictures, resolved: None,
    train: Train | None = None,
) -> Advice:
    """Advise on the training side, try the candidates there, score all on the held-out side.

    Parameters
    ----------
    pictures : Pictures, folder, or list of pictures
        With labels.
    backbone : str or CNNCodes, default="resnet50"
    test : float, optional
        Share to hold out; default: the pictures' own split, else a quarter.
    epochs : int, default=5
        Of the candidates that train the network: a small budget.
    random_state : int, RandomState or None, default=0
    say : callable
    begin : callable
        As that of `advise`.
    train : callable, optional
        (strategy, pictures, codes, epochs, random_state) -> function from pictures to labels, and
        a note, for the strategies that train the network; default: `fine_tune`.

    Returns
    -------
    Advice
        On the training side, with its `outcome`.

    Raises
    ------
    LabelsError, PicturesError
        As `advise`; if nothing can be held out.
    """
    given, random_state = labelled_pictures(pictures), seed_of(random_state)
    check_sides(given, test, random_state)
    codes = as_codes(backbone)
    begin(given, codes.resolve(len(given)))
    say(f"codes of all {len(given)} pictures")
    sides = take_sides(given, codes, test, random_state)
    advice = advise_on(sides, codes, random_state=random_state, say=say)
    tries = _tries(advice, codes, epochs, random_state, train or fine_tune)
    attempts = []
    for strategy, attempt in tries.items():
        say(f"trying {strategy} on {len(sides.training)} pictures")
        attempts.append(_try(strategy, attempt, sides.training, sides.held_out))
    outcome = judge(attempts, sides.held_out.labels, advice.choice.strategy)
    return replace(advice, outcome=replace(outcome, epochs=epochs))


def judge(attempts: Sequence[Attempt], labels: Any, predicted: str) -> Outcome:
    """Score every attempt and say whether the prediction holds.

    Parameters
    ----------
    attempts : sequence of Attempt
        On the same pictures.
    labels : array-like of shape (n_test,)
    predicted : str
    """
    right = {a.strategy: a.predictions == labels for a in attempts if a.predictions is not None}
    candidates = tuple(
        Candidate(
            strategy=a.strategy,
            score=None if a.predictions is None else score(labels, a.predictions),
            p_value=_p_between(right, a.strategy, CODES),
            p_against_predicted=_p_between(right, a.strategy, predicted),
            seconds=a.seconds,
            note=a.note,
        )
        for a in attempts
    )
    holds, words = _verdict(candidates, predicted)
    return Outcome(predicted, holds, words, candidates)


def fine_tune(
    strategy: str, pictures: Pictures, codes: CNNCodes, epochs: int, random_state: int
) -> tuple[Predict, str]:
    """Train one candidate as `tlfeatures finetune` does.

    Its network is judged even where its own carved-out part would have kept the codes; that is
    said in the note.

    Returns
    -------
    predict : callable
        Pictures -> labels.
    note : str
    """
    from tlfeatures import finetuning

    room: Any = finetuning
    model = room.FineTunedClassifier(
        codes, recipe=strategy, epochs=epochs, head=HEAD, random_state=random_state
    )
    model.fit(pictures, pictures.labels)

    def predict(held_out: Pictures) -> Labels:
        with TemporaryDirectory() as folder:  # nobody asks again for the codes of this network
            model.tuned_.codes_.set_params(cache=folder)
            return np.asarray(model.tuned_.predict(held_out))

    note = "on its own carved-out part the codes won" if model.kept_ == "baseline" else ""
    return predict, note


def _tries(
    advice: Advice, codes: CNNCodes, epochs: int, random_state: int, train: Train
) -> dict[str, Fit]:
    """How each candidate is fitted; earlier codes only where a layer was probed."""

    def on_codes(layer: str | None, pooling: str) -> Fit:
        own = clone(codes).set_params(layer=layer, pooling=pooling, on_bad="raise")
        model = TransferClassifier(own, head=HEAD, random_state=random_state)
        return lambda pictures: (model.fit(pictures).predict, "" if layer is None else layer)

    def trained(strategy: str) -> Fit:
        return lambda pictures: train(strategy, pictures, codes, epochs, random_state)

    tries = {CODES: on_codes(codes.layer, codes.pooling)}
    if (earlier := advice.similarity.best_earlier) is not None:
        tries[EARLIER] = on_codes(earlier.layer, pooling_of_earlier(codes.pooling))
    return {**tries, LAST_BLOCKS: trained(LAST_BLOCKS), FULL: trained(FULL)}


def _try(strategy: str, fit: Fit, training: Pictures, held_out: Pictures) -> Attempt:
    started = time.perf_counter()
    try:
        predict, note = fit(training)
        predictions = np.asarray(predict(held_out))
    except (TlfeaturesError, ImportError) as error:  # the others are still worth knowing
        return Attempt(strategy, None, time.perf_counter() - started, f"not tried: {error}")
    return Attempt(strategy, predictions, time.perf_counter() - started, note)


def _p_between(right: dict[str, Any], strategy: str, other: str) -> float | None:
    if strategy == other or strategy not in right or other not in right:
        return None
    return mcnemar_p(right[strategy], right[other])


def _verdict(candidates: Sequence[Candidate], predicted: str) -> tuple[bool, str]:
    scored = {c.strategy: c for c in candidates if c.score is not None}
    if predicted not in scored:
        return False, f"{predicted} was predicted but could not be tried."
    reached = _accuracy(scored[predicted])
    better = [
        c
        for c in scored.values()
        if _accuracy(c) > reached
        and c.p_against_predicted is not None
        and c.p_against_predicted < LEVEL
    ]
    if not better:
        return True, f"{predicted} was predicted, and no other is better beyond doubt."
    best = max(better, key=_accuracy)
    ahead = 100 * (_accuracy(best) - reached)
    return False, (
        f"{predicted} was predicted, but {best.strategy} is {ahead:.1f} points better "
        f"(p = {best.p_against_predicted:.3f})."
    )


def _accuracy(candidate: Candidate) -> float:
    return 0.0 if candidate.score is None else candidate.score.accuracy
