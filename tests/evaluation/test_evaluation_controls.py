"""Controls: the most frequent class, shuffled labels."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from tlfeatures.errors import LabelsError
from tlfeatures.evaluation import majority, shuffled_labels


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


def test_shuffled_labels_are_learned_no_better_than_chance():
    """Codes on which the head is always right fall to a half."""
    X, y = codes()
    head = KNeighborsClassifier(15).fit(X[:100], y[:100])
    assert head.score(X[100:], y[100:]) > 0.95
    found = shuffled_labels(head, X[:100], y[:100], X[100:], y[100:])
    assert 0.2 < found.accuracy < 0.8
    assert found == shuffled_labels(head, X[:100], y[:100], X[100:], y[100:])


def test_the_control_uses_the_c_that_the_head_chose():
    """C is not searched on shuffled labels, and the head given stays as it is."""
    seen = []

    class Spy(LogisticRegression):
        def fit(self, X, y):
            seen.append(self.C)
            return super().fit(X, y)

    X, y = codes()
    head = Spy(C=1.0).fit(X, y)
    head.C_ = 7.0
    shuffled_labels(head, X, y, X, y, random_state=1)
    assert seen == [1.0, 7.0]
    assert head.C == 1.0
