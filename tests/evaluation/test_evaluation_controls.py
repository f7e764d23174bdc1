"""Controls: the most frequent class, shuffled labels."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier

from tlfeatures.errors import LabelsError
from tlfeatures.evaluation import _controls, majority, shuffled_labels


def test_majority_guesses_the_most_frequent_training_class():
    """Two of three test pictures are bees; of equal counts the first name is guessed."""
    assert majority(["ant", "bee", "bee"], ["bee", "bee", "ant"]).accuracy == pytest.approx(2 / 3)
    assert majority(["bee", "ant"], ["ant", "ant", "bee"]).accuracy == pytest.approx(2 / 3)
    assert majority(["ant", "ant"], ["ant", "bee"]).mean_recall == 0.5


def test_majority_needs_labels():
    """Nothing to count."""
    with pytest.raises(LabelsError, match="no training labels"):
        majority([], ["a"])


def codes():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    return rng.normal(size=(200, 5)) + 3 * y[:, None], y


@pytest.mark.parametrize("random_state", range(5))
def test_shuffled_labels_are_learned_no_better_than_chance(random_state):
    """Codes that are told apart without an error, whatever the seed: the mean is near a half."""
    X, y = codes()
    assert RidgeClassifier().fit(X[:100], y[:100]).score(X[100:], y[100:]) > 0.95
    found = shuffled_labels(X[:100], y[:100], X[100:], y[100:], random_state=random_state)
    assert found.shape == (20,)
    assert 0.3 < found.mean() < 0.7
    assert found.std() > 0.05  # one order alone says little
    again = shuffled_labels(X[:100], y[:100], X[100:], y[100:], random_state=random_state)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("width", [5, 300])
def test_each_order_is_learned_as_scikit_learns_ridge_does(width, monkeypatch):
    """With the orders left as they are; fewer and more numbers than pictures."""
    monkeypatch.setattr(_controls, "_shuffled", lambda y, groups, rng: y)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 160)
    X = rng.normal(size=(160, width)) + np.eye(4, width)[y]
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    one_hot = np.eye(4)[y[:100]]
    scores = Ridge(alpha=1.0).fit(rows[:100], one_hot).predict(rows[100:])
    found = shuffled_labels(X[:100], y[:100], X[100:], y[100:])
    np.testing.assert_allclose(found, (scores.argmax(1) == y[100:]).mean())


def test_labels_of_a_group_change_places_together():
    """Ten groups of four pictures, which are not side by side: each has one label afterwards."""
    groups = np.tile(np.arange(10), 4)
    y = (np.arange(10) >= 7).astype(int)[groups]
    seen = set()
    for seed in range(20):
        mixed = _controls._shuffled(y, groups, np.random.default_rng(seed))
        assert np.bincount(mixed).tolist() == [28, 12]
        assert all(len(set(mixed[groups == g])) == 1 for g in range(10))
        seen.add(tuple(mixed))
    assert len(seen) > 10


def test_one_class_cannot_be_shuffled():
    """Said in words."""
    with pytest.raises(LabelsError, match="give training labels of two"):
        shuffled_labels([[1.0], [2.0]], ["a", "a"], [[1.0]], ["a"])
