"""What is measured on codes whose answer is known: learning curve, probes, confidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from tlfeatures.advice import Similarity
from tlfeatures.advice._measure import confidence_of, measure_size, probe_depths, slope_of
from tlfeatures.advice._sample import nested_parts, rows_to_probe, units_per_class, usable_rows

MakeCodes = Callable[..., tuple[NDArray[np.float32], NDArray[np.str_]]]
NAMES = [("early", 0.3), ("middle", 0.6), ("late", 1.0)]


def test_a_task_that_few_pictures_settle_has_a_flat_curve(make_codes: MakeCodes) -> None:
    size = measure_size(*make_codes(60, noise=0.05))
    assert size.curve_says == "is flat"
    assert size.curve[-1].accuracy == 1.0


def test_a_task_with_more_columns_than_pictures_still_rises(make_codes: MakeCodes) -> None:
    X, y = make_codes(200, width=300, noise=5.0)
    size = measure_size(X, y)
    assert size.curve_says == "still rises steeply"
    accuracies = [point.accuracy for point in size.curve]
    assert accuracies == sorted(accuracies)


def test_the_curve_counts_training_pictures(make_codes: MakeCodes) -> None:
    size = measure_size(*make_codes(20, n_classes=4))
    assert (size.n, size.n_classes, size.per_class) == (80, 4, 20)
    assert [point.n for point in size.curve] == [8, 16, 32, 64]


def test_the_same_seed_gives_the_same_curve(make_codes: MakeCodes) -> None:
    X, y = make_codes(15, noise=3.0)
    assert measure_size(X, y, random_state=3) == measure_size(X, y, random_state=3)
    assert measure_size(X, y, random_state=3) != measure_size(X, y, random_state=4)


def test_the_slope_is_the_accuracy_that_a_doubling_brings() -> None:
    n = np.array([10.0, 20.0, 40.0, 80.0])
    rows = np.array([[0.1, 0.5, 0.6, 0.7], [0.9, 0.7, 0.8, 0.9]])
    slope, error = slope_of(n, rows)
    assert slope == pytest.approx(0.1)
    assert error == pytest.approx(0.0)
    assert slope_of(np.full(4, 5.0), rows) == (None, None)


def test_pictures_of_a_group_stay_on_one_side(make_codes: MakeCodes) -> None:
    X, y = make_codes(6, noise=3.0)
    groups = np.repeat(np.arange(12), 10)
    rng = np.random.default_rng(0)
    copies = np.repeat(X, 10, axis=0) + 0.01 * rng.normal(size=(120, X.shape[1])).astype("f4")
    shuffled = rng.permutation(np.repeat(y, 1))
    labels = np.repeat(shuffled, 10)
    leaking = measure_size(copies, labels).curve[-1].accuracy
    kept_apart = measure_size(copies, labels, groups).curve[-1].accuracy
    assert leaking == 1.0
    assert kept_apart < 0.9


def test_nested_parts_hold_every_class_and_each_the_one_before() -> None:
    y = np.repeat(["a", "b", "c"], [40, 8, 1])
    parts = nested_parts(y, (0.125, 0.5, 1.0), 1, random_state=0)
    assert [len(part) for part in parts] == [5 + 1 + 1, 20 + 4 + 1, 49]
    for smaller, larger in pairwise(parts):
        assert set(smaller) <= set(larger)
        assert set(y[smaller]) == {"a", "b", "c"}


def test_classes_that_are_too_small_are_named() -> None:
    y = np.repeat(["a", "b", "c"], [10, 3, 4])
    rows, small = usable_rows(y)
    assert small == ["b"]
    assert set(y[rows]) == {"a", "c"}
    groups = np.arange(17) // 4
    assert units_per_class(y, groups)[1].tolist() == [3, 2, 2]
    assert usable_rows(y, groups)[1] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([30, 30], 60), ([5000, 100], 500), ([50] * 102, 500), ([4] * 90, 360), ([9] * 1000, 500)],
)
def test_about_500_pictures_are_probed(counts: list[int], expected: int) -> None:
    y = np.repeat([f"{i:04}" for i in range(len(counts))], counts)
    rows = rows_to_probe(y)
    assert len(rows) == expected
    assert len(set(rows)) == len(rows)
    each = np.unique(y[rows], return_counts=True)[1]
    assert each.min() >= 4


def test_probed_pictures_come_from_different_groups_first() -> None:
    y = np.repeat(["a", "b"], 1000)
    groups = np.arange(2000) // 4
    rows = rows_to_probe(y, groups)
    assert len(set(groups[rows])) == len(rows) == 500


@pytest.mark.parametrize("seed", [2**32 - 1, None, np.random.RandomState(0)], ids=str)
def test_every_seed_is_taken_the_largest_too(seed: object, make_codes: MakeCodes) -> None:
    """Rounds and folds count on from it."""
    size = measure_size(*make_codes(10), random_state=seed)  # type: ignore[arg-type]
    assert 0 <= size.curve[-1].accuracy <= 1


@pytest.mark.parametrize(
    ("best", "says"), [(0, "very different"), (1, "very different"), (2, None)]
)
def test_probing_peaks_where_the_classes_are_clear(
    best: int, says: str | None, make_codes: MakeCodes
) -> None:
    made = [make_codes(30, noise=0.2 if i == best else 30.0, seed=i) for i in range(3)]
    probes = probe_depths([X for X, _ in made], NAMES, made[0][1])
    similarity = Similarity(probes=probes)
    assert similarity.early_peak is (probes[best] if says else None)
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


def test_confidence_of_known_answers() -> None:
    odds = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]], np.float32))
    assert confidence_of(odds) == pytest.approx(0.6)
    assert confidence_of(np.array([[500.0, 0, 0]], np.float32)) == pytest.approx(1.0)
    not_finite = np.full((1, 3), np.nan, np.float32)
    assert confidence_of(np.concatenate([odds, not_finite])) == pytest.approx(0.6)
    assert confidence_of(not_finite) is None
