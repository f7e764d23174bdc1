"""What `finetune` prints: the plan, a line an epoch, the result."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from tlfeatures.cli._output import interval, percent
from tlfeatures.cli._progress import ProgressLine
from tlfeatures.extraction import Progress
from tlfeatures.finetuning import (
    EpochRow,
    FineTuning,
    GroupPlan,
    PhasePlan,
    RateSearch,
    TrainingPlan,
)

STARTS = {"probe": "the baseline's linear head", "random": "random numbers"}


class EpochLines:
    """Says the rate that was found, the plan, how far an epoch is, and each epoch as it is done.

    Parameters
    ----------
    line : ProgressLine
    """

    def __init__(self, line: ProgressLine) -> None:
        self._line = line

    def __call__(self, what: RateSearch | TrainingPlan | EpochRow | Progress) -> None:
        if isinstance(what, Progress):
            self._line(what)
        elif isinstance(what, TrainingPlan):
            for words in plan_lines(what):
                self._line.say(words)
        elif isinstance(what, RateSearch):
            found = f"--lr {what.suggested:.1e}" if isfinite(what.suggested) else "none found"
            self._line.say(f"learning-rate search: {found}")
        else:
            self._line.say(epoch_line(what))

    def __repr__(self) -> str:
        return type(self).__name__


def plan_lines(plan: TrainingPlan) -> list[str]:
    """The plan in words: phases, groups, rates, batch norms, time."""
    weights = "random weights" if plan.is_scratch else "the given weights"
    lines = [
        f"recipe {plan.recipe} ({plan.source}): {plan.optimizer}; starts from {weights}, the new "
        f"layer from {STARTS[plan.head_start]}; augmentation {plan.augmentation}"
    ]
    for phase in plan.phases:
        lines += phase_lines(phase, plan.n_parameters)
    if plan.note:
        lines.append(f"note: {plan.note}")
    if plan.seconds is not None:
        lines.append(f"expected time: {_duration(plan.seconds)} for all epochs")
    return lines


def phase_lines(phase: PhasePlan, n_parameters: int) -> list[str]:
    """One phase: a line for itself, one for each run of groups treated alike."""
    epochs = "1 epoch" if phase.n_epochs == 1 else f"{phase.n_epochs} epochs"
    share = f"{_millions(phase.n_trained)} of {_millions(n_parameters)} parameters"
    lines = [f"  {phase.name}: {epochs}, {phase.schedule}; trains {share}"]
    for first, last, group in _alike(phase.groups):
        name = first if first == last else f"{first} to {last}"
        lines.append(f"    {name:<34} {_rate(group):<22} {_norms(group)}".rstrip())
    return lines


def epoch_line(row: EpochRow) -> str:
    """One epoch."""
    judged = f"carved split {percent(row.valid_accuracy)} %, loss {row.valid_loss:.3f}"
    if row.train_loss is None or row.train_accuracy is None:
        return f"epoch {row.epoch}: {judged}"
    trained = f"training {percent(row.train_accuracy)} %, loss {row.train_loss:.3f}"
    return f"epoch {row.epoch} ({row.phase}): {trained}; {judged}; {row.seconds:.0f} s"


def finetuning_table(result: FineTuning) -> str:
    """Baseline, fine-tuned network and what was kept, in percent."""
    rows = [("linear head on codes", result.baseline), ("fine-tuned network", result.tuned)]
    lines = [f"{'held-out pictures':<30}{'accuracy %':>10}  {'95 % interval':<18}mean recall %"]
    lines += [
        f"{name:<30}{percent(each.accuracy):>10}  {interval(each.ci95):<18}"
        f"{percent(each.mean_recall):>13}"
        for name, each in rows
    ]
    lines.append(
        f"kept: {result.kept} (chosen on {result.n_valid} pictures carved out of the training "
        f"data; epoch {result.best_epoch} of {len(result.epochs) - 1}); as kept "
        f"{percent(result.final.accuracy)} %"
    )
    lines.append(
        f"difference on the held-out pictures: p = {result.p_value:.2g} (exact McNemar). "
        f"{result.protocol}, {result.n_valid} of the training pictures carved out"
    )
    return "\n".join(lines)


def _alike(groups: Sequence[GroupPlan]) -> list[tuple[str, str, GroupPlan]]:
    """Runs of groups with the same rates and batch norms: first name, last name, one of them."""
    runs: list[tuple[str, str, GroupPlan]] = []
    for group in groups:
        if runs and _key(runs[-1][2]) == _key(group):
            runs[-1] = (runs[-1][0], group.name, group)
        else:
            runs.append((group.name, group.name, group))
    return runs


def _key(group: GroupPlan) -> tuple[object, ...]:
    return group.rate, group.rate_of_first, group.batch_norms, group.note


def _rate(group: GroupPlan) -> str:
    if group.note:
        return group.note
    if group.rate == 0:
        return "frozen"
    if group.rate != group.rate_of_first:
        return f"rate {group.rate_of_first:.2g} to {group.rate:.2g}"
    return f"rate {group.rate:.2g}"


def _norms(group: GroupPlan) -> str:
    return "" if group.batch_norms == "none" else f"batch norms {group.batch_norms}"


def _millions(n: int) -> str:
    return f"{n / 1e6:.2f} million" if n >= 10_000 else str(n)


def _duration(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"
