"""Signals of similarity from numbers whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tlfeatures.advice import Similarity
from tlfeatures.advice._similarity import head_answers, probe_depths

MakeCodes = Callable[..., tuple[NDArray[np.float32], NDArray[np.str_]]]
NAMES = [("early", 0.3), ("middle", 0.6), ("late", 1.0)]


@pytest.mark.parametrize(
    ("best", "says"), [(0, "very different"), (1, "very different"), (2, None)]
)
def test_probing_peaks_where_the_classes_are_clear(
    best: int, says: str | None, make_codes: MakeCodes
) -> None:
    made = [make_codes(30, noise=0.2 if i == best else 30.0, seed=i) for i in range(3)]
    probes = probe_depths([X for X, _ in made], NAMES, made[0][1])
    similarity = Similarity(probes=probes)
    assert similarity.peak is probes[best]
    assert similarity.depth_says == says
    assert probes[best].accuracy == 1.0


def test_layers_of_tiny_values_are_judged_alike(make_codes: MakeCodes) -> None:
    X, y = make_codes(30, noise=0.5)
    large, tiny = probe_depths([X, X * 1e-4], NAMES[:2], y)
    assert large.accuracy == tiny.accuracy
    assert (tiny.ahead, tiny.standard_error) == (0.0, 0.0)


def test_the_difference_to_the_last_depth_is_paired(make_codes: MakeCodes) -> None:
    (X, y), (noise, _) = make_codes(50, noise=0.2), make_codes(50, noise=50.0)
    first, last = probe_depths([X, noise], NAMES[:2], y)
    wrong = 1 - last.accuracy
    assert first.ahead == pytest.approx(wrong)
    assert first.standard_error == pytest.approx(math.sqrt(wrong * (1 - wrong) / 99))


def test_confidence_and_entropy_of_known_answers() -> None:
    odds = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]], np.float32))
    confidence, entropy = head_answers(odds)
    assert confidence == pytest.approx(0.6)
    shares = [-sum(p * math.log(p) for p in row) for row in ((0.7, 0.2, 0.1), (0.5, 0.25, 0.25))]
    assert entropy == pytest.approx(sum(shares) / 2 / math.log(3))


def test_a_certain_head_has_no_entropy() -> None:
    assert head_answers(np.array([[500.0, 0, 0]], np.float32)) == pytest.approx((1.0, 0.0))
