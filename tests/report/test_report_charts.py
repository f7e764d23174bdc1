"""Charts: scales, ticks, labels; all in percent of the plot."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tlfeatures.report._chart import Axis, Chart, Level, Mark, Series
from tlfeatures.report._drawing import make_drawing
from tlfeatures.report._plan import share_text
from tlfeatures.report._scale import make_scale, rate_text, spread


def texts(axis: Axis, *values: float) -> list[str]:
    return [text for _, text in make_scale(axis, values).ticks]


@pytest.mark.parametrize(
    ("axis", "values", "expected"),
    [
        (Axis("x"), (0.31, 0.69), ["0.3", "0.4", "0.5", "0.6", "0.7"]),
        (Axis("x", low=0.0), (0.7,), ["0.0", "0.2", "0.4", "0.6", "0.8"]),
        (Axis("x"), (), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (Axis("x"), (3.0,), ["1", "2", "3", "4", "5"]),
        (Axis("x", low=0, high=1, is_whole=True), (), ["0", "1"]),
        (Axis("x", low=0, high=12, is_whole=True), (), ["0", "2", "4", "6", "8", "10", "12"]),
        (Axis("x", low=0, high=38, is_whole=True), (), [str(k) for k in range(0, 36, 5)]),
        (Axis("x", bounds=(0, 9), least_span=5), (8.5, 9), ["4", "5", "6", "7", "8", "9"]),
        (Axis("x", bounds=(0, 100), least_span=10), (40, 97), ["40", "60", "80", "100"]),
        (Axis("x", is_log=True), (1e-4, 1e-2), ["1e-4", "1e-3", "1e-2"]),
        (Axis("x", is_log=True), (1e-3,), ["1e-4", "1e-3", "1e-2"]),
        (Axis("x", is_log=True), (2e-3, 5e-3), ["1e-3", "2e-3", "5e-3", "1e-2"]),
        (Axis("x", is_log=True), (), ["1e-1", "2e-1", "5e-1", "1"]),
        (Axis("x", is_log=True), (1e-10, 1e-1), ["1e-10", "1e-8", "1e-6", "1e-4", "1e-2"]),
        (Axis("x", low=0.0, top=1.0), (0.4, 0.8, 50.0), ["0.0", "0.2", "0.4", "0.6", "0.8"]),
    ],
)  # fmt: skip
def test_ticks_are_round_numbers_around_the_values(
    axis: Axis, values: tuple[float, ...], expected: list[str]
) -> None:
    assert texts(axis, *values) == expected


@pytest.mark.parametrize("values", [(0.0, 0.0), (1e-12, 1e12), (-5.0, 5.0), (7.0, 7.0), (1e300,)])
def test_every_value_has_a_place_within(values: tuple[float, ...]) -> None:
    scale = make_scale(Axis("x"), values)
    assert scale.low < scale.high
    assert all(0 <= scale.place(value) <= 100 for value in values)
    assert len(scale.ticks) >= 2


def test_places_far_outside_stay_numbers() -> None:
    scale = make_scale(Axis("x", low=0.0, high=1.0), [])
    assert (scale.place(0.25), scale.place(1e300), scale.place(-1e300)) == (25, 200, -100)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-3, "1e-3"), (1 / 3000, "3.3e-4"), (0.1, "1e-1"), (1.0, "1"), (40.0, "4e1"), (0.0, "0"),
     (math.nan, "nan"), (math.inf, "inf")],
)  # fmt: skip
def test_rates_are_written_as_people_do(value: float, text: str) -> None:
    assert rate_text(value) == text


def test_shares_are_never_rounded_to_nothing_or_all() -> None:
    given = [(0, 9), (1, 10**7), (1026, 11177538), (1, 3), (999_999, 10**6), (9, 9)]
    assert [share_text(*one) for one in given] == [
        "0 %", "under 0.001 %", "0.0092 %", "33.3 %", "99.9 %", "100 %",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "places", [[], [50], [50, 50, 50], [99, 100, 98], [0, 0, 0], [10, 90], [60, 10, 61, 100]]
)
def test_labels_keep_their_distance_their_order_and_inside(places: list[float]) -> None:
    moved = spread(places, 8)
    order = sorted(range(len(places)), key=places.__getitem__)
    ends = [moved[i] for i in order]
    assert all(b - a >= 8 - 1e-9 for a, b in pairwise(ends))
    assert all(0 <= place <= 100 for place in moved)


def make_chart(n: int = 2, marks: tuple[Mark, ...] = ()) -> Chart:
    series = tuple(Series(f"line {k}", ((0, k), (100, k)), "t0") for k in range(n))
    return Chart("key", "Title", Axis("epoch", low=0, high=100), Axis("y"), series, marks=marks)


def test_lines_are_named_at_their_ends_from_top_to_bottom() -> None:
    ends = make_drawing(make_chart(3)).ends
    assert [end.text for end in sorted(ends, key=lambda end: end.y)] == [
        "line 2",
        "line 1",
        "line 0",
    ]


def test_of_many_lines_some_are_named() -> None:
    ends = make_drawing(make_chart(40)).ends
    assert len(ends) == 12
    assert (ends[0].text, ends[-1].text) == ("line 0", "line 39")


def test_long_names_lose_their_middle() -> None:
    series = (Series("features.denseblock4.denselayer16", ((0, 1.0),), "t0"),)
    chart = Chart("key", "Title", Axis("x"), Axis("y"), series)
    (end,) = make_drawing(chart).ends
    assert end.shown == "features.…nselayer16"
    assert end.text.endswith("denselayer16")


def test_marks_that_stand_close_share_a_label_and_names_need_room() -> None:
    marks = tuple(Mark(x, str(k), "phase") for k, x in enumerate((0, 1, 2, 50, 97), start=1))
    drawn = make_drawing(make_chart(marks=marks)).marks
    assert [mark.label for mark in drawn] == ["1–3", "", "", "4", "5"]
    assert [mark.name for mark in drawn] == ["", "", "", "phase", ""]


def test_a_value_between_gaps_is_a_dot_however_long_the_line_is() -> None:
    points = tuple((float(x), None if x in (50, 52) else 1.0) for x in range(100))
    chart = Chart("key", "t", Axis("x"), Axis("y"), (Series("s", points, "t0"),))
    (line,) = make_drawing(chart).lines
    assert [len(run) for run in line.runs] == [50, 1, 47]
    assert len(line.dots) == 1
    assert line.breaks == ()


def test_a_level_beyond_the_curves_is_within_the_chart() -> None:
    chart = Chart(
        "key", "t", Axis("x"), Axis("y", bounds=(0.0, 100.0), least_span=10),
        (Series("s", ((0, 50.0), (1, 51.0)), "t0"),), levels=(Level("base", 92.0, 88.0, 96.0),),
    )  # fmt: skip
    (band,) = make_drawing(chart).bands
    assert 0 <= (band.top or 0) < band.y < 100
