"""Columns as people give them: nothing missing among labels, no gap and no split among groups."""

from __future__ import annotations

from copy import copy
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tlfeatures._columns import Alone, cells_of, columns_of, is_missing, whole_groups, whole_labels
from tlfeatures.errors import LabelsError, PicturesError

NAN = float("nan")
MISSING = [None, NAN, np.float32("nan"), np.nan, pd.NA, pd.NaT, np.datetime64("NaT"), np.ma.masked,
           Decimal("NaN"), Decimal("sNaN"), "", " \t", "\xa0"]  # fmt: skip


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_what_holds_nothing_is_missing(value: Any) -> None:
    assert is_missing(value)


@pytest.mark.parametrize("value", [0, 0.0, False, "nan", "None", "0", b"x", (1, 2), float("inf")])
def test_zeros_and_words_are_not_missing(value: Any) -> None:
    assert not is_missing(value)


FORMS = {
    "list": list,
    "tuple": tuple,
    "generator": lambda cells: (cell for cell in cells),
    "map": lambda cells: map(copy, cells),
    "object array": lambda cells: np.array(cells, dtype=object),
    "array of one column": lambda cells: np.array(cells, dtype=object)[:, None],
    "pandas series": lambda cells: pd.Series(cells, index=range(7, 7 + len(cells))),
    "pandas category": lambda cells: pd.Series(cells, dtype="category"),
    "pandas string": lambda cells: pd.Series(cells, dtype="string"),
    "pandas frame": lambda cells: pd.DataFrame({"any": cells}, index=range(9, 9 + len(cells))),
    "pandas index": pd.Index,
    "polars series": lambda cells: pl.Series(cells),
    "polars frame": lambda cells: pl.DataFrame({"any": cells}),
    "polars category": lambda cells: pl.Series(cells, dtype=pl.Categorical),
    "pyarrow array": pa.array,
    "pyarrow chunked array": lambda cells: pa.chunked_array([cells[:1], cells[1:]]),
    "pyarrow table": lambda cells: pa.table({"any": cells}),
    "dict": lambda cells: {"any": cells},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_label_is_refused_with_its_row_in_every_form(form: str) -> None:
    with pytest.raises(LabelsError, match=r"labels\[1\] is .*missing; give one"):
        whole_labels(FORMS[form](["cat", None, "dog"]))


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_the_same_whatever_they_come_in(form: str) -> None:
    assert whole_labels(FORMS[form](["cat", "dog", "cat"])).tolist() == ["cat", "dog", "cat"]


@pytest.mark.parametrize(
    "labels",
    [
        [0.0, NAN, 1.0],
        np.array([0.0, NAN, 1.0]),
        np.array([0, np.nan, 1], dtype=np.float16),
        pd.Series([0, None, 1]),
        pd.Series([0, None, 1], dtype="Int64"),
        pd.Series([True, None, False], dtype="boolean"),
        np.ma.array([0, 5, 1], mask=[False, True, False]),
        np.ma.array(["a", "b", "c"], mask=[False, True, False]),
        pl.Series([0, None, 1]),
        pa.array([0, None, 1]),
        np.array(["2020", "NaT", "2021"], dtype="datetime64[Y]"),
        ["cat", "", "dog"],
        np.array(["cat", " ", "dog"]),
        ["cat", pd.NA, "dog"],
        ["cat", NAN, "dog"],
    ],
    ids=lambda labels: f"{type(labels).__module__} {labels}"[:60],
)
def test_numbers_text_and_masks_with_a_gap_are_refused_with_the_row(labels: Any) -> None:
    with pytest.raises(LabelsError, match=r"labels\[1\] is"):
        whole_labels(labels)


def test_many_missing_labels_are_counted_not_listed() -> None:
    with pytest.raises(LabelsError, match=r"labels\[0\] is None: missing \(and 1,999 more\)"):
        whole_labels([None] * 2000)


def test_labels_keep_their_type_and_mixed_ones_become_text() -> None:
    assert whole_labels([3, 1]).dtype.kind == "i"
    assert whole_labels(np.array(["a", "b"], dtype=object)).dtype == object
    assert whole_labels(pd.Series([1, 2], dtype="Int64")).tolist() == [1, 2]
    mixed = whole_labels(np.array(["cat", 1], dtype=object))
    assert mixed.tolist() == whole_labels(["cat", 1]).tolist() == ["cat", "1"]


@pytest.mark.parametrize(
    "wrong",
    [
        "cat",
        b"cat",
        3,
        None,
        np.zeros((2, 2)),
        [[1, 2], [3]],
        pd.DataFrame({"a": [1], "b": [2]}),
        np.array("cat"),
    ],
)
def test_what_is_no_column_is_refused(wrong: Any) -> None:
    with pytest.raises(PicturesError):
        whole_labels(wrong)


@pytest.mark.parametrize("read", [whole_labels, whole_groups], ids=["labels", "groups"])
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"a.jpg": "cat", "b.jpg": "dog"}, "are a dict, no column; give a list"),
        ({"cat", "dog"}, "are a set, which has no order; give a list"),
        (frozenset({1, 2}), "are a frozenset, which has no order; give a list"),
    ],
    ids=["dict", "set", "frozenset"],
)
def test_keys_and_sets_are_not_taken_for_a_column(read: Any, wrong: Any, reason: str) -> None:
    with pytest.raises(PicturesError, match=reason):
        read(wrong)


