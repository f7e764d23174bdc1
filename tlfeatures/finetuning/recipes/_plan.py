"""From a recipe and a structure to the plan that is printed before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tlfeatures.finetuning._result import GroupPlan, PhasePlan, TrainingPlan
from tlfeatures.finetuning.recipes._parts import HEAD, Stage, Structure, Unit
from tlfeatures.finetuning.recipes._phases import Phase
from tlfeatures.finetuning.recipes._recipes import Recipe

NOT_TRAINED = "not trained"
LEFT_OUT = f"{NOT_TRAINED}, while the statistics of its batch norms move"


def make_plan(
    recipe: Recipe,
    phases: Sequence[Phase],
    structure: Structure,
    *,
    batch_norms: str,
    augmentation: str,
    seconds: float | None = None,
) -> TrainingPlan:
    """What will be trained, how fast, and what happens to the batch norms.

    Parameters
    ----------
    recipe : Recipe
    phases : sequence of Phase
        Of `Recipe.phases`.
    structure : Structure
    batch_norms : {"moving", "frozen"}
        Whether the statistics of trained parts move.
    augmentation : str
    seconds : float, optional
        Expected.
    """
    decay = f", weight decay {recipe.weight_decay:g}" if recipe.weight_decay else ""
    named = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[recipe.optimizer]
    momentum = f", momentum {recipe.momentum:g}" if recipe.optimizer == "sgd" else ""
    nesterov = " (Nesterov)" if recipe.is_nesterov else ""
    return TrainingPlan(
        recipe=recipe.name,
        source=recipe.source,
        backbone=structure.backbone,
        head_start=recipe.head_start,
        is_scratch=recipe.is_scratch,
        optimizer=f"{named}{momentum}{nesterov}{decay}",
        n_parameters=structure.n_parameters,
        phases=tuple(_phase(phase, structure, batch_norms) for phase in phases),
        augmentation=augmentation,
        seconds=seconds,
        note=recipe.note,
    )


def group_rates(phase: Phase, structure: Structure) -> dict[str, float]:
    """The peak rate of each group of a phase, by its name in the plan."""
    return {group.name: group.rate for group in _phase(phase, structure, "frozen").groups}


def _phase(phase: Phase, structure: Structure, batch_norms: str) -> PhasePlan:
    groups = [group for part in structure.parts for group in _groups(phase, part, batch_norms)]
    rate = phase.rates.get(HEAD, 0.0)
    groups.append(GroupPlan(HEAD, structure.n_head, rate, rate, "none"))
    return PhasePlan(phase.name, phase.n_epochs, phase.schedule, tuple(groups))


def _groups(phase: Phase, part: Stage, batch_norms: str) -> list[GroupPlan]:
    """One group a part; more where some of its units are treated otherwise."""

    def treated(unit: Unit) -> tuple[bool, bool]:
        return phase.rates.get(unit.name, 0) > 0, unit.name in phase.left_out

    runs = [list(run) for _, run in groupby(part.units, key=treated)]
    return [
        _group(phase, part.name if len(runs) == 1 else _name(run), run, batch_norms) for run in runs
    ]


def _name(units: list[Unit]) -> str:
    first, last = units[0].name, units[-1].name
    return first if first == last else f"{first}..{last}"


def _group(phase: Phase, name: str, units: list[Unit], batch_norms: str) -> GroupPlan:
    rates = [phase.rates.get(unit.name, 0.0) for unit in units]
    is_left_out = units[0].name in phase.left_out
    moves = batch_norms == "moving" and (rates[-1] > 0 or is_left_out)
    state = "moving" if moves else "frozen"
    note = LEFT_OUT if moves else NOT_TRAINED
    return GroupPlan(
        name,
        sum(unit.n_parameters for unit in units),
        rates[-1],
        rates[0],
        state if any(unit.batch_norms for unit in units) else "none",
        note if is_left_out else "",
    )
