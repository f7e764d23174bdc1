"""Linear heads against scikit-learn's plain pipelines, and what they add."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import LinearSVC

from tlfeatures.errors import LabelsError, UsageError
from tlfeatures.heads import LogisticHead, SVMHead
from tlfeatures.heads.linear import _path as path

LINEAR = [SVMHead, LogisticHead]


def plain(kind, C=1.0):
    """What a short script would write."""
    if kind is SVMHead:
        return make_pipeline(Normalizer(), LinearSVC(C=C, dual=False, tol=1e-8, max_iter=10_000))
    logistic = LogisticRegression(C=C, tol=1e-8, max_iter=10_000)
    return make_pipeline(Normalizer(), StandardScaler(with_std=False), logistic)


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("shape", ["three", "wide", "two"])
@pytest.mark.parametrize("C", [0.1, 10.0])
def test_scores_are_those_of_the_plain_pipeline(kind, shape, C, request):
    """With the same C, scores equal scikit-learn's, rotated or not, two classes or more."""
    X, y = request.getfixturevalue(shape)
    expected = plain(kind, C).fit(X.astype(float), y)
    scores = kind(C=C).fit(X, y).decision_function(X)
    np.testing.assert_allclose(scores, expected.decision_function(X.astype(float)), atol=2e-3)


@pytest.mark.parametrize("kind", LINEAR)
def test_rotation_changes_no_coefficient(kind, wide, monkeypatch):
    """Training in the row space gives the coefficients of training in all columns."""
    X, y = wide
    rotated = kind(C=1.0).fit(X, y)
    monkeypatch.setattr("tlfeatures.heads.linear._linear.rotate", lambda Z: (Z, None))
    straight = kind(C=1.0).fit(X, y)
    np.testing.assert_allclose(rotated.coef_, straight.coef_, atol=1e-3)
    np.testing.assert_allclose(rotated.intercept_, straight.intercept_, atol=1e-3)


def test_rotation_keeps_all_products():
    """Rotated rows have the products of the rows; the basis is orthonormal."""
    X = np.random.default_rng(0).normal(size=(5, 40))
    Z, basis = path.rotate(X)
    assert Z.shape == (5, 5)
    np.testing.assert_allclose(Z @ Z.T, X @ X.T, atol=1e-12)
    np.testing.assert_allclose(X @ basis, Z, atol=1e-12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-12)


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("shape", ["three", "wide"])
def test_the_chosen_c_is_that_of_a_grid_search_on_the_same_folds(kind, shape, request):
    """The C path finds what GridSearchCV finds, fold by fold."""
    X, y = request.getfixturevalue(shape)
    head = kind().fit(X, y)
    step = "linearsvc__C" if kind is SVMHead else "logisticregression__C"
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(plain(kind), {step: list(kind._grid)}, cv=folds)
    search.fit(X.astype(float), y)
    assert search.best_params_[step] == head.C_
    expected = search.cv_results_["mean_test_score"]
    np.testing.assert_allclose(head.cv_results_["mean_accuracy"], expected, atol=1e-12)


@pytest.mark.parametrize("kind", LINEAR)
def test_equal_accuracies_take_the_smaller_c(kind):
    """Where every C is right everywhere, the smallest is taken."""
    X = np.eye(2, dtype=np.float32).repeat(10, axis=0)
    assert kind._grid[0] == kind().fit(X, [0] * 10 + [1] * 10).C_


@pytest.mark.parametrize("kind", LINEAR)
def test_folds_keep_groups_whole(kind, three, monkeypatch):
    """Groups reach the splitter: no group is on both sides of a fold."""
    X, y = three
    groups = np.arange(len(y)) // 2
    seen = []
    search = path.search
    monkeypatch.setattr(
        "tlfeatures.heads.linear._linear.search",
        lambda *given: seen.append(given[4]) or search(*given),
    )
    kind().fit(X, y, groups=groups)
    expected = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(X, y, groups)
    for (train, held_out), (_, other) in zip(seen[0], expected, strict=True):
        assert not set(groups[train]) & set(groups[held_out])
        np.testing.assert_array_equal(held_out, other)


