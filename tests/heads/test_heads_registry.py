"""Heads by name, and from saved arrays."""

import json

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import normalize

from tlfeatures.errors import ModelFileError, UsageError
from tlfeatures.heads import (
    HEADS,
    LogisticHead,
    head_from_arrays,
    make_head,
    scorer_from_arrays,
)
from tlfeatures.heads._saved import PARAMS
from tlfeatures.heads._scoring import unit_rows


def test_names_make_heads_with_their_options():
    """make_head passes options on."""
    assert {name: type(make_head(name)) for name in HEADS} == HEADS
    assert make_head("svm", C=2).C == 2
    assert make_head("knn", n_neighbors=3).n_neighbors == 3


@pytest.mark.parametrize(
    ("name", "params", "hint"),
    [
        ("logistik", {}, r"did you mean 'logistic'\? Choose one of svm, logistic, knn"),
        ("forest", {}, "is unknown; choose one of svm, logistic, knn"),
        ("knn", {"n_neighbours": 3}, "did you mean 'n_neighbors'"),
    ],
)
def test_unknown_words_are_refused_with_a_suggestion(name, params, hint):
    """Names and options alike."""
    with pytest.raises(UsageError, match=hint):
        make_head(name, **params)


@pytest.mark.parametrize("name", HEADS)
def test_two_classes_are_scored_alike_without_scikit_learn(name, two):
    """One score for both of them."""
    head = make_head(name).fit(*two)
    scorer = scorer_from_arrays(*head.to_arrays())
    np.testing.assert_array_equal(scorer.predict_proba(two[0]), head.predict_proba(two[0]))


def test_rows_become_of_length_1_as_scikit_learn_makes_them():
    """Rows of zeros stay; lengths below 1e-15, which no code has, it takes for zero."""
    X = np.random.default_rng(0).normal(size=(20, 7)).astype(np.float32)
    X[3] = 0
    np.testing.assert_array_equal(unit_rows(X), normalize(X.astype(np.float64)))


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
    scorer = scorer_from_arrays(tensors, json.loads(json.dumps(facts)))
    np.testing.assert_array_equal(scorer.predict_proba(queries), head.predict_proba(queries))
    np.testing.assert_array_equal(scorer.classes, head.classes_)
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


@pytest.mark.parametrize("build", [head_from_arrays, scorer_from_arrays])
def test_broken_arrays_are_refused(build, two):
    """An unknown kind, none, a missing tensor, a missing fact."""
    tensors, facts = make_head("svm", C=1).fit(*two).to_arrays()
    with pytest.raises(ModelFileError, match=r"kind 'forest'.*open it with the version"):
        build(tensors, {**facts, "kind": "forest"})
    with pytest.raises(ModelFileError, match=r"kind None.*this version knows svm, logistic, knn"):
        build(tensors, {})
    with pytest.raises(ModelFileError, match=r"incomplete.*coef.*train and save it again"):
        build({}, facts)
    with pytest.raises(ModelFileError, match=r"incomplete.*sigmoid"):
        build(tensors, {k: v for k, v in facts.items() if k != "sigmoid"})


def test_heads_go_by_the_names_of_the_literature_too() -> None:
    assert type(make_head("softmax")) is type(make_head("logistic"))
    assert type(make_head("linear-svm")) is type(make_head("svm"))


def test_what_a_saved_head_may_have_for_options_is_what_heads_have():
    """The list that needs no scikit-learn is the constructors'."""
    assert {name: tuple(kind._get_param_names()) for name, kind in HEADS.items()} == PARAMS
