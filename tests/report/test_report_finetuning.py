"""Pages of training: charts, the plan, what was kept and why."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.report.parsed_page import Page
from tlfeatures.finetuning import (
    BASELINE,
    FINE_TUNED,
    EpochRow,
    FineTuning,
    GroupPlan,
    HeldOut,
    PhasePlan,
    RateSearch,
    TrainingPlan,
)
from tlfeatures.report import make_finetuning_page, make_rates_page, render_page

SIZES = {"conv1": 100, "layer1": 800, "head": 20}


def make_phase(name: str, n_epochs: int, *rates: float, schedule: str = "constant") -> PhasePlan:
    groups = (
        GroupPlan(group, size, rate, rate, norms(group, rate))
        for (group, size), rate in zip(SIZES.items(), rates, strict=True)
    )
    return PhasePlan(name, n_epochs, schedule, tuple(groups))


def norms(group: str, rate: float) -> str:
    if group == "head":
        return "none"
    return "moving" if rate else "frozen"


def make_plan(*phases: PhasePlan) -> TrainingPlan:
    return TrainingPlan(
        "ulmfit", "a paper", "resnet18", "probe", False, "SGD", 920, phases, seconds=90.0
    )


def make_epochs(plan: TrainingPlan) -> tuple[EpochRow, ...]:
    rows = [EpochRow(0, "start", None, None, 0.5, 0.8, dict.fromkeys(SIZES, 0.0), 1.0)]
    for phase in plan.phases:
        for _ in range(phase.n_epochs):
            e = len(rows)
            rates = {group.name: group.rate for group in phase.groups}
            rows.append(
                EpochRow(e, phase.name, 1 / (e + 1), 0.9, 0.4 + 1 / (e + 9), 0.85, rates, 2.0)
            )
    return tuple(rows)


UNFREEZING = make_plan(
    make_phase("head", 1, 0, 0, 1e-2),
    make_phase("layer1", 1, 0, 1e-3, 1e-2),
    make_phase("all", 3, 1e-4, 1e-3, 1e-2, schedule="slanted-triangle"),
)


@pytest.fixture
def result() -> FineTuning:
    baseline = HeldOut(0.9281, (0.8764, 0.9592), 0.924, (0.866, 0.954))
    tuned = HeldOut(0.9477, (0.9003, 0.9733), 0.944, (0.89, 0.968))
    return FineTuning(
        ["ants", "bees"], "train/val folders", 195, 49, 153, [("a.gif", "truncated")], "resnet18",
        "0123456789abcdef0123", "avgpool", UNFREEZING, make_epochs(UNFREEZING), 4, baseline, tuned,
        tuned, 0.38, FINE_TUNED, ["few pictures"], {"total": 12.0},
        {"baseline": 0.8, "fine-tuned": 0.85},
    )  # fmt: skip


def rendered(result: FineTuning) -> Page:
    return Page(render_page(make_finetuning_page(result)))


def with_epochs(result: FineTuning, change: Callable[[EpochRow], dict[str, Any]]) -> FineTuning:
    return replace(result, epochs=tuple(replace(row, **change(row)) for row in result.epochs))


def notes_of(page: Page) -> str:
    return " ".join(note["text"] for note in page.having("data-test-note"))


def test_every_value_of_every_epoch_is_in_the_charts(result: FineTuning) -> None:
    series = [
        (e["data-test-series"], e["value"]) for e in rendered(result).having("data-test-series")
    ]
    losses = [("training", "train_loss", 1), ("validation", "valid_loss", 1)]
    shares = [("training", "train_accuracy", 100), ("validation", "valid_accuracy", 100)]
    for (name, value), (expected, field, factor) in zip(series, losses + shares, strict=False):
        given = [getattr(row, field) for row in result.epochs]
        words = [f"{e}:{None if y is None else factor * y} " for e, y in enumerate(given)]
        assert (name, value) == (expected, "".join(words))


def test_groups_are_drawn_where_they_are_trained_and_only_there(result: FineTuning) -> None:
    rates = {
        e["data-test-series"]: e["value"].split()
        for e in rendered(result).having("data-test-series")[4:]
    }
    assert set(rates) == {"conv1", "layer1", "head"}
    assert rates["conv1"] == ["1:None", "2:None", "3:0.0001", "4:0.0001", "5:0.0001"]
    assert rates["head"][0] == "1:0.01"


def test_groups_of_equal_rates_share_a_line_and_frozen_ones_are_said(result: FineTuning) -> None:
    together = make_plan(make_phase("top", 2, 0, 1e-3, 1e-3))
    page = rendered(replace(result, plan=together, epochs=make_epochs(together)))
    assert page.having("data-test-series")[4]["data-test-series"] == "layer1, head"
    assert "Frozen throughout: conv1." in notes_of(page)
    group = replace(together.phases[0].groups[0], batch_norms="moving")
    phase = replace(together.phases[0], groups=(group, *together.phases[0].groups[1:]))
    moving = replace(together, phases=(phase,), note="the second layer is left aside")
    page = rendered(replace(result, plan=moving, epochs=make_epochs(moving)))
    assert not [note for note in notes_of(page) if note.startswith("Frozen throughout")]
    assert "Not trained, while the statistics of batch norms move: conv1." in notes_of(page)
    full = make_plan(make_phase("full", 2, 1e-3, 1e-3, 1e-3))
    page = rendered(replace(result, plan=full, epochs=make_epochs(full)))
    assert page.having("data-test-series")[4]["data-test-series"] == "all groups"


def test_a_line_marks_where_each_phase_begins_in_every_chart(result: FineTuning) -> None:
    marks = rendered(result).having("data-test-mark")
    places = [(float(m["data-test-mark"]), m["data-test-mark-name"]) for m in marks]
    assert places == 3 * [(0.0, "head"), (1.0, "layer1"), (2.0, "all")]
    assert [m["x1"] for m in marks[:3]] == ["0.00%", "20.00%", "40.00%"]


def test_a_phase_that_was_stopped_early_moves_the_next_and_keeps_its_number(
    result: FineTuning,
) -> None:
    plan = make_plan(make_phase("all", 5, 0, 0, 1), make_phase("all", 5, 1, 1, 1))
    twice = replace(plan, phases=(*plan.phases, make_phase("last", 9, 1, 1, 1)))
    rows = make_epochs(make_plan(make_phase("all", 2, 0, 0, 1), make_phase("last", 2, 1, 1, 1)))
    page = rendered(replace(result, plan=twice, epochs=rows))
    labels = [t["text"] for t in page.tags("text") if t["text"].endswith(("all", "last"))]
    assert labels[:2] == ["1all", "3last"]


def test_the_baseline_is_a_level_with_its_interval_beside_the_curves(result: FineTuning) -> None:
    page = rendered(result)
    (level,) = page.having("data-test-level")
    assert float(level["data-test-level"]) == pytest.approx(92.81)
    (band,) = [rect for rect in page.tags("rect") if rect["class"] == "band"]
    assert float(band["height"][:-1]) > 10
    assert "baseline" in [end["text"] for end in page.having("data-test-end")]
    assert "153 held-out pictures" in notes_of(page)


def test_scores_stand_in_the_table_with_their_intervals(result: FineTuning) -> None:
    rows = rendered(result).having("data-test-accuracy")
    assert [float(row["data-test-accuracy"]) for row in rows] == [0.9281, 0.9477]
    assert rows[0]["text"].split() == ["92.8", "87.6", "to", "95.9"]
    (kept,) = rendered(result).having("data-test-chosen")
    assert kept["data-test-head"] == "fine-tuned: ulmfit"


def verdict(result: FineTuning) -> str:
    parts = rendered(result).having("data-test-part")
    (text,) = [part["text"] for part in parts if part["data-test-part"] == "verdict"]
    return " ".join(text.split())


def test_it_says_what_was_kept_on_which_pictures_and_how_sure_that_is(result: FineTuning) -> None:
    words = verdict(result)
    assert "fine-tuned network replaces the baseline" in words
    assert "49 pictures carved out" in words
    assert "epoch 4 was judged the best, it reached 85.0 %; the baseline reached 80.0 %" in words
    assert "differs by +2.0 points, p = 0.38" in words
    assert "neither is shown to be better" in words


def test_a_baseline_that_stays_is_said_everywhere(result: FineTuning) -> None:
    final = replace(result.baseline, accuracy=0.9411)  # fitted once more, on all pictures given
    stays = replace(result, kept=BASELINE, final=final, best_epoch=0, p_value=0.001)
    words = verdict(stays)
    assert "The baseline is kept" in words
    assert "the start, epoch 0, was judged the best, it reached 80.0 %" in words
    assert "chance rarely makes" in words
    page = make_finetuning_page(stays)
    assert "classifier on resnet18 codes stays; it reaches 94.1" in page.lead
    assert [row.chosen for row in page.heads] == [False, False, True]
    assert [row.accuracy for row in page.heads] == [0.9281, 0.9477, 0.9411]


def test_a_random_head_is_not_taken_for_the_baseline(result: FineTuning) -> None:
    start = replace(result, plan=replace(result.plan, head_start="random"))
    assert "epoch 0" not in verdict(start)
    assert "a random head" in render_page(make_finetuning_page(start))
    assert "McNemar" not in verdict(replace(result, p_value=math.nan))


def test_the_plan_says_rate_and_batch_norms_of_every_group_in_every_phase(
    result: FineTuning,
) -> None:
    page = rendered(result)
    assert [e["data-test-phase"] for e in page.having("data-test-phase")] == [
        "head",
        "layer1",
        "all",
    ]
    assert [int(e["data-test-trained"]) for e in page.having("data-test-trained")] == [20, 820, 920]
    assert [e["data-test-group"] for e in page.having("data-test-group")] == list(SIZES)
    cells = page.having("data-test-rate")
    assert [float(c["data-test-rate"]) for c in cells[:3]] == [0, 0, 1e-4]
    assert [c["text"].strip() for c in cells[:3]] == [
        "frozennorms frozen", "frozennorms frozen", "1e-4norms move",
    ]  # fmt: skip
    assert cells[-1]["text"].strip() == "1e-2"  # a head has no batch norms


def test_rates_that_fall_within_a_group_and_notes_are_shown(result: FineTuning) -> None:
    group = GroupPlan("features", 900, 1e-4, 1e-7, "moving", "its stem is left out")
    plan = make_plan(*(PhasePlan(name, 1, "cosine", (group,)) for name in "ab"))
    page = rendered(replace(result, plan=plan))
    assert page.having("data-test-rate")[0]["text"].startswith("1e-7 to 1e-4")
    (note,) = page.having("data-test-plan-note")
    assert note["text"] == "features: its stem is left out"


def test_warnings_and_bad_pictures_are_listed(result: FineTuning) -> None:
    text = rendered(result).tags("html")[0]["text"]
    assert "few pictures" in text
    assert "a.gif" in text
    assert "truncated" in text


def test_a_diverged_loss_breaks_off_and_is_said(result: FineTuning) -> None:
    lost = with_epochs(result, lambda row: {"train_loss": math.nan} if row.epoch >= 4 else {})
    page = rendered(lost)
    assert len(page.having("data-test-break")) == 1
    assert "Training: no number from epoch 4 on, the line breaks off there: diverged." in notes_of(
        page
    )
    assert "Validation: no number" not in notes_of(page)


def test_a_number_missing_in_the_middle_is_a_gap(result: FineTuning) -> None:
    lost = with_epochs(result, lambda row: {"valid_loss": math.inf} if row.epoch == 2 else {})
    page = rendered(lost)
    assert "Validation: no number at 1 point, the first at epoch 2." in notes_of(page)
    loss = render_page(make_finetuning_page(lost)).split('data-test-chart="accuracy"')[0]
    assert loss.count('<polyline class="line valid"') == 2


def test_an_exploding_loss_leaves_the_chart_instead_of_flattening_it(result: FineTuning) -> None:
    high = with_epochs(result, lambda row: {"valid_loss": 9100.0} if row.epoch == 5 else {})
    page = rendered(high)
    assert "Validation: above the chart at 1 point, the first at epoch 5, up to 9.1e3." in notes_of(
        page
    )
    ticks = [float(tick["text"]) for tick in page.having("data-test-y-tick")[:6]]
    assert max(ticks) < 1


@pytest.mark.parametrize("n", [0, 1, 2, 41, 200])
def test_any_number_of_epochs_is_drawn(result: FineTuning, n: int) -> None:
    plan = make_plan(*([make_phase("all", n, 1e-4, 1e-3, 1e-2)] if n else []))
    page = rendered(replace(result, plan=plan, epochs=make_epochs(plan), best_epoch=n))
    ticks = [tick["text"] for tick in page.having("data-test-x-tick")]
    assert ticks[0] == "0"
    assert 2 <= len(ticks) / (3 if n else 2) <= 12
    assert len(page.having("data-test-epoch")) == n + 1
    dots = [circle for circle in page.tags("circle") if circle["class"].startswith("dot")]
    assert len(dots) == (0 if n > 40 else 2 * (2 * n + 1) + 3 * n)
    for element in page.elements:
        for key in ("x1", "y1", "cx", "cy", "x", "y"):
            assert "nan" not in str(element.get(key))


def test_nothing_but_lost_numbers_still_makes_a_page(result: FineTuning) -> None:
    lost = with_epochs(result, lambda row: {"train_loss": math.nan, "valid_loss": math.nan})
    page = rendered(lost)
    assert "Validation: no number from epoch 0 on" in notes_of(page)
    assert [e["data-test-chart"] for e in page.having("data-test-chart")] == [
        "loss", "accuracy", "rate",
    ]  # fmt: skip


def test_markup_in_names_is_escaped_and_nothing_is_fetched(result: FineTuning) -> None:
    evil = "<script>alert('x')</script>\"><img src=x>"
    plan = make_plan(PhasePlan(evil, 2, evil, (GroupPlan(evil, 3, 1e-3, 1e-3, evil, evil),)))
    rows = tuple(replace(row, rates={evil: 1e-3}) for row in make_epochs(plan))
    odd = replace(result, plan=replace(plan, recipe=evil, source=evil), epochs=rows,
                  classes=[evil], protocol=evil, warnings=[evil])  # fmt: skip
    html = render_page(make_finetuning_page(odd, title=evil, lead=evil))
    parsed = Page(html)
    assert parsed.tags("script") == parsed.tags("img") == []
    assert not re.search(r"https?:|@import|url\(|<link|<iframe|<base", html)
    assert "prefers-color-scheme: dark" in html


def test_a_chart_can_be_heard(result: FineTuning) -> None:
    svgs = [svg["aria-label"] for svg in rendered(result).tags("svg") if "aria-label" in svg]
    (loss,) = [words for words in svgs if words.startswith("Loss")]
    assert loss == (
        "Loss, mean cross-entropy, nats: training from 0.5 to 0.167; validation from 0.5 to 0.471"
    )


@pytest.fixture
def finder() -> RateSearch:
    rates = tuple(10 ** (-5 + k / 4) for k in range(21))
    losses = (*(0.7 - 0.02 * k for k in range(18)), 9.0, math.inf, math.nan)
    return RateSearch(rates, losses, 3.2e-3, UNFREEZING)


def test_the_finders_page_marks_the_suggested_rate(finder: RateSearch) -> None:
    page = Page(render_page(make_rates_page(finder)))
    (mark,) = page.having("data-test-mark")
    assert float(mark["data-test-mark"]) == 3.2e-3
    assert mark["x1"] == f"{100 * (math.log10(3.2e-3) + 5) / 5:.2f}%"
    ticks = [tick["text"] for tick in page.having("data-test-x-tick")]
    assert ticks == ["1e-5", "1e-4", "1e-3", "1e-2", "1e-1", "1"]
    text = page.tags("html")[0]["text"]
    assert "The suggested rate is 3.2e-3." in text
    (series,) = page.having("data-test-series")
    assert len(series["value"].split()) == 21


def test_the_finders_page_says_where_it_diverged(finder: RateSearch) -> None:
    notes = notes_of(Page(render_page(make_rates_page(finder))))
    assert "Loss: no number from learning rate 5.6e-1 on" in notes
    assert "Loss: above the chart at 1 point, the first at learning rate 3.2e-1, up to 9." in notes


def test_a_finder_without_a_suggestion_says_so(finder: RateSearch) -> None:
    none = replace(finder, suggested=math.nan, losses=(math.nan,) * 21)
    page = Page(render_page(make_rates_page(none)))
    assert page.having("data-test-mark") == []
    assert "No rate can be suggested" in page.tags("html")[0]["text"]
    assert none.to_json()["plan"]["recipe"] == "ulmfit"
