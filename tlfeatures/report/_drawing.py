"""Where each stroke of a chart goes, in percent of the plot; the template only writes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import TypeGuard

from tlfeatures.report._chart import Axis, Chart, Level, Mark, Series
from tlfeatures.report._scale import Scale, make_scale, rate_text, spread

MOST_DOTS = 40  # points of a line that are dotted; more would run together
LABEL_GAP = 8.5  # percent of the height: a line of text
MOST_LABELS, MOST_LETTERS = 12, 20
MARK_GAP = 4.0  # percent of the width: a number of one or two digits
PLOT_PIXELS, LETTER_PIXELS = 640, 7.5  # of a page on a desk, to see which names fit

Place = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One series: runs of places, single places, places where it breaks off.

    Attributes
    ----------
    series : Series
    runs : tuple of tuple of Place
    dots, breaks : tuple of Place
    """

    series: Series
    runs: tuple[tuple[Place, ...], ...]
    dots: tuple[Place, ...]
    breaks: tuple[Place, ...]


@dataclass(frozen=True)
class Band:
    """A level's line and its interval; y grows downwards."""

    level: Level
    y: float
    top: float | None
    height: float | None


@dataclass(frozen=True)
class EndLabel:
    """A name at the right edge, and as much of it as has room."""

    y: float
    text: str
    shown: str
    tone: str


@dataclass(frozen=True)
class MarkLabel:
    """A vertical line and what stands above it."""

    x: float
    label: str
    name: str
    mark: Mark


@dataclass(frozen=True)
class Drawing:
    """All strokes of one chart; x grows to the right, y downwards, both 0..100."""

    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    bands: tuple[Band, ...]
    marks: tuple[MarkLabel, ...]
    rings: tuple[Place, ...]
    ends: tuple[EndLabel, ...]
    notes: tuple[str, ...]
    words: str
    is_clipped: bool


def make_drawing(chart: Chart) -> Drawing:
    """Place everything of a chart.

    Parameters
    ----------
    chart : Chart

    Returns
    -------
    Drawing
        Its notes are the chart's and what became of values that cannot be drawn.
    """
    x = make_scale(chart.x, [x for s in chart.series for x, _ in s.points] + _mark_places(chart))
    y = make_scale(chart.y, list(_heights(chart)))
    lines = tuple(_line(series, x, y) for series in chart.series)
    bands = tuple(_band(level, y) for level in chart.levels)
    return Drawing(
        x_ticks=tuple((x.place(value), text) for value, text in x.ticks),
        y_ticks=tuple((100 - y.place(value), text) for value, text in y.ticks),
        lines=lines,
        bands=bands,
        marks=_mark_labels(chart.marks, x),
        rings=tuple((x.place(a), 100 - y.place(b)) for a, b in chart.rings if _is_drawn(b, y)),
        ends=_end_labels(lines, bands),
        notes=(*chart.notes, *(note for s in chart.series for note in _troubles(s, chart))),
        words=_words(chart),
        is_clipped=any(value > y.high for value in _heights(chart)),
    )


def _mark_places(chart: Chart) -> list[float]:
    return [mark.x for mark in chart.marks]


def _heights(chart: Chart) -> Iterator[float]:
    """Every finite value that the vertical axis must have room for."""
    for series in chart.series:
        yield from (y for _, y in series.points if y is not None and math.isfinite(y))
    for level in chart.levels:
        yield from (y for y in (level.y, level.low, level.high) if y is not None)


def _is_drawn(value: float | None, scale: Scale) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and (value > 0 or not scale.is_log)


def _line(series: Series, x: Scale, y: Scale) -> Line:
    runs: list[list[Place]] = [[]]
    breaks = []
    for at, value in series.points:
        if _is_drawn(value, y):
            runs[-1].append((x.place(at), 100 - y.place(value)))
            continue
        if runs[-1] and value is not None and runs[-1][-1][1] >= 0:
            breaks.append(runs[-1][-1])
        runs.append([])
    kept = tuple(tuple(run) for run in runs if run)
    is_sparse = sum(map(len, kept)) <= MOST_DOTS
    dots = [p for run in kept for p in run if (is_sparse or len(run) == 1) and 0 <= p[1] <= 100]
    return Line(series, kept, tuple(dots), tuple(breaks))


