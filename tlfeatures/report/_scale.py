"""From values to places on an axis, and the numbers written at it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tlfeatures.report._chart import Axis

WANTED_STEPS = 5
WANTED_WHOLE_STEPS = 10
MOST_DECADES = 7  # more, and every second one is written
BEYOND = 100.0  # percent: how far outside of the plot a place may lie


@dataclass(frozen=True)
class Scale:
    """Places along an axis, in percent of its length.

    Attributes
    ----------
    low, high : float
    is_log : bool
    ticks : tuple of (value, text)
    """

    low: float
    high: float
    is_log: bool
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """0 at the low end, 100 at the high one; values far outside stay near."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log10(low), math.log10(high), math.log10(value)
        return min(max(100 * (at - low) / (high - low), -BEYOND), 100 + BEYOND)


def make_scale(axis: Axis, values: Sequence[float]) -> Scale:
    """The scale of an axis that has room for the values.

    Parameters
    ----------
    axis : Axis
    values : sequence of float
        Finite; on a logarithmic axis those not above 0 are left out.
    """
    if axis.top is not None:
        values = [value for value in values if value <= axis.top]
    if axis.is_log:
        return _log_scale([value for value in values if value > 0])
    low, high = _ends(axis, values)
    wanted = WANTED_WHOLE_STEPS if axis.is_whole else WANTED_STEPS
    step = _round_step((high - low) / wanted, is_whole=axis.is_whole)
    if axis.low is None:
        low = _bounded(axis, math.floor(low / step + 1e-9) * step)
    if axis.high is None:
        high = _bounded(axis, math.ceil(high / step - 1e-9) * step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    ticks = tuple((k * step, f"{k * step:.{digits}f}") for k in range(first, last + 1))
    return Scale(low, high, False, ticks)


def rate_text(value: float) -> str:
    """A learning rate as people write it: 1e-3, 3.3e-4, 0.

    Examples
    --------
    >>> rate_text(0.001), rate_text(1 / 3000), rate_text(2)
    ('1e-3', '3.3e-4', '2')
    """
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    digits, _, power = f"{value:.1e}".partition("e")
    digits = digits.removesuffix(".0")
    return digits if int(power) == 0 else f"{digits}e{int(power)}"


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places in 0..100 apart, so that labels there do not overlap.

    Examples
    --------
    >>> spread([50, 50, 10], 8)
    [50, 58, 10]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    least = 0.0
    for i in order:
        moved[i] = max(moved[i], least)
        least = moved[i] + gap
    most = 100.0
    for i in reversed(order):
        moved[i] = min(moved[i], most)
        most = moved[i] - gap
    return moved


def _ends(axis: Axis, values: Sequence[float]) -> tuple[float, float]:
    """Where the axis must at least reach, wide enough to divide by."""
    low = axis.low if axis.low is not None else min(values, default=0.0)
    high = axis.high if axis.high is not None else max(values, default=1.0)
    short = max(axis.least_span, abs(low) * 1e-6, 1e-12) - (high - low)
    if short > 0:
        short = short if axis.least_span else max(abs(low), 1.0)
        share = 0.5 if axis.low is None else 0.0
        low, high = low - share * short, high + (1 - share) * short
    if axis.bounds is None:
        return low, high
    shift = max(0.0, axis.bounds[0] - low) - max(0.0, high - axis.bounds[1])
    return _bounded(axis, low + shift), _bounded(axis, high + shift)


def _bounded(axis: Axis, value: float) -> float:
    return value if axis.bounds is None else min(max(value, axis.bounds[0]), axis.bounds[1])


def _round_step(least: float, *, is_whole: bool) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))
    return max(1.0, round(step)) if is_whole else step


def _log_scale(values: Sequence[float]) -> Scale:
    """From the power of ten below all values to the one above."""
    first = math.floor(math.log10(min(values, default=0.1)) + 1e-9)
    last = math.ceil(math.log10(max(values, default=1.0)) - 1e-9)
    if first == last:  # one value, a power of ten
        first, last = first - 1, last + 1
    every = 1 if last - first <= MOST_DECADES else 2
    factors = [1, 2, 5] if last - first == 1 else [1]
    found = [m * 10.0**k for k in range(first, last + 1, every) for m in factors]
    low, high = 10.0**first, 10.0**last
    ticks = tuple((v, rate_text(v)) for v in found if v <= high * (1 + 1e-9))
    return Scale(low, high, True, ticks)
