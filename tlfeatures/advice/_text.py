"""The advice as text a person reads: what to do, by which rule, on what evidence, at what cost."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tlfeatures.advice._costs import EPOCHS, minutes_words
from tlfeatures.advice._evidence import (
    OTHER_THRESHOLDS,
    SIMILARITY_THRESHOLDS,
    SIZE_THRESHOLDS,
    Similarity,
    Size,
)
from tlfeatures.advice._rules import NONE, STRATEGIES, Recommendation

if TYPE_CHECKING:
    from tlfeatures.advice._advise import Advice
    from tlfeatures.advice._verify import Outcome

WIDTH, NAME = 100, 16


def advice_text(advice: Advice) -> str:
    """All of it, at most 100 columns wide."""
    lines = [
        *textwrap.wrap(advice.choice.sentence, WIDTH),
        "",
        *_rule_lines(advice.choice),
        *_row("settle it", advice.experiment),
        "",
        *_row("measured on", f"the training side alone ({advice.protocol})"),
        "",
        *_size_lines(advice.size),
        "",
        *_similarity_lines(advice.similarity),
        "",
        *_cost_lines(advice),
    ]
    if advice.outcome is not None:
        lines += ["", *outcome_lines(advice.outcome)]
    return "\n".join([*lines, "", *_threshold_lines()])


def _rule_lines(choice: Recommendation) -> Iterator[str]:
    source = (
        "a rule of our own" if choice.document == NONE else f"{choice.document}; documents.md, F"
    )
    yield from _row("rule", f"{choice.rule} [{source}]")
    for words in choice.agreeing:
        yield from _row("agrees", words)
    for why in dict.fromkeys(other.why for other in choice.disagreeing):
        others = [f"{o.document}: {o.says}" for o in choice.disagreeing if o.why == why]
        yield from _row("disagrees", f"{'; '.join(others)}. Not followed: {why}")


def _size_lines(size: Size) -> Iterator[str]:
    yield f"size: {size.verdict}"
    yield from _row(
        "training",
        f"{size.n:,} pictures in {size.n_classes:,} classes, {size.per_class:,} in the median one",
    )
    for point in size.curve:
        accuracy = f"{_percent(point.accuracy)} % +- {_percent(point.standard_error)}"
        yield from _row("trained on", f"{point.n:>6,}: {accuracy} right, held out")
    if size.slope is None or size.standard_error is None:
        yield from _row("a doubling", "could not be measured: too few pictures")
        return
    removed = size.errors_removed
    share = "" if removed is None else f", {100 * removed:.0f} % of the errors"
    gain = f"{100 * size.slope:+.1f} points +- {_percent(size.standard_error)}{share}"
    yield from _row("a doubling", f"{gain}: the curve {size.curve_says}")


def _similarity_lines(similarity: Similarity) -> Iterator[str]:
    known = similarity.verdict if similarity.votes else "unknown"
    yield f"similarity to what the network was trained on: {known}"
    yield from _row("looked at", f"{similarity.n:,} pictures, spread over the classes")
    yield from _confidence_lines(similarity)
    for probe in similarity.probes:
        mark = " <- peak" if probe is similarity.peak and len(similarity.probes) > 1 else ""
        ahead = f" ({100 * probe.ahead:+.1f} +- {_percent(probe.standard_error)})"
        is_last = probe is similarity.probes[-1]
        shown = f"{_percent(probe.accuracy):>5} %{'' if is_last else ahead}"
        yield from _row(f"depth {probe.depth:.2f}", f"{shown} {probe.layer}{mark}")
    if similarity.best_earlier is not None:
        says = similarity.depth_says or "nothing, it mostly lies at the last depth"
        yield from _row("", f"the peak says: {says}")
    if similarity.batch_norms is not None:
        yield from _row(
            "batch norms",
            f"inputs lie {similarity.batch_norms:.2f} standard deviations from the stored means "
            "(shown only)",
        )
    for name, why in similarity.missing.items():
        yield from _row(name.replace("_", " "), f"not measured: {why}")


def _confidence_lines(similarity: Similarity) -> Iterator[str]:
    if similarity.relative_confidence is None or similarity.published is None:
        return
    yield from _row(
        "confidence",
        f"{_percent(similarity.confidence or 0)} %, where its accuracy is "
        f"{_percent(similarity.published)} %: {100 * similarity.relative_confidence:.0f} % of the "
        f"usual, {similarity.confidence_says}",
    )
    if similarity.entropy is not None:
        yield from _row("entropy", f"{_percent(similarity.entropy)} % of a guess's (shown only)")


def _cost_lines(advice: Advice) -> Iterator[str]:
    yield "cost on this machine, estimated"
    for strategy in STRATEGIES:
        minutes = advice.minutes[strategy]
        if minutes is None:
            words = "could not be timed"
        else:
            epochs = f" for {EPOCHS[strategy]} epochs at most" if strategy in EPOCHS else ""
            words = f"{minutes_words(minutes)}{epochs}"
        mark = " <- recommended" if strategy == advice.choice.strategy else ""
        yield from _row(strategy, f"{words}{mark}")


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """Prediction beside outcome."""
    yield f"tried, scored on the held-out side ({outcome.epochs} epochs where a network is trained)"
    for row in outcome.candidates:
        if row.score is None:
            yield from _row(row.strategy, row.note)
            continue
        low, high = row.score.ci95
        p = "" if row.p_value is None else f", against codes p = {row.p_value:.3f}"
        mark = " <- predicted" if row.strategy == outcome.predicted else ""
        interval = f"({_percent(low)} to {_percent(high)})"
        took = f"{row.seconds:.0f} s"
        note = f"; {row.note}" if row.note else ""
        yield from _row(
            row.strategy,
            f"{_percent(row.score.accuracy):>5} % {interval}{p}, {took}{note}{mark}",
        )
    yield from _row("outcome", outcome.words)


def _threshold_lines() -> Iterator[str]:
    yield "What the words mean here is a first guess, the documents do not say:"
    for threshold in (*SIZE_THRESHOLDS, *SIMILARITY_THRESHOLDS, *OTHER_THRESHOLDS):
        words = f"- {threshold.words} ({threshold.reason})"
        yield from textwrap.wrap(words, WIDTH, subsequent_indent="  ")


def _row(name: str, words: str) -> list[str]:
    """A name and its words beside it."""
    if not name:
        name = " "
    return textwrap.wrap(
        f"  {name:<{NAME}}{words}",
        WIDTH,
        subsequent_indent=" " * (NAME + 2),
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
