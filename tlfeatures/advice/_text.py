"""The parts of the advice as lines that a person reads, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from tlfeatures.advice._costs import EPOCHS, minutes_words
from tlfeatures.advice._evidence import THRESHOLDS, Similarity, Size
from tlfeatures.advice._rules import Recommendation

WIDTH, NAME = 100, 16


def choice_lines(choice: Recommendation, experiment: str) -> Iterator[str]:
    """What to do, by which rule, who disagrees, and what would settle it."""
    yield from textwrap.wrap(choice.sentence, WIDTH)
    yield ""
    yield from row("rule", f"{choice.rule} [{choice.source}]")
    for other in choice.disagreeing:
        yield from row("disagrees", f"{other.source}: {other.says}. Not followed: {other.why}")
    yield from row("settle it", experiment)


def size_lines(size: Size) -> Iterator[str]:
    """Counts and learning curve."""
    yield f"size: {size.verdict}"
    yield from row(
        "training",
        f"{size.n:,} pictures in {size.n_classes:,} classes, {size.per_class:,} in the median one",
    )
    for point in size.curve:
        accuracy = f"{percent(point.accuracy)} % +- {percent(point.standard_error)}"
        yield from row("trained on", f"{point.n:>6,}: {accuracy} right, held out")
    if size.slope is None or size.standard_error is None:
        yield from row("a doubling", "could not be measured: too few pictures")
        return
    removed = size.errors_removed
    share = "" if removed is None else f", {100 * removed:.0f} % of the errors"
    gain = f"{100 * size.slope:+.1f} points +- {percent(size.standard_error)}{share}"
    yield from row("a doubling", f"{gain}: the curve {size.curve_says}")


def similarity_lines(similarity: Similarity) -> Iterator[str]:
    """Confidence and probes, or why they are missing."""
    known = similarity.verdict if similarity.votes else "unknown"
    yield f"similarity to what the network was trained on: {known}"
    yield from row("looked at", f"{similarity.n:,} pictures, spread over the classes")
    if similarity.relative_confidence is not None:
        yield from row(
            "confidence",
            f"{percent(similarity.confidence or 0)} %, where its accuracy is "
            f"{percent(similarity.published or 0)} %: {100 * similarity.relative_confidence:.0f} % "
            f"of the usual, {similarity.confidence_says}",
        )
    for probe in similarity.probes:
        is_last = probe is similarity.probes[-1]
        ahead = "" if is_last else f" ({100 * probe.ahead:+.1f} +- {percent(probe.standard_error)})"
        mark = " <- peak" if probe is similarity.early_peak else ""
        yield from row(
            f"depth {probe.depth:.2f}",
            f"{percent(probe.accuracy):>5} %{ahead} {probe.layer}{mark}",
        )
    if similarity.best_earlier is not None:
        says = similarity.depth_says or "nothing, it mostly lies at the last depth"
        yield from row("", f"the peak says: {says}")
    for name, why in similarity.missing.items():
        yield from row(name, f"not measured: {why}")


def cost_lines(minutes: Mapping[str, float | None], recommended: str) -> Iterator[str]:
    """What each strategy costs."""
    yield "cost on this machine, estimated"
    for strategy, cost in minutes.items():
        epochs = f" for {EPOCHS[strategy]} epochs at most" if strategy in EPOCHS else ""
        words = "could not be timed" if cost is None else f"{minutes_words(cost)}{epochs}"
        mark = " <- recommended" if strategy == recommended else ""
        yield from row(strategy, f"{words}{mark}")


def threshold_lines() -> Iterator[str]:
    """Where the words begin and end, and why there."""
    yield "What the words mean here is a first guess, no rule of the field says it:"
    for threshold in THRESHOLDS:
        words = f"- {threshold.words} ({threshold.reason})"
        yield from textwrap.wrap(words, WIDTH, subsequent_indent="  ")


def row(name: str, words: str) -> list[str]:
    """A name and its words beside it."""
    return textwrap.wrap(
        f"{name:<{NAME}}{words}" if name else words,
        WIDTH,
        initial_indent="  " if name else " " * (NAME + 2),
        subsequent_indent=" " * (NAME + 2),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def percent(share: float) -> str:
    """0.123 -> "12.3"."""
    return f"{100 * share:.1f}"