def test_copies_in_groups_do_not_flatter():
    """Noise with each picture twice looks right out of fold, unless copies are grouped."""
    X = np.random.default_rng(0).normal(size=(30, 50)).repeat(2, axis=0)
    y = np.tile([0, 0, 1, 1], 15)
    loose = SVMHead().fit(X, y).cv_results_["mean_accuracy"].max()
    grouped = SVMHead().fit(X, y, groups=np.arange(60) // 2).cv_results_["mean_accuracy"].max()
    assert loose > 0.9
    assert grouped < 0.75


def test_a_fold_whose_training_side_lacks_a_class_scores_it_last(make_codes):
    """Groups may take a class out of a fold; its score there is -inf, the others count."""
    X, y = make_codes([6, 6, 6])
    numbers = np.unique(y, return_inverse=True)[1]
    folds = [(np.arange(12), np.arange(12, 18)), (np.arange(6, 18), np.arange(6))]
    found = path.search(SVMHead()._fit_along, X.astype(float), numbers, [1.0], folds, None)
    assert np.isneginf(found.decisions[0, 12:, 2]).all()
    assert np.isfinite(found.decisions[0, 12:, :2]).all()
    np.testing.assert_array_equal(found.accuracy, [[0.0, 0.0]])


def test_a_fold_with_one_class_to_train_on_predicts_it():
    """No solver is asked for one class."""
    folds = [(np.arange(3), np.arange(3, 6))]
    y = np.array([0, 0, 0, 0, 1, 1])
    found = path.search(SVMHead()._fit_along, np.eye(6), y, [1.0], folds, None)
    assert found.accuracy[0, 0] == pytest.approx(1 / 3)


def test_out_of_fold_labels_come_from_the_c_that_other_folds_chose():
    """The fold judged has no say in its C."""
    accuracy = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])
    decisions = np.zeros((2, 3, 2))
    decisions[0, :, 0] = decisions[1, :, 1] = 1.0
    found = path.Path(np.array([0.1, 1.0]), accuracy, decisions, np.array([0, 1, 2]))
    np.testing.assert_array_equal(found.honest_predictions(), [1, 0, 0])


@pytest.mark.parametrize("kind", LINEAR)
def test_a_number_skips_the_search(kind, three):
    """C_ is the number given."""
    head = kind(C=3).fit(*three)
    assert head.C_ == 3.0
    assert len(head.cv_results_.get("C", [3])) == 1


def test_one_picture_of_a_class_falls_back_with_a_warning(make_codes):
    """Nothing can be held out: stated defaults, said once."""
    X, y = make_codes([5, 5, 1])
    with pytest.warns(
        UserWarning, match=r"class class2 has one picture.*C \(it stays at 1\) and pr"
    ):
        svm = SVMHead().fit(X, y)
    assert (svm.C_, svm.sigmoid_, svm.out_of_fold_) == (1.0, (2.0, 0.0), None)
    with pytest.warns(UserWarning, match=r"to estimate C \(it stays at 10\); add pictures"):
        assert LogisticHead().fit(X, y).C_ == 10.0
    with pytest.warns(UserWarning, match=r"to estimate probabilities"):
        SVMHead(C=2).fit(X, y)
    LogisticHead(C=2).fit(X, y)


def test_one_group_of_a_class_falls_back_with_a_warning(two):
    """A class in one group cannot be held out either."""
    X, y = two
    groups = np.where(y == "class0", 0, np.arange(len(y)))
    with pytest.warns(UserWarning, match="class class0 has one picture or group"):
        SVMHead().fit(X, y, groups=groups)
    # Of many pictures too: it is groups that are counted.
    groups = np.where(y == "class1", -1, np.arange(len(y)))
    with pytest.warns(UserWarning, match="class class1 has one picture or group"):
        SVMHead().fit(X, y, groups=groups)


