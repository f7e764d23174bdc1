"""Results of the fine-tuning room -> pages with charts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from tlfeatures.report._chart import Axis, Chart, Level, Mark, Series
from tlfeatures.report._page import ReportPage, ReportRow
from tlfeatures.report._plan import PlanTable, make_plan_table, share_text
from tlfeatures.report._scale import rate_text

if TYPE_CHECKING:
    from tlfeatures.finetuning import EpochRow, FineTuning, HeldOut, RateSearch, TrainingPlan

TONES = 6  # of the template: t0 is the first group, t5 the last
LOSS_UNIT = "mean cross-entropy, nats"
LEAST_POINTS = 10  # of percent on the accuracy axis: one picture in a hundred is no slope
DIVERGED = 10  # times the loss of the start: leaves the chart
SURE = 0.05
STARTS = {
    "probe": "the baseline's linear head on the given weights",
    "random": "a random head on the given weights",
}


@dataclass(frozen=True)
class TrainingPage(ReportPage):
    """A page of training: besides `ReportPage`'s parts why, charts, epochs and the plan.

    Parameters
    ----------
    verdict : list of str
        What was kept, and why; one paragraph each.
    charts_title : str
    charts : list of Chart
    epochs : tuple of EpochRow
        The same as numbers.
    best_epoch : int or None
        Whose weights were kept.
    plan : PlanTable or None
    """

    template: ClassVar[str] = "training.html"

    verdict: list[str] = field(default_factory=list)
    charts_title: str = "Epoch by epoch"
    charts: list[Chart] = field(default_factory=list)
    epochs: tuple[EpochRow, ...] = ()
    best_epoch: int | None = None
    plan: PlanTable | None = None


def make_finetuning_page(
    result: FineTuning, *, title: str = "tlfeatures: what fine-tuning is worth", lead: str = ""
) -> TrainingPage:
    """The page of `evaluate_finetuning`'s result.

    Parameters
    ----------
    result : FineTuning
    title, lead : str
        The heading, and the sentence below it; "": says what was kept and what it reaches.
    """
    return TrainingPage(
        title=title,
        lead=lead or _lead(result),
        facts=_facts(result),
        heads=_heads(result),
        warnings=result.warnings,
        bad=result.bad,
        verdict=_verdict(result),
        charts=[_loss_chart(result), _accuracy_chart(result), *_rate_charts(result)],
        epochs=result.epochs,
        best_epoch=result.best_epoch,
        plan=make_plan_table(result.plan),
    )


def make_rates_page(
    finder: RateSearch, *, title: str = "tlfeatures: which learning rate", lead: str = ""
) -> TrainingPage:
    """The page of a learning-rate finder: loss against rate, the suggested rate marked.

    Parameters
    ----------
    finder : RateSearch
    title, lead : str
        The heading, and the sentence below it; "": says what is suggested.
    """
    is_found = math.isfinite(finder.suggested) and finder.suggested > 0
    found = f"The suggested rate is {rate_text(finder.suggested)}."
    seen = [loss for loss in finder.losses if math.isfinite(loss)]
    chart = Chart(
        key="rates",
        title="Loss against learning rate",
        x=Axis("learning rate, logarithmic", is_log=True),
        y=Axis(LOSS_UNIT, top=2 * seen[0] if seen else None),
        series=(Series("loss", tuple(zip(finder.rates, finder.losses, strict=True)), "valid"),),
        marks=(Mark(finder.suggested, rate_text(finder.suggested), "suggested"),)
        if is_found
        else (),
        notes=(
            "The rate rises with every step. Where the loss falls steeply, training learns; where "
            "it turns upwards, steps are too long. Rates are the highest of all groups and phases; "
            "the others keep their proportions to it.",
        ),
    )
    return TrainingPage(
        title=title,
        lead=lead or (found if is_found else "No rate can be suggested."),
        facts=[("Network", finder.plan.backbone), *_plan_facts(finder.plan)],
        charts_title="What was tried",
        charts=[chart],
        plan=make_plan_table(finder.plan),
    )


def _heads(result: FineTuning) -> list[ReportRow]:
    """Both that were compared; a baseline that stays is fitted once more, on all that is known."""
    is_tuned = result.kept == "fine-tuned"
    rows = [
        _row("baseline: classifier on codes", result.baseline, False),
        _row(f"fine-tuned: {result.plan.recipe}", result.tuned, is_tuned),
    ]
    if not is_tuned:
        name = "baseline as kept: fitted on the carved pictures too"
        rows.append(_row(name, result.final, True))
    return rows


def _row(name: str, score: HeldOut, is_kept: bool) -> ReportRow:
    return ReportRow(
        name,
        score.accuracy,
        *score.ci95,
        score.mean_recall,
        *score.mean_recall_ci95,
        chosen=is_kept,
    )


def _lead(result: FineTuning) -> str:
    share = f"{_shown(result.final.accuracy)} on {result.n_test} held-out pictures"
    if result.kept == "baseline":
        return f"The classifier on {result.backbone} codes stays; it reaches {share}."
    return f"{result.backbone} fine-tuned by {result.plan.recipe} reaches {share}."


def _facts(result: FineTuning) -> list[tuple[str, str]]:
    classes = ", ".join(result.classes[:20]) + (" ..." if len(result.classes) > 20 else "")
    return [
        ("Network", f"{result.backbone}; the baseline's codes from layer {result.layer}"),
        ("Weights", result.weights_id[:16]),
        *_plan_facts(result.plan),
        ("Trained", _trained_words(result.plan)),
        (
            "Pictures",
            f"{result.n_train} for the gradients, {result.n_valid} for stopping and the choice, "
            f"{result.n_test} for testing",
        ),
        ("Classes", classes),
        ("Protocol", result.protocol),
        ("Time", _time(result)),
    ]


def _plan_facts(plan: TrainingPlan) -> list[tuple[str, str]]:
    start = "random weights everywhere" if plan.is_scratch else STARTS[plan.head_start]
    return [
        ("Recipe", f"{plan.recipe} ({plan.source})"),
        ("Starts from", start),
        ("Optimiser", plan.optimizer),
        ("Augmentation", plan.augmentation),
    ]


def _trained_words(plan: TrainingPlan) -> str:
    most, whole = max((phase.n_trained for phase in plan.phases), default=0), plan.n_parameters
    if most == whole:
        return f"all {whole:,} parameters, at least in one phase"
    return f"at most {most:,} of {whole:,} parameters ({share_text(most, whole)})"


def _time(result: FineTuning) -> str:
    n = sum(row.epoch > 0 for row in result.epochs)
    spent = _minutes(sum(row.seconds for row in result.epochs))
    expected = result.plan.seconds
    beside = "" if expected is None else f"; expected were {_minutes(expected)}"
    return f"{spent} for {n} epoch{'' if n == 1 else 's'}{beside}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _verdict(result: FineTuning) -> list[str]:
    """Kept or replaced on the carved split; how sure, on the reported one."""
    rows = {row.epoch: row for row in result.epochs}
    best, codes_alone = rows.get(result.best_epoch), result.valid_accuracy.get("baseline")
    where = f"on the {result.n_valid} pictures carved out of the training data"
    parts = []
    if best is not None:
        name = f"epoch {best.epoch}" if best.epoch else "the start, epoch 0,"
        parts.append(f"{name} was judged the best, it reached {_shown(best.valid_accuracy)}")
    if codes_alone is not None:
        parts.append(f"the baseline reached {_shown(codes_alone)}")
    chosen = (
        "The fine-tuned network replaces the baseline: on the pictures carved out it was ahead by "
        "more than one standard error."
        if result.kept == "fine-tuned"
        else "The baseline is kept: to replace it, fine-tuning must be ahead by more than one "
        "standard error on the pictures carved out."
    )
    why = f" The choice was made {where}: {'; '.join(parts)}." if parts else ""
    return [chosen + why, *_sureness(result)]


def _sureness(result: FineTuning) -> Iterator[str]:
    gain = 100 * (result.tuned.accuracy - result.baseline.accuracy)
    points = f"{gain:+.1f}".replace("-", "\N{MINUS SIGN}")
    if math.isnan(result.p_value):
        return
    sure = (
        "a difference that chance rarely makes"
        if result.p_value < SURE
        else "a difference that chance makes often enough, so neither is shown to be better"
    )
    yield (
        f"On the {result.n_test} held-out pictures fine-tuning differs by {points} points, "
        f"p = {result.p_value:.2g} by McNemar's exact test on the same pictures: {sure}."
    )


def _loss_chart(result: FineTuning) -> Chart:
    series = (
        _series(result, "training", "train", lambda row: row.train_loss),
        _series(result, "validation", "valid", lambda row: row.valid_loss),
    )
    starts = [next(iter(_finite(one)), 0.0) for one in series]
    best = [(row.epoch, row.valid_loss) for row in _best(result)]
    return Chart(
        key="loss",
        title="Loss",
        x=_epoch_axis(result),
        y=Axis(LOSS_UNIT, low=0.0, top=DIVERGED * max(starts) if any(starts) else None),
        series=series,
        marks=_phase_marks(result),
        rings=tuple(best),
        notes=(
            _ring_words(result),
            "Training is measured during the epoch, on pictures as they are augmented.",
        ),
    )


def _accuracy_chart(result: FineTuning) -> Chart:
    low, high = (100 * end for end in result.baseline.ci95)
    series = (
        _series(result, "training", "train", lambda row: _percent(row.train_accuracy)),
        _series(result, "validation", "valid", lambda row: _percent(row.valid_accuracy)),
    )
    return Chart(
        key="accuracy",
        title="Accuracy",
        x=_epoch_axis(result),
        y=Axis("% of the pictures", bounds=(0.0, 100.0), least_span=LEAST_POINTS),
        series=series,
        levels=(Level("baseline", 100 * result.baseline.accuracy, low, high),),
        marks=_phase_marks(result),
        rings=tuple((row.epoch, 100 * row.valid_accuracy) for row in _best(result)),
        notes=(
            f"The level line is the baseline on the {result.n_test} held-out pictures, with its "
            f"95 % interval; validation is measured on the {result.n_valid} carved-out ones, so "
            "compare the two in the table above, not here.",
        ),
    )


def _rate_charts(result: FineTuning) -> Iterator[Chart]:
    """The rates of all groups; no chart where nothing was trained."""
    series, still = _rate_series(result)
    if not series:
        return
    moving = [name for name in still if name in _moving_norms(result.plan)]
    frozen = [name for name in still if name not in moving]
    notes = (
        f"Frozen throughout: {', '.join(frozen)}." if frozen else "",
        f"Not trained, while the statistics of batch norms move: {', '.join(moving)}."
        if moving
        else "",
    )
    yield Chart(
        key="rate",
        title="Learning rate",
        x=_epoch_axis(result),
        y=Axis("peak of each epoch, logarithmic", is_log=True),
        series=tuple(series),
        marks=_phase_marks(result),
        notes=tuple(note for note in notes if note),
    )


def _moving_norms(plan: TrainingPlan) -> set[str]:
    """The groups of which the statistics of batch norms move in some phase."""
    groups = (group for phase in plan.phases for group in phase.groups)
    return {group.name for group in groups if group.batch_norms == "moving"}


def _rate_series(result: FineTuning) -> tuple[list[Series], list[str]]:
    """One line for all groups of equal rates, and the groups that are never trained."""
    names = dict.fromkeys(group.name for phase in result.plan.phases for group in phase.groups)
    paths: dict[tuple[tuple[float, float | None], ...], list[str]] = {}
    for name in names:
        path = tuple((row.epoch, row.rates.get(name) or None) for row in _trained(result))
        paths.setdefault(path, []).append(name)
    frozen = [n for path, group in paths.items() if not any(y for _, y in path) for n in group]
    moving = {path: group for path, group in paths.items() if any(y for _, y in path)}
    last = max(1, len(moving) - 1)
    order = list(names)
    return [
        Series(_together(group, order), path, f"t{round(k * (TONES - 1) / last)}")
        for k, (path, group) in enumerate(moving.items())
    ], frozen


def _together(group: list[str], order: list[str]) -> str:
    """The names of neighbours as a range, others as a list."""
    if len(group) == len(order) > 1:
        return "all groups"
    first = order.index(group[0])
    if len(group) > 2 and order[first : first + len(group)] == group:
        return f"{group[0]} to {group[-1]}"
    return ", ".join(group)


def _series(
    result: FineTuning, name: str, tone: str, value: Callable[[EpochRow], float | None]
) -> Series:
    return Series(name, tuple((row.epoch, value(row)) for row in result.epochs), tone)


def _finite(series: Series) -> Iterator[float]:
    return (y for _, y in series.points if y is not None and math.isfinite(y))


def _shown(share: float) -> str:
    """94.8 %, never parted at the end of a line."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _trained(result: FineTuning) -> list[EpochRow]:
    return [row for row in result.epochs if row.epoch > 0]