@pytest.mark.parametrize(
    "labels",
    [
        [0.0, float("inf"), 1.0],
        np.array([0, -np.inf, 1], dtype=np.float16),
        ["cat", np.float64("inf"), "dog"],
        pd.Series([0, float("inf"), 1]),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_an_infinite_label_is_refused_with_its_row(labels: Any) -> None:
    with pytest.raises(LabelsError, match=r"labels\[1\] is -?inf, no class"):
        whole_labels(labels)


@pytest.mark.parametrize(
    "labels",
    [
        [b"caf\xc3\xa9", b"dog"],
        np.array([b"caf\xc3\xa9", b"dog"]),
        np.array([b"caf\xc3\xa9", b"dog"], dtype=object),
        [b"caf\xc3\xa9", "dog"],
    ],
    ids=lambda labels: f"{type(labels).__name__} {labels}",
)
def test_labels_in_bytes_are_text(labels: Any) -> None:
    found = whole_labels(labels)
    assert found.tolist() == ["caf\xe9", "dog"]
    assert found.dtype.kind == "U"


GAPS = [
    ["a", None, "b", "a", None],
    ["a", "", "b", "a", " "],
    ["a", NAN, "b", "a", None],
    [0.0, NAN, 1.0, 0.0, NAN],
    [1, None, 2, 1, None],
    np.array([0.0, NAN, 1.0, 0.0, NAN]),
    np.array(["a", None, "b", "a", NAN], dtype=object),
    pd.Series([0, None, 1, 0, None], index=[3, 3, 3, 1, 0]),
    pd.Series([0, None, 1, 0, None], dtype="Int64"),
    pd.Series(["a", None, "b", "a", None], dtype="category"),
    pd.to_datetime(pd.Series(["2020-01-01", None, "2021-01-01", "2020-01-01", None])),
    pl.Series(["a", None, "b", "a", None]),
    pl.DataFrame({"patient": [1, None, 2, 1, None]}),
    pa.array([0.5, None, 1, 0.5, None]),
    np.ma.array([5, 9, 6, 5, 9], mask=[0, 1, 0, 0, 1]),
    np.array(["2020", "NaT", "2021", "2020", "NaT"], dtype="datetime64[Y]"),
    [("p", 1), None, ("p", 2), ("p", 1), None],
    (group for group in ["a", None, "b", "a", None]),
]


@pytest.mark.parametrize("groups", GAPS, ids=lambda groups: f"{type(groups).__name__}")
def test_a_row_without_a_group_is_a_group_of_its_own(groups: Any) -> None:
    found = whole_groups(groups)
    assert np.unique(found, return_inverse=True)[1].shape == (5,)  # it can be sorted
    assert found[0] == found[3]
    assert len(set(found.tolist())) == 4
    assert [isinstance(group, Alone) for group in found.tolist()] == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert whole_groups(found).tolist() == found.tolist()


@pytest.mark.parametrize(
    "same",
    [
        [1, 1.0, "1", "1.0", True, np.int8(1), np.float32(1), Decimal(1), "1 "],
        [0, False, "0", "false", "False", 0.0],
        ["caf\xe9", "cafe\u0301", " caf\xe9"],
        [("p", 1), ("p", 1.0), ("p", "1")],
        ["a", b"a", np.str_("a")],
    ],
)
def test_equal_groups_of_several_types_stay_one(same: list[Any]) -> None:
    found = whole_groups([*same, "another"])
    assert len(set(found.tolist())) == 2
    assert len(np.unique(found)) == 2


def test_names_that_look_alike_but_are_not_stay_apart() -> None:
    different = ["07", "7", "1.5", "15", "A", "a", "none", "nan"]
    assert len(set(whole_groups(different).tolist())) == len(different)


def test_groups_of_one_type_without_gaps_stay_as_they_are() -> None:
    for groups in ([3, 10, 2], [3.0, 10.0, 2.5], np.array([3, 10, 2], dtype=np.uint8)):
        found = whole_groups(groups)
        assert found.tolist() == list(groups)
        assert found.dtype.kind in "iuf"


def test_no_ones_group_is_never_that_of_a_row_without() -> None:
    found = whole_groups(["no group, row 1", None, "no group, row 1'"]).tolist()
    assert len(set(found)) == 3
    found = whole_groups(["line 3", None], places=["line 2", "line 3"]).tolist()
    assert len(set(found)) == 2


def test_columns_of_a_frame_are_found_whatever_they_are_called() -> None:
    awkward = {"columns": [1], "column_names": [2], "shape": [3], "iloc": [4]}
    for frame in (pd.DataFrame(awkward), pl.DataFrame(awkward), pa.table(awkward), awkward):
        columns = columns_of(frame)
        assert columns is not None
        assert [(name, list(cells_of(cells))) for name, cells in columns] == list(awkward.items())
    for other in ([1], "a", np.zeros((2, 2)), pd.Series([1]), {"a.jpg": "cat"}, 3):
        assert columns_of(other) is None
