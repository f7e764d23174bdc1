"""The learning-rate finder: a short training whose rate rises until the loss explodes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from tlfeatures.finetuning._data import seeded
from tlfeatures.finetuning._result import RateSearch, TrainingPlan
from tlfeatures.finetuning.training._net import TuningNet
from tlfeatures.finetuning.training._train import Training

LOWEST, HIGHEST = 1e-6, 1.0  # of the phase that is tried
N_STEPS = 60
SMOOTHING = 0.9
EXPLODED = 4.0  # times the lowest loss so far
FALLEN = 0.1  # of the loss at the lowest rate
RISEN = 0.25  # of the fall before it: noise is not taken for an end
BELOW_LOWEST = 10.0


def search_rate(
    net: TuningNet, training: Training, plan: TrainingPlan, n_steps: int = N_STEPS
) -> RateSearch:
    """Raise the rate from 1e-6 to 1 over a few batches and see where the loss goes (Smith 2017).

    The net's weights are used up by it.

    The last phase is tried, whose groups keep their proportions. Rates are given as `lr` takes
    them, as the highest one of all phases. The suggested one is a tenth of that at which the
    smoothed loss is lowest: there it still falls. Where it does not fall and rise again, as on a
    dozen pictures that are learned by heart, it does not say how far one may go: none is suggested.
    """
    phase = training.phases[-1]
    net.begin(phase, n_steps)
    own = max(phase.rates.values())
    as_lr = max(rate for each in training.phases for rate in each.rates.values()) / own
    ratio = HIGHEST / LOWEST
    net.factor_ = lambda t: LOWEST * ratio**t / own
    rates, losses, smoothed = [], [], 0.0
    with seeded(training.random_state):
        for step, batch in enumerate(islice(_endless(training), n_steps)):
            net.history.new_epoch()
            net.history.new_batch()
            loss = float(net.train_step(batch)["loss"])
            smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * loss
            rates.append(as_lr * LOWEST * ratio ** (step / n_steps))
            losses.append(smoothed / (1 - SMOOTHING ** (step + 1)))
            if not np.isfinite(loss) or losses[-1] > EXPLODED * min(losses):
                break
    net.history.clear()
    return RateSearch(tuple(rates), tuple(losses), _suggest(rates, losses), plan)


def _suggest(rates: list[float], losses: list[float]) -> float:
    finite = np.where(np.isfinite(losses), losses, np.inf)
    best = int(finite.argmin())
    if not np.isfinite(finite[0]):
        return float("nan")
    fall, rise = finite[0] - finite[best], finite[best:].max() - finite[best]
    is_seen = fall > FALLEN * finite[0] and rise > RISEN * fall
    return rates[best] / BELOW_LOWEST if is_seen else float("nan")


def _endless(training: Training) -> Iterator[Any]:
    while True:
        yield from DataLoader(training.train, training.batch_size, shuffle=True)
