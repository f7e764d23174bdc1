"""A training plan -> the table of the page: one row a group of layers, one column a phase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlfeatures.report._scale import rate_text

if TYPE_CHECKING:
    from tlfeatures.finetuning import GroupPlan, PhasePlan, TrainingPlan

NORMS = {"none": "", "frozen": "norms frozen", "moving": "norms move"}
READING = (
    "Cells are learning rates at the peak of the schedule; where they fall within a group, of its "
    "first layer and of its last. frozen: the rate is 0 and no gradient is kept. Norms are the "
    "running statistics of the group's batch norms: they move with the training pictures, or stay "
    "as they came with the weights."
)


@dataclass(frozen=True)
class PhaseColumn:
    """The head of one column, in words."""

    number: int
    name: str
    epochs: str
    schedule: str
    n_trained: int
    share: str


@dataclass(frozen=True)
class PlanCell:
    """What one phase does to one group."""

    rate: float
    words: str
    norms: str
    norms_words: str

    @property
    def is_frozen(self) -> bool:
        """Whether nothing of the group is trained."""
        return self.rate == 0


@dataclass(frozen=True)
class GroupRow:
    """One group; None where a phase does not know it."""

    name: str
    n_parameters: int
    cells: tuple[PlanCell | None, ...]


@dataclass(frozen=True)
class PlanTable:
    """The whole table.

    Attributes
    ----------
    phases : tuple of PhaseColumn
    groups : tuple of GroupRow
    notes : tuple of str
    reading : str
    """

    phases: tuple[PhaseColumn, ...]
    groups: tuple[GroupRow, ...]
    notes: tuple[str, ...]
    reading: str = READING


def make_plan_table(plan: TrainingPlan) -> PlanTable:
    """The table of a plan; groups in the order of execution."""
    phases = [{group.name: group for group in phase.groups} for phase in plan.phases]
    sizes = {name: g.n_parameters for groups in phases for name, g in groups.items()}
    rows = (
        GroupRow(name, size, tuple(_cell(groups.get(name)) for groups in phases))
        for name, size in sizes.items()
    )
    columns = (_column(k, phase, plan) for k, phase in enumerate(plan.phases, start=1))
    return PlanTable(tuple(columns), tuple(rows), tuple(dict.fromkeys(_notes(plan))))


def share_text(part: int, whole: int) -> str:
    """A share in percent that is never rounded to nothing or to all.

    Examples
    --------
    >>> share_text(1026, 11177538), share_text(1, 3), share_text(3, 3)
    ('0.0092 %', '33.3 %', '100 %')
    """
    percent = 100 * part / max(whole, 1)
    if part == 0 or part >= whole:
        return f"{percent:.0f} %"
    if percent < 0.001:
        return "under 0.001 %"
    return f"{min(percent, 99.9):.2g} %" if percent < 10 else f"{min(percent, 99.9):.3g} %"


def _column(number: int, phase: PhasePlan, plan: TrainingPlan) -> PhaseColumn:
    epochs = "1 epoch" if phase.n_epochs == 1 else f"at most {phase.n_epochs} epochs"
    share = share_text(phase.n_trained, plan.n_parameters)
    return PhaseColumn(number, phase.name, epochs, phase.schedule, phase.n_trained, share)


def _cell(group: GroupPlan | None) -> PlanCell | None:
    if group is None:
        return None
    words = "frozen" if group.rate == 0 else rate_text(group.rate)
    if group.rate and group.rate_of_first != group.rate:
        words = f"{rate_text(group.rate_of_first)} to {rate_text(group.rate)}"
    norms = NORMS.get(group.batch_norms, group.batch_norms)
    return PlanCell(group.rate, words, group.batch_norms, norms)


def _notes(plan: TrainingPlan) -> Iterator[str]:
    """What the plan says of its result and of single groups; once, however many phases say it."""
    if plan.note:
        yield f"{plan.recipe}: {plan.note}."
    for phase in plan.phases:
        yield from (f"{group.name}: {group.note}" for group in phase.groups if group.note)
