"""A line chart as plain data: what is to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[float, float | None]


@dataclass(frozen=True)
class Axis:
    """One axis.

    Parameters
    ----------
    label : str
        What is measured, with its unit.
    low, high : float or None
        Where it ends; None: at a round number that leaves room for all values.
    is_log : bool
        In powers of ten; values that are not above 0 are left out.
    is_whole : bool
        Only whole numbers are written at it.
    bounds : tuple of two float or None
        It never goes beyond, as 0 and 100 of percentages.
    least_span : float
        So that differences of nothing do not fill the chart.
    top : float or None
        Values above leave the chart at its edge, and are told in words.
    """

    label: str
    low: float | None = None
    high: float | None = None
    is_log: bool = False
    is_whole: bool = False
    bounds: tuple[float, float] | None = None
    least_span: float = 0.0
    top: float | None = None


@dataclass(frozen=True)
class Series:
    """One line, named at its end.

    Parameters
    ----------
    name : str
    points : tuple of (x, y)
        y None: not measured, the line has a gap; nan or inf: the line breaks off, and it is said.
    tone : str
        The style sheet's name of its colour.
    """

    name: str
    points: tuple[Point, ...]
    tone: str


@dataclass(frozen=True)
class Level:
    """A horizontal line, named at its end, with the band of its interval."""

    name: str
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Mark:
    """A vertical line; its name is left out where there is no room for it, its label is not."""

    x: float
    label: str
    name: str = ""


@dataclass(frozen=True)
class Chart:
    """Lines over one axis.

    Parameters
    ----------
    key : str
        What tests know it by.
    title : str
    x, y : Axis
    series : tuple of Series
    levels : tuple of Level
    marks : tuple of Mark
        By ascending x.
    rings : tuple of (x, y)
        Points to be seen first.
    notes : tuple of str
        How to read it.
    """

    key: str
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    marks: tuple[Mark, ...] = ()
    rings: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = ()
