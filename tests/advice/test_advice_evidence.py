"""What measured quantities are called, on either side of each threshold."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from planted_evidence import make_probes, make_similarity, make_size

from tlfeatures.advice import Similarity, Size
from tlfeatures.advice._evidence import THRESHOLDS


@pytest.mark.parametrize(
    ("n", "per_class", "expected"),
    [
        (398, 199, "small"),
        (1999, 200, "small"),
        (2000, 200, "medium"),
        (9144, 90, "medium"),
        (19_999, 20, "medium"),
        (20_000, 20, "large"),
        (30_000, 19, "small"),
    ],
)
def test_size_by_count(n: int, per_class: int, expected: str) -> None:
    assert Size(n, n // per_class, per_class).verdict == expected


@pytest.mark.parametrize(
    ("slope", "error", "says", "verdict"),
    [
        (0.041, 0.001, "still rises steeply", "small"),
        (0.039, 0.001, "still rises", "medium"),
        (0.041, 0.021, "is unclear", "medium"),
        (0.007, 0.001, "is flat", "large"),
        (0.007, 0.002, "still rises", "medium"),
        (0.003, 0.004, "is unclear", "medium"),
        (-0.02, 0.001, "is flat", "large"),
    ],
)
def test_a_clear_curve_moves_the_size_one_step(
    slope: float, error: float, says: str, verdict: str
) -> None:
    size = make_size(5000, accuracy=0.8, slope=slope, error=error)
    assert (size.curve_says, size.verdict) == (says, verdict)


def test_the_ends_of_the_scale_and_few_a_class_are_not_passed() -> None:
    assert make_size(400, slope=0.06).verdict == "small"
    assert make_size(30_000, slope=0.0).verdict == "large"
    assert make_size(5000, slope=0.0, per_class=19).verdict == "small"


def test_a_faultless_head_has_a_flat_curve_and_no_errors_to_win() -> None:
    size = make_size(400, accuracy=1.0, slope=0.0, error=0.0)
    assert (size.curve_says, size.errors_removed, size.errors_to_win) == ("is flat", None, 0.0)
    assert replace(size, slope=1e-17).curve_says == "is flat", "the arithmetic is not exact"


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.50, "similar"), (0.48, "in between"), (0.43, "in between"), (0.41, "very different")],
)
def test_confidence_is_judged_by_the_published_accuracy(confidence: float, expected: str) -> None:
    alike = Similarity(confidence=confidence, published=0.7)
    assert alike.confidence_says == alike.verdict == expected


@pytest.mark.parametrize(
    ("peak", "says"),
    [(1.0, None), (0.8, "in between"), (0.6, "very different"), (0.2, "very different")],
)
def test_an_early_peak_votes_and_a_late_one_does_not(peak: float, says: str | None) -> None:
    alike = Similarity(probes=make_probes(peak))
    assert alike.depth_says == says
    assert alike.verdict == (says or "in between")
    assert len(alike.votes) == (says is not None)


def test_an_earlier_peak_within_the_doubt_counts_for_nothing() -> None:
    alike = Similarity(probes=make_probes(0.4, ahead=0.019, error=0.01))
    assert alike.early_peak is None
    assert alike.best_earlier is alike.probes[1]


@pytest.mark.parametrize(
    ("confidence", "peak", "expected"),
    [
        ("similar", "very different", "in between"),
        ("very different", "similar", "very different"),
        ("similar", "in between", "similar"),
        ("very different", "in between", "very different"),
        ("in between", "similar", "in between"),
        ("in between", "very different", "very different"),
    ],
)
def test_in_between_gives_way_and_opposites_make_it(
    confidence: str, peak: str, expected: str
) -> None:
    assert make_similarity(confidence, peak).verdict == expected


def test_plain_data_goes_through_json() -> None:
    size, alike = make_size(400), make_similarity("similar")
    assert json.loads(json.dumps(size.to_json()))["curve_says"] == "still rises"
    found = json.loads(json.dumps(alike.to_json()))
    assert found["verdict"] == "similar"
    assert len(found["probes"]) == 5


def test_every_threshold_has_its_reason() -> None:
    assert all(len(each.reason) >= len("rule of thumb") and each.words for each in THRESHOLDS)
