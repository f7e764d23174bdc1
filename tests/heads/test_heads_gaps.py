"""Labels that are missing, and groups with gaps, in every head."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tlfeatures.errors import LabelsError
from tlfeatures.heads import HEADS, choose_head, make_head
from tlfeatures.heads.linear._path import make_folds

NAN = float("nan")
FORMS = {
    "list": list,
    "float array": lambda y: np.array([NAN if each is None else float(each == "a") for each in y]),
    "object array": lambda y: np.array(y, dtype=object),
    "pandas": lambda y: pd.Series(y, index=range(5, 5 + len(y))),
    "pandas category": lambda y: pd.Series(y, dtype="category"),
    "polars": pl.Series,
    "masked": lambda y: np.ma.array([each or "?" for each in y], mask=[each is None for each in y]),
    "frame": lambda y: pd.DataFrame({"y": y}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", HEADS)
def test_a_missing_label_is_refused_with_its_row(name, form):
    """In every form, by every head."""
    X, y = np.eye(4).repeat(2, axis=0), ["a", "b"] * 4
    y[5] = None
    with pytest.raises(LabelsError, match=r"y\[5\] is .*missing"):
        make_head(name).fit(X, FORMS[form](y))


def test_a_missing_label_is_refused_by_the_choice_of_a_head_too():
    """Before any head is fitted."""
    with pytest.raises(LabelsError, match=r"y\[1\] is nan"):
        choose_head({"knn": make_head("knn")}, np.eye(3), ["a", NAN, "b"])


def gappy(n):
    """Groups of two, every third row without one, of mixed types."""
    kinds = (int, float, str)
    return [None if i % 3 == 0 else kinds[i % 2](i // 4) for i in range(n)]


def filled(groups):
    """The same, each gap a number of its own."""
    return np.array([1000 + i if g is None else int(float(g)) for i, g in enumerate(groups)])


@pytest.mark.parametrize("name", ["svm", "logistic"])
def test_gaps_are_groups_of_their_own_in_the_folds(three, name, monkeypatch):
    """No group is cut, and rows without one are not kept together."""
    X, y = three
    groups, seen = gappy(len(y)), []

    def spy(*args):
        seen.extend(make_folds(*args))
        return seen

    monkeypatch.setattr("tlfeatures.heads.linear._linear.make_folds", spy)
    make_head(name).fit(X, y, groups=groups)
    whole = filled(groups)
    alone = whole >= 1000
    assert len(seen) == 5
    for train, held_out in seen:
        assert not set(whole[train]) & set(whole[held_out])
        assert 0 < alone[held_out].sum() < alone.sum()


def test_the_choice_of_a_head_counts_a_row_without_a_group_as_a_unit(three):
    """The same table as with a number of its own for each gap, up to the order of the folds."""
    X, y = three
    heads = {"knn": make_head("knn"), "svm": make_head("svm", C=1.0)}
    everyone_alone = choose_head(heads, X, y, [None] * len(y))[1]
    numbered = choose_head(heads, X, y, [f"no group, row {i}" for i in range(len(y))])[1]
    pairs = zip(everyone_alone, numbered, strict=True)
    assert all(a.standard_error == pytest.approx(b.standard_error) for a, b in pairs)