def _best(result: FineTuning) -> list[EpochRow]:
    return [row for row in result.epochs if row.epoch == result.best_epoch]


def _ring_words(result: FineTuning) -> str:
    if result.best_epoch == 0:
        return "The ring is epoch 0, the start, which was judged the best."
    kept = "is kept" if result.kept == "fine-tuned" else "would have been kept"
    return f"The ring is epoch {result.best_epoch}, whose network {kept}."


def _epoch_axis(result: FineTuning) -> Axis:
    """From before the first step to the last epoch, so that all charts stand in line."""
    last = max((row.epoch for row in result.epochs), default=1)
    return Axis("epoch", low=0.0, high=float(max(last, 1)), is_whole=True)


def _phase_marks(result: FineTuning) -> tuple[Mark, ...]:
    """A mark where each phase begins: after the epoch before its first."""
    marks: list[Mark] = []
    before, number = None, 0
    for row in _trained(result):
        if row.phase != before:
            number = _number_of(row.phase, number, result.plan)
            marks.append(Mark(row.epoch - 1.0, str(number), row.phase))
            before = row.phase
    return tuple(marks)


def _number_of(name: str, before: int, plan: TrainingPlan) -> int:
    """The phase's number in the plan, counted from 1: the next of that name."""
    numbers = [k for k, phase in enumerate(plan.phases, start=1) if phase.name == name]
    return next((k for k in numbers if k > before), numbers[0] if numbers else before + 1)
