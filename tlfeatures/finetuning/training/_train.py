"""The run through a recipe's phases: epochs, the best weights, early ends, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader

from tlfeatures.extraction import Progress
from tlfeatures.finetuning._data import LabelledPictures, seeded
from tlfeatures.finetuning._result import EpochRow
from tlfeatures.finetuning.recipes._phases import Phase
from tlfeatures.finetuning.recipes._plan import group_rates
from tlfeatures.finetuning.training._checkpoint import Checkpoint, Progressed, State
from tlfeatures.finetuning.training._net import TuningNet

START = "start"
DECODE_S = 0.004  # a picture of 500 x 375, once


@dataclass(frozen=True)
class Training:
    """What a run needs beside the net.

    Attributes
    ----------
    phases : sequence of Phase
    train, valid : LabelledPictures
    batch_size : int
    patience : int or None
    stops_unfreezing : bool
    random_state : int
    checkpoint : Checkpoint or None
    watch : callable
        Told the `Progress` within an epoch, and each `EpochRow` as it is done.
    """

    phases: Sequence[Phase]
    train: LabelledPictures
    valid: LabelledPictures
    batch_size: int
    patience: int | None
    stops_unfreezing: bool
    random_state: int
    checkpoint: Checkpoint | None
    watch: Callable[[EpochRow | Progress], None]


def train(net: TuningNet, training: Training) -> Progressed:
    """Train through all phases, or go on from the checkpoint.

    Returns
    -------
    Progressed
        Its `best` is the state after the epoch with the highest accuracy on the carved split, of
        equal ones that with the lowest loss; epoch 0 only if no other one has a finite loss.

    Raises
    ------
    ExtractionError
        If the memory does not hold one picture's gradients.
    ModelFileError
        If the checkpoint is of another training, or cannot be written.
    """
    state = training.checkpoint.load() if training.checkpoint else None
    if state is None:
        start = _judge_start(net, training)
        state = Progressed(rows=[start], best=_copy(net.module_.state_dict()))
        training.watch(start)
    else:
        net.module_.load_state_dict(state.network)
    for i in range(state.phase, len(training.phases)):
        is_better = _run_phase(net, training, state, i)
        if training.stops_unfreezing and i > 0 and not is_better:
            break
    state.phase, state.epoch_in_phase = len(training.phases), 0
    if training.checkpoint is not None:
        training.checkpoint.save(state, is_done=True)
    net.module_.load_state_dict(state.best)
    return state


def _run_phase(net: TuningNet, training: Training, state: Progressed, i: int) -> bool:
    """Returns whether an epoch of the phase is the best one so far."""
    phase = training.phases[i]
    n_batches = -(-len(training.train) // training.batch_size)
    net.begin(phase, n_batches * phase.n_epochs)
    if state.epoch_in_phase:
        _take_up(net, state)
    for epoch in range(state.epoch_in_phase, phase.n_epochs):
        if _is_over(training, state, phase):
            break
        row = _run_epoch(net, training, phase, len(state.rows))
        state.rows.append(row)
        is_first = math.isfinite(row.valid_loss) and not state.best_epoch
        if is_first or _rank(row) > _rank(state.rows[state.best_epoch]):
            state.best_epoch, state.best = row.epoch, _copy(net.module_.state_dict())
        state.phase, state.epoch_in_phase = i, epoch + 1
        _save(net, training, state)
        training.watch(row)
    state.phase, state.epoch_in_phase = i + 1, 0
    return state.rows[state.best_epoch].phase == phase.name


def _run_epoch(net: TuningNet, training: Training, phase: Phase, epoch: int) -> EpochRow:
    started = time.perf_counter()
    # one seed an epoch: a training that goes on sees the same order and the same augmentation
    with seeded(training.random_state * 100_003 + epoch):
        net.tell_ = _Teller(training.watch, _pictures_an_epoch(training))
        net.fit_loop(training.train, epochs=1)
    loss, accuracy = _epoch_means(net, "train")
    valid_loss, valid_accuracy = _epoch_means(net, "valid")
    net.history.clear()  # the rows say it; batches of many epochs would only grow
    rates = group_rates(phase, net.structure)
    seconds = time.perf_counter() - started
    return EpochRow(
        epoch, phase.name, loss, accuracy, valid_loss, valid_accuracy, rates, round(seconds, 2)
    )


class _Teller:
    """Turns the pictures of a step into the `Progress` of the epoch."""

    def __init__(self, watch: Callable[[EpochRow | Progress], None], total: int) -> None:
        self._watch, self._total = watch, total
        self._done, self._began = 0, time.perf_counter()

    def __call__(self, n: int) -> None:
        self._done += n
        rate = self._done / max(time.perf_counter() - self._began, 1e-9)
        left = (self._total - self._done) / rate
        self._watch(Progress(self._done, self._total, rate, left))


def _pictures_an_epoch(training: Training) -> int:
    """All, but for one that would be a batch of its own."""
    n = len(training.train)
    return n - 1 if n > training.batch_size and n % training.batch_size == 1 else n


def _judge_start(net: TuningNet, training: Training) -> EpochRow:
    """Epoch 0: the carved split before the first step."""
    started = time.perf_counter()
    net.history.new_epoch()
    net.run_single_epoch(
        net.get_iterator(training.valid, training=False),
        training=False,
        prefix="valid",
        step_fn=net.validation_step,
    )
    loss, accuracy = _epoch_means(net, "valid")
    net.history.clear()
    rates = dict.fromkeys(group_rates(training.phases[0], net.structure), 0.0)
    seconds = round(time.perf_counter() - started, 2)
    return EpochRow(0, START, None, None, loss, accuracy, rates, seconds)


def _epoch_means(net: TuningNet, prefix: str) -> tuple[float, float]:
    """Mean loss and accuracy over the pictures of the last epoch."""
    batches = [each for each in net.history[-1]["batches"] if f"{prefix}_loss" in each]
    sizes = [each[f"{prefix}_batch_size"] for each in batches]
    losses = [each[f"{prefix}_loss"] * n for each, n in zip(batches, sizes, strict=True)]
    hits = [each[f"{prefix}_hits"] for each in batches]
    return sum(losses) / sum(sizes), sum(hits) / sum(sizes)


def _rank(row: EpochRow) -> tuple[bool, float, float]:
    """Higher is better; where numbers have overflowed, the accuracy means nothing."""
    is_finite = math.isfinite(row.valid_loss)
    return is_finite, row.valid_accuracy, -row.valid_loss if is_finite else 0.0


def _is_over(training: Training, state: Progressed, phase: Phase) -> bool:
    """Whether the phase has not improved anything for as many epochs as patience lasts."""
    if training.patience is None:
        return False
    own = [row for row in state.rows if row.phase == phase.name]
    if len(own) <= training.patience:
        return False
    best = max(range(len(own)), key=lambda i: _rank(own[i]))
    return len(own) - 1 - best >= training.patience


def _save(net: TuningNet, training: Training, state: Progressed) -> None:
    if training.checkpoint is None:
        return
    state.network = net.module_.state_dict()
    state.optimizer, state.n_steps = net.optimizer_.state_dict()["state"], net.step_
    training.checkpoint.save(state)


def _take_up(net: TuningNet, state: Progressed) -> None:
    """Put back what the optimiser knew, and where its schedule was."""
    groups = net.optimizer_.state_dict()["param_groups"]
    net.optimizer_.load_state_dict({"state": state.optimizer, "param_groups": groups})
    net.step_ = state.n_steps


def _copy(state: State) -> State:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def estimate_seconds(net: TuningNet, training: Training) -> float:
    """About how long all epochs take here, from one batch of each phase.

    The network is afterwards as it was.
    """
    before = _copy(net.module_.state_dict())
    total = DECODE_S * (len(training.train) + len(training.valid))
    with seeded(training.random_state):
        batch = next(iter(DataLoader(training.train, training.batch_size)))
        for phase in training.phases:
            net.begin(phase, 1)
            training_s = _seconds_of(net, net.gradients, batch)
            judging_s = _seconds_of(net, net.validation_step, batch)
            an_epoch = len(training.train) * training_s + len(training.valid) * judging_s
            total += phase.n_epochs * an_epoch
    net.module_.load_state_dict(before)
    net.module_.zero_grad(set_to_none=True)
    return total


def _seconds_of(net: TuningNet, step: Callable[[Any], Any], batch: Any) -> float:
    """A picture, of a second step: the first one warms up."""
    seconds = 0.0
    for _ in range(2):
        net.history.new_epoch()
        net.history.new_batch()
        started = time.perf_counter()
        step(batch)
        seconds = time.perf_counter() - started
    net.history.clear()
    return seconds / len(batch[0])