def _band(level: Level, y: Scale) -> Band:
    middle = 100 - y.place(level.y)
    if level.low is None or level.high is None:
        return Band(level, middle, None, None)
    top, bottom = 100 - y.place(level.high), 100 - y.place(level.low)
    return Band(level, middle, top, bottom - top)


def _end_labels(lines: tuple[Line, ...], bands: tuple[Band, ...]) -> tuple[EndLabel, ...]:
    """Names beside the last value of each line, moved apart."""
    drawn = [line for line in lines if line.runs]
    if len(drawn) > MOST_LABELS:  # some, evenly, with the first and the last
        last = len(drawn) - 1
        drawn = [drawn[round(k * last / (MOST_LABELS - 1))] for k in range(MOST_LABELS)]
    named = [(line.runs[-1][-1][1], line.series.name, line.series.tone) for line in drawn]
    named += [(band.y, band.level.name, "level") for band in bands]
    places = spread([min(max(y, 0.0), 100.0) for y, _, _ in named], LABEL_GAP)
    return tuple(
        EndLabel(place, text, _shorten(text), tone)
        for place, (_, text, tone) in zip(places, named, strict=True)
    )


def _shorten(text: str) -> str:
    """Without its middle if it is long: names of layers differ at their ends."""
    half = MOST_LETTERS // 2
    return text if len(text) <= MOST_LETTERS else f"{text[: half - 1]}…{text[-half:]}"


def _mark_labels(marks: tuple[Mark, ...], x: Scale) -> tuple[MarkLabel, ...]:
    """Lines with their labels; of labels that would overlap one stands for all, as 1-5."""
    places = [x.place(mark.x) for mark in marks]
    labels = [mark.label for mark in marks]
    first = 0
    for i in range(1, len(marks)):
        if places[i] - places[first] < MARK_GAP:
            labels[first], labels[i] = f"{marks[first].label}–{marks[i].label}", ""
        else:
            first = i
    shown = []
    for i, mark in enumerate(marks):
        following = [p for p, label in zip(places[i + 1 :], labels[i + 1 :], strict=True) if label]
        room = ((following[0] if following else 100.0) - places[i]) * PLOT_PIXELS / 100
        is_single = labels[i] == mark.label
        needed = LETTER_PIXELS * (len(mark.label) + len(mark.name) + 4)
        name = mark.name if is_single and needed <= room else ""
        shown.append(MarkLabel(places[i], labels[i], name, mark))
    return tuple(shown)


def _troubles(series: Series, chart: Chart) -> Iterator[str]:
    """What cannot be drawn, in words."""
    at = _namer(chart.x)
    given = [(x, y) for x, y in series.points if y is not None]
    name = series.name.capitalize()
    lost = [x for x, y in given if not math.isfinite(y)]
    if lost and not math.isfinite(given[-1][1]):
        first = at(_first_of_last_run(given))
        yield f"{name}: no number from {first} on, the line breaks off there: diverged."
    elif lost:
        yield f"{name}: no number at {_points(lost)}, the first at {at(lost[0])}."
    top = math.inf if chart.y.top is None else chart.y.top
    high = [(x, y) for x, y in given if top < y < math.inf]
    if high:
        most = rate_text(max(y for _, y in high))
        first = at(high[0][0])
        yield f"{name}: above the chart at {_points(high)}, the first at {first}, up to {most}."


def _points(found: Sized) -> str:
    return "1 point" if len(found) == 1 else f"{len(found)} points"


def _namer(axis: Axis) -> Callable[[float], str]:
    """How a place on the axis is called, as "epoch 7"."""
    quantity = axis.label.split(",")[0]
    return lambda x: f"{quantity} {rate_text(x) if axis.is_log else f'{x:g}'}"


def _first_of_last_run(given: list[tuple[float, float]]) -> float:
    """Where the values that are no numbers at the end begin."""
    at = given[-1][0]
    for x, y in reversed(given):
        if math.isfinite(y):
            break
        at = x
    return at


def _words(chart: Chart) -> str:
    """The chart for those who cannot see it."""
    parts = []
    for series in chart.series:
        seen = [y for _, y in series.points if y is not None and math.isfinite(y)]
        if seen:
            parts.append(f"{series.name} from {seen[0]:.3g} to {seen[-1]:.3g}")
    parts += [f"{level.name} {level.y:.3g}" for level in chart.levels]
    return f"{chart.title}, {chart.y.label}: {'; '.join(parts) or 'no values'}"
