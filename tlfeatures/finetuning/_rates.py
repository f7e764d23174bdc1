"""The learning-rate finder: a short training whose rate rises until the loss explodes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from tlfeatures.finetuning._classifier import FineTunedClassifier
from tlfeatures.finetuning._result import RateSearch
from tlfeatures.pictures import Pictures

LOWEST, HIGHEST = 1e-6, 1.0
N_STEPS = 60
SMOOTHING = 0.9
EXPLODED = 4.0  # times the lowest loss so far
BELOW_LOWEST = 10.0


def find_rate(
    classifier: FineTunedClassifier, pictures: Pictures, *, n_steps: int = N_STEPS
) -> RateSearch:
    """Raise the rate from 1e-6 to 1 over a few batches and see where the loss goes (Smith 2017).

    The groups of the recipe's last phase keep their proportions; shown is the highest rate. The
    suggested one is a tenth of that at which the smoothed loss is lowest: there it still falls.

    Parameters
    ----------
    classifier : FineTunedClassifier
        Its settings are used; it is not fitted by this.
    pictures : Pictures
        With labels; only what `fit` would train on is looked at.
    n_steps : int, default=60

    Raises
    ------
    LabelsError, UsageError, ImageReadError
        As `FineTunedClassifier.fit`.
    """
    recipe, tasks, _ = classifier._begin(pictures, None, None, None)
    net, training = classifier._prepare(recipe, tasks)
    phase = training.phases[-1]
    net.begin(phase, n_steps)
    top = max(phase.rates.values())
    ratio = HIGHEST / LOWEST
    net.factor_ = lambda t: LOWEST * ratio**t / top
    rates, losses, smoothed = [], [], 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(classifier.random_state)
        for step, batch in enumerate(islice(_endless(training, classifier.batch_size), n_steps)):
            net.history.new_epoch()
            net.history.new_batch()
            loss = float(net.train_step(batch)["loss"])
            smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * loss
            rates.append(LOWEST * ratio ** (step / n_steps))
            losses.append(smoothed / (1 - SMOOTHING ** (step + 1)))
            if not np.isfinite(loss) or losses[-1] > EXPLODED * min(losses):
                break
    suggested = rates[int(np.nanargmin(losses))] / BELOW_LOWEST
    return RateSearch(tuple(rates), tuple(losses), suggested, classifier._plan(net, training))


def _endless(training: Any, batch_size: int) -> Iterator[Any]:
    while True:
        yield from DataLoader(training.train, batch_size, shuffle=True)