@pytest.mark.parametrize("kind", LINEAR)
def test_few_pictures_use_as_many_folds_as_the_smallest_class_has(kind, make_codes):
    """Imbalanced classes: 3 pictures of the rarest give 3 folds, and it is still found."""
    X, y = make_codes([60, 10, 3], spread=0.3)
    head = kind().fit(X, y)
    assert head.cv_results_["fold_accuracy"].shape[1] == 3
    assert (head.predict(X) == y).all()


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("shape", ["three", "two"])
@pytest.mark.parametrize("scale", [1, 1e3])
def test_probabilities_never_contradict_predict(kind, shape, scale, request):
    """The argmax of the probabilities is the prediction, saturated or not."""
    X, y = request.getfixturevalue(shape)
    head = kind().fit(X, y)
    head.coef_, head.intercept_ = head.coef_ * scale, head.intercept_ * scale
    queries = np.random.default_rng(5).normal(size=(500, X.shape[1])) + 1
    probabilities = head.predict_proba(queries)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    labels = head.classes_[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(labels, head.predict(queries))


def test_svm_probabilities_are_calibrated_out_of_sample():
    """Where codes say nothing, no probability is far from the class share."""
    rng = np.random.default_rng(0)
    head = SVMHead().fit(rng.normal(size=(100, 20)), np.arange(100) % 2)
    probabilities = head.predict_proba(rng.normal(size=(200, 20)))
    assert np.abs(probabilities - 0.5).max() < 0.2


def test_logistic_probabilities_are_those_of_scikit_learn(three, two):
    """Softmax for several classes, sigmoid for two."""
    for X, y in (three, two):
        expected = plain(LogisticHead, 10.0).fit(X.astype(float), y).predict_proba(X)
        found = LogisticHead(C=10).fit(X, y).predict_proba(X)
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("kind", LINEAR)
def test_rows_of_any_length_are_alike_and_zero_rows_pass(kind, three):
    """Rows are L2-normalised; a row of zeros stays zero and gets the intercept."""
    X, y = three
    head = kind(C=1).fit(X, y)
    np.testing.assert_allclose(head.decision_function(X * 7), head.decision_function(X), atol=1e-5)
    np.testing.assert_array_equal(head.decision_function(X[:1] * 0)[0], head.intercept_)


@pytest.mark.parametrize("kind", LINEAR)
def test_jobs_change_nothing(kind, three):
    """Folds in threads give the same numbers, and a second fit too."""
    X, y = three
    one, again, many = kind().fit(X, y), kind().fit(X, y), kind(n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(one.coef_, again.coef_)
    np.testing.assert_array_equal(one.coef_, many.coef_)
    np.testing.assert_array_equal(one.predict_proba(X), many.predict_proba(X))


@pytest.mark.parametrize("kind", LINEAR)
def test_labels_may_be_strings_objects_or_numbers(kind, two):
    """Predictions come in the words given."""
    X, y = two
    for labels in (y, y.astype(object), np.where(y == "class0", 7, 9)):
        head = kind(C=1).fit(X, labels)
        assert head.predict(X).dtype == labels.dtype
        assert set(head.predict(X)) <= set(labels)


@pytest.mark.parametrize("kind", LINEAR)
def test_hard_codes_raise_no_convergence_warning(kind):
    """Noise, equal rows and a constant column pass without a word."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.normal(size=(60, 90)), 0)
    X[:10], X[:, 0] = X[0], 5.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind().fit(X, np.arange(60) % 3)


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("C", [0, -1, "best", float("nan")])
def test_a_senseless_c_is_refused(kind, C, two):
    """The message says what to give."""
    with pytest.raises(UsageError, match='give "auto" or a number above 0'):
        kind(C=C).fit(*two)


@pytest.mark.parametrize("kind", LINEAR)
def test_one_class_is_refused_with_a_way_out(kind, two):
    """One class is no classification."""
    with pytest.raises(LabelsError, match=r"one class only: ant; add a folder"):
        kind().fit(two[0], ["ant"] * len(two[0]))


@pytest.mark.parametrize("kind", LINEAR)
def test_wrong_width_and_unfitted_are_refused(kind, two):
    """scikit-learn's own words."""
    X, y = two
    with pytest.raises(NotFittedError):
        kind().predict(X)
    head = kind(C=1).fit(X, y)
    with pytest.raises(ValueError, match=r"X has 29 features, but .* is expecting 30"):
        head.predict(X[:, 1:])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clone(head).fit(X, y, groups=[1, 2])
