"""Scores and intervals against published values and hand counts."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlfeatures.errors import UsageError
from tlfeatures.evaluation import (
    mean_recall,
    mean_recall_interval,
    paired_difference,
    score,
    wilson_interval,
)

PLACE = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage.py"
SPEC = importlib.util.spec_from_file_location("coverage_of_intervals", PLACE)
coverage = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(coverage)


@pytest.mark.parametrize(
    ("n_right", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_values(n_right, n, low, high):
    """Newcombe 1998, Statistics in Medicine 17:857, table I, method 3."""
    np.testing.assert_allclose(wilson_interval(n_right, n), (low, high), atol=5e-5)


def test_wilson_widens_with_the_level():
    """99 % is wider than 95 %."""
    low, high = wilson_interval(8, 10, 0.99)
    assert low < wilson_interval(8, 10)[0]
    assert high > wilson_interval(8, 10)[1]


@pytest.mark.parametrize("words", [(1, 0), (3, 2), (-1, 2), (1, 2, 1.0)])
def test_wilson_refuses_impossible_counts(words):
    """No pictures, more right than there are, a level of 1."""
    with pytest.raises(UsageError, match="give 0 <= n_right <= n"):
        wilson_interval(*words)


def test_mean_recall_counts_every_class_the_same():
    """Recalls 3/4, 0/1: mean 3/8; a class only predicted does not count."""
    assert mean_recall(list("aaaab"), list("aaaca")) == pytest.approx(3 / 8)


def test_mean_recall_interval_with_one_class_is_wilson():
    """Nothing to combine."""
    found = mean_recall_interval(["a"] * 10, ["a"] * 7 + ["b"] * 3)
    np.testing.assert_allclose(found, wilson_interval(7, 10))


def test_mean_recall_interval_by_hand():
    """Classes 7/10 and 10/10, drawn towards 18/22 by eight pictures, are worth 21 pictures."""
    y_true = ["a"] * 10 + ["b"] * 10
    y_pred = ["a"] * 7 + ["b"] * 3 + ["b"] * 10
    a, b = (7 + 8 * 18 / 22) / 18, (10 + 8 * 18 / 22) / 18
    q = (a + b) / 2
    n = q * (1 - q) / ((a * (1 - a) + b * (1 - b)) / 10 / 4)
    z = 1.959964
    centre, half = 0.85 + z**2 / 2 / n, z * np.sqrt(0.85 * 0.15 / n + z**2 / 4 / n**2)
    expected = np.array([centre - half, centre + half]) / (1 + z**2 / n)
    np.testing.assert_allclose(mean_recall_interval(y_true, y_pred), expected, rtol=1e-6)
    assert n == pytest.approx(21.07, abs=0.01)


@pytest.mark.parametrize("n_right", [0, 15, 38, 40])
def test_of_classes_of_one_size_and_recall_both_intervals_agree(n_right):
    """Mean recall is the accuracy then; ten classes of four pictures."""
    y_true = np.repeat(np.arange(10), 4)
    right = np.zeros((4, 10), bool)
    right.ravel()[:n_right] = True  # spread over the classes
    found = score(y_true, np.where(right.T.ravel(), y_true, -1))
    assert found.mean_recall == pytest.approx(found.accuracy)
    np.testing.assert_allclose(found.mean_recall_ci95, found.ci95, atol=0.02)


@pytest.mark.parametrize(
    "per_class", [(1, 3, 20, 100), pytest.param(coverage.PER_CLASS, marks=pytest.mark.slow)]
)
def test_mean_recall_interval_covers_as_often_as_it_says(per_class, monkeypatch, capsys):
    """Each cell of 20 test pictures or more 90 % at least, 93 to 98 % on the mean."""
    monkeypatch.setattr(coverage, "PER_CLASS", per_class)
    found = coverage.measure(100)
    rng, sizes = np.random.default_rng(1), dict(coverage.cells())
    for cell in [cell for cell, value in found.items() if value < 0.95]:  # 100 sets are rough
        recalls = rng.beta(*coverage.BETAS[cell[3]], (4_000, len(sizes[cell])))
        found[cell] = coverage.coverage(recalls, sizes[cell], rng)
    assert min(found.values()) >= 0.90
    assert 0.93 <= np.mean(list(found.values())) <= 0.98
    with capsys.disabled():
        print(f"\nlowest coverage at one fixed set of recalls: {coverage.lowest_fixed(100)}")  # noqa: T201


def test_score_puts_it_together():
    """Three of four right; recalls 1 and 1/2."""
    found = score(["ant", "ant", "bee", "bee"], ["ant", "ant", "bee", "ant"])
    assert (found.accuracy, found.mean_recall, found.n) == (0.75, 0.75, 4)
    assert found.ci95 == wilson_interval(3, 4)
    assert found.mean_recall_ci95[0] < 0.75 < found.mean_recall_ci95[1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_every_interval_holds_its_figure(pairs):
    """In [0, 1] and around the estimate, whatever the labels."""
    found = score(*np.array(pairs).T)
    for value, (low, high) in (
        (found.accuracy, found.ci95),
        (found.mean_recall, found.mean_recall_ci95),
    ):
        assert 0 <= low <= value + 1e-12
        assert value - 1e-12 <= high <= 1


def test_paired_difference_counts_only_disagreements():
    """a alone right 6 times, b alone twice, of 20: 0.2, with McNemar's variance."""
    a = np.array([1] * 6 + [0] * 2 + [1] * 12, bool)
    b = np.array([0] * 6 + [1] * 2 + [1] * 12, bool)
    found = paired_difference(a, b)
    assert found.difference == pytest.approx(0.2)
    expected = np.std(a.astype(float) - b, ddof=1) / np.sqrt(20)
    assert found.standard_error == pytest.approx(expected)
    # Bonett & Price: p = 7/22, q = 3/22
    p, q = 7 / 22, 3 / 22
    half = 1.959964 * np.sqrt((p + q - (p - q) ** 2) / 22)
    np.testing.assert_allclose(found.ci95, (p - q - half, p - q + half), rtol=1e-6)


def test_methods_that_agree_still_leave_doubt():
    """Difference 0 with an interval of more than no width."""
    found = paired_difference([True, False, True], [True, False, True])
    assert (found.difference, found.standard_error, found.n) == (0, 0, 3)
    assert found.ci95[0] < 0 < found.ci95[1]


@pytest.mark.parametrize("function", [score, mean_recall, mean_recall_interval, paired_difference])
def test_unequal_or_empty_inputs_are_refused(function):
    """The message gives both lengths."""
    with pytest.raises(UsageError, match="2 values are compared with 1"):
        function([1, 0], [1])
    with pytest.raises(UsageError, match="0 values"):
        function([], [])
