"""Heads by name, and from saved arrays."""

import json

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from tlfeatures.errors import ModelFileError, UsageError
from tlfeatures.heads import HEADS, LogisticHead, head_from_arrays, make_head


def test_names_make_heads_with_their_options():
    """make_head passes options on."""
    assert {name: type(make_head(name)) for name in HEADS} == HEADS
    assert make_head("svm", C=2).C == 2
    assert make_head("knn", n_neighbors=3).n_neighbors == 3


@pytest.mark.parametrize(
    ("name", "params", "hint"),
    [
        ("logistik", {}, "did you mean 'logistic'"),
        ("forest", {}, "Choose one of svm, logistic, knn"),
        ("knn", {"n_neighbours": 3}, "did you mean 'n_neighbors'"),
    ],
)
def test_unknown_words_are_refused_with_a_suggestion(name, params, hint):
    """Names and options alike."""
    with pytest.raises(UsageError, match=hint):
        make_head(name, **params)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("words", ["strings", "objects", "numbers"])
def test_a_head_from_its_arrays_predicts_the_same(name, words, three):
    """Predictions, probabilities and scores are identical after a trip through JSON."""
    X, y = three
    numbers = np.unique(y, return_inverse=True)[1]
    labels = {"strings": y, "objects": y.astype(object), "numbers": numbers + 5}[words]
    head = make_head(name).fit(X, labels)
    tensors, facts = head.to_arrays()
    again = head_from_arrays(tensors, json.loads(json.dumps(facts)))
    queries = np.random.default_rng(1).normal(size=(50, X.shape[1])).astype(np.float32)
    np.testing.assert_array_equal(again.predict(queries), head.predict(queries))
    np.testing.assert_array_equal(again.predict_proba(queries), head.predict_proba(queries))
    assert again.classes_.dtype.kind == head.classes_.dtype.kind
    assert again.get_params() == head.get_params()
    assert getattr(again, "C_", None) == getattr(head, "C_", None)
    with pytest.raises(ValueError, match="is expecting 30"):
        again.predict(queries[:, :3])


def test_numpy_arguments_become_plain_facts(two):
    """A generator is not kept, a numpy number is."""
    head = LogisticHead(C=np.float32(2), random_state=np.random.RandomState(0)).fit(*two)
    params = json.loads(json.dumps(head.to_arrays()[1]))["params"]
    assert params == {"C": 2.0, "random_state": None, "n_jobs": None}


@pytest.mark.parametrize("name", HEADS)
def test_an_unfitted_head_has_no_arrays(name):
    """scikit-learn's error."""
    with pytest.raises(NotFittedError):
        make_head(name).to_arrays()


def test_broken_arrays_are_refused(two):
    """An unknown kind, a missing tensor, a missing fact."""
    tensors, facts = make_head("svm", C=1).fit(*two).to_arrays()
    with pytest.raises(ModelFileError, match=r"kind 'forest'.*open it with the version"):
        head_from_arrays(tensors, {**facts, "kind": "forest"})
    with pytest.raises(ModelFileError, match=r"incomplete.*coef.*train and save it again"):
        head_from_arrays({}, facts)
    with pytest.raises(ModelFileError, match=r"incomplete.*sigmoid"):
        head_from_arrays(tensors, {k: v for k, v in facts.items() if k != "sigmoid"})
