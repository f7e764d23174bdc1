"""The nearest-neighbour head."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from tlfeatures.errors import LabelsError, UsageError
from tlfeatures.heads import KNNHead


def test_votes_are_those_of_scikit_learn_on_cosine_distance(three, make_codes):
    """Weights are 1 / distance."""
    X, y = three
    queries = make_codes(10, spread=2.0, seed=3)[0].astype(float)
    plain = KNeighborsClassifier(7, weights="distance", metric="cosine").fit(X.astype(float), y)
    found = KNNHead(7).fit(X, y).predict_proba(queries)
    np.testing.assert_allclose(found, plain.predict_proba(queries), atol=1e-4)


def test_exact_copies_take_the_whole_vote():
    """Four near pictures of another class do not outvote a copy."""
    X = np.array([[1, 0.0], [1, 0.1], [1, 0.1], [1, 0.1], [1, 0.1]])
    head = KNNHead(5).fit(X, ["ant", "bee", "bee", "bee", "bee"])
    np.testing.assert_array_equal(head.predict_proba([[3.0, 0.0]]), [[1, 0]])


def test_more_neighbours_than_pictures_means_all():
    """n_neighbors is capped."""
    head = KNNHead(50).fit(np.eye(3), ["a", "b", "b"])
    np.testing.assert_allclose(head.predict_proba([[1, 1, 1]]), [[1 / 3, 2 / 3]])


def test_a_query_of_zeros_gets_an_answer():
    """Everything is at distance 1 from it, so its neighbours vote alike."""
    head = KNNHead(2).fit(np.eye(4), [0, 1, 0, 1])
    np.testing.assert_array_equal(head.predict_proba(np.zeros((1, 4))), [[0.5, 0.5]])


def test_predict_is_the_argmax_of_the_votes(three):
    """Of equal votes the first class."""
    X, y = three
    head = KNNHead(4).fit(X, y)
    winners = head.classes_[head.predict_proba(X * 1.5 + 0.1).argmax(axis=1)]
    np.testing.assert_array_equal(head.predict(X * 1.5 + 0.1), winners)


def test_senseless_fits_are_refused(two):
    """No neighbours, or one class."""
    with pytest.raises(UsageError, match="n_neighbors is 0; give 1 or more"):
        KNNHead(0).fit(*two)
    with pytest.raises(LabelsError, match="one class only: x"):
        KNNHead().fit(two[0], ["x"] * len(two[0]))
