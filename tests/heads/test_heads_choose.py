"""Choosing among heads."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from tlfeatures.errors import UsageError
from tlfeatures.heads import HEADS, KNNHead, LogisticHead, SVMHead, choose_head, make_head


def all_heads():
    return {name: make_head(name) for name in ("knn", "svm", "logistic")}


def test_equal_heads_leave_the_simplest(make_codes):
    """On separable codes all are right, so the first in order stays; rows are in that order."""
    X, y = make_codes(10, spread=0.1)
    name, table = choose_head(all_heads(), X, y)
    assert name == "logistic"
    assert [row.name for row in table] == ["logistic", "svm", "knn"]
    assert all((row.accuracy, row.behind, row.standard_error) == (1, 0, 0) for row in table)


def test_a_clearly_better_head_is_chosen():
    """Opposite corners share a class: neighbours see it, planes do not."""
    rng = np.random.default_rng(0)
    signs = np.sign(rng.normal(size=(80, 2)))
    X = np.hstack([3 * signs, np.zeros((80, 2))]) + 0.3 * rng.normal(size=(80, 4))
    y = np.where(signs.prod(axis=1) > 0, "same", "opposite")
    name, table = choose_head(all_heads(), X, y)
    assert name == "knn"
    assert table[0].behind > table[0].standard_error > 0


def test_a_difference_within_one_standard_error_leaves_the_simpler(make_codes):
    """One picture in sixty is no reason to change."""
    X, y = make_codes(20, spread=1.5)
    name, table = choose_head(all_heads(), X, y)
    allowed = [row.name for row in table if row.behind <= row.standard_error]
    assert name == allowed[0]


def test_the_table_holds_heads_fitted_on_everything_and_inputs_stay(three):
    """No second fit is needed; what was given stays unfitted."""
    X, y = three
    heads = all_heads()
    _, table = choose_head(heads, X, y)
    for row in table:
        assert isinstance(row.head, HEADS[row.name])
        np.testing.assert_array_equal(row.head.predict(X), make_head(row.name).fit(X, y).predict(X))
        assert not hasattr(heads[row.name], "classes_")


def test_the_choice_is_the_same_every_time(three):
    """Deterministic."""
    first, second = (choose_head(all_heads(), *three) for _ in range(2))
    key = [(row.accuracy, row.behind, row.standard_error) for row in first[1]]
    assert key == [(row.accuracy, row.behind, row.standard_error) for row in second[1]]
    assert first[0] == second[0]


def test_copies_are_judged_as_groups():
    """Neighbours find the copy of each noise picture, unless copies are grouped."""
    X = np.random.default_rng(0).normal(size=(30, 20)).repeat(2, axis=0)
    y, groups = np.tile([0, 0, 1, 1], 15), np.arange(60) // 2
    loose = choose_head({"knn": KNNHead()}, X, y)[1][0].accuracy
    grouped = choose_head({"knn": KNNHead()}, X, y, groups)[1][0].accuracy
    assert loose > 0.85
    assert grouped < 0.75


def test_any_classifier_can_take_part(three):
    """Others come last in the order of simplicity."""
    X, y = three
    heads = {"dummy": DummyClassifier(), "svm": SVMHead(C=1)}
    name, table = choose_head(heads, X, y)
    assert (name, [row.name for row in table]) == ("svm", ["svm", "dummy"])
    assert table[1].accuracy == pytest.approx(1 / 3)


def test_one_picture_of_a_class_takes_the_simplest_with_a_warning(make_codes):
    """Nothing can be judged."""
    X, y = make_codes([4, 4, 1])
    heads = {"knn": KNNHead(), "logistic": LogisticHead(C=1)}
    with pytest.warns(UserWarning, match="no head can be judged; the simplest, 'logistic'"):
        name, table = choose_head(heads, X, y)
    assert name == "logistic"
    assert np.isnan(table[0].accuracy)


def test_no_heads_are_refused(three):
    """At least one."""
    with pytest.raises(UsageError, match="give at least one"):
        choose_head({}, *three)
