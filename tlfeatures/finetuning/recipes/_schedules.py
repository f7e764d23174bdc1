"""How a rate changes within a phase: factors between 0 and 1 of its peak. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Callable

ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 1 / 25, 1e-4 / 25  # torch's OneCycleLR
TRIANGLE_RISE, TRIANGLE_RATIO = 0.1, 32.0  # Howard & Ruder 2018


def constant(t: float) -> float:
    """Always 1."""
    return 1.0


def cosine(t: float) -> float:
    """From 1 to 0 along half a cosine (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * t))


def one_cycle(t: float) -> float:
    """Up from 1/25 for three tenths, then down to nearly nothing (Smith & Topin 2018)."""
    if t < ONE_CYCLE_RISE:
        return _between(ONE_CYCLE_START, 1.0, t / ONE_CYCLE_RISE)
    return _between(1.0, ONE_CYCLE_END, (t - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))


def slanted_triangle(t: float) -> float:
    """Up for a tenth, then slowly down to 1/32, in straight lines (Howard & Ruder 2018)."""
    p = t / TRIANGLE_RISE if t < TRIANGLE_RISE else (1 - t) / (1 - TRIANGLE_RISE)
    return (1 + p * (TRIANGLE_RATIO - 1)) / TRIANGLE_RATIO


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "one-cycle": one_cycle,
    "slanted-triangle": slanted_triangle,
}


def _between(start: float, end: float, t: float) -> float:
    return end + (start - end) * cosine(t)
