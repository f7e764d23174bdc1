"""`Pictures` as an ordered set and as scikit-learn's X."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, train_test_split

from tlfeatures.errors import PicturesError
from tlfeatures.pictures import Pictures, as_pictures, find_exact_copies


def ten() -> Pictures:
    return Pictures(
        [f"{i}.jpg" for i in range(10)],
        labels=["cat", "dog"] * 5,
        split=["train"] * 8 + ["test"] * 2,
        groups=[str(i // 2) for i in range(10)],
    )


class NameReader(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Knows a picture's label by its number; fails where rows and labels come apart."""

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def fit(self, X: Pictures, y: Any) -> NameReader:
        assert isinstance(X, Pictures)
        assert X.labels is not None
        assert X.labels.tolist() == list(y)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Pictures) -> Any:
        numbers = np.array([int(Path(path).stem) for path in X.paths])
        return self.classes_[(numbers + self.shift) % 2]


@pytest.mark.parametrize(
    "index",
    [
        slice(2, 5),
        [2, 3, 4],
        np.array([2, 3, 4]),
        np.isin(np.arange(10), [2, 3, 4]),
        (np.array([2, 3, 4]),),
        (np.array([2, 3, 4]), Ellipsis),
    ],
)
def test_every_kind_of_index_takes_all_columns_along(index: Any) -> None:
    part = ten()[index]
    assert isinstance(part, Pictures)
    assert part.shape == (3,)
    assert part.paths == part.items == ["2.jpg", "3.jpg", "4.jpg"]
    assert part.labels is not None
    assert part.labels.tolist() == ["cat", "dog", "cat"]
    assert part.split is not None
    assert part.split.tolist() == ["train"] * 3
    assert part.groups is not None
    assert part.groups.tolist() == ["1", "1", "2"]


def test_an_integer_gives_the_item_and_iteration_gives_all() -> None:
    assert ten()[-1] == ten()[np.int64(9)] == "9.jpg"
    assert list(ten()) == ten().items


@pytest.mark.parametrize("index", [(0, 1), [10], np.array([[0, 1]]), np.ones(3, bool), 10, "a"])
def test_an_index_that_fits_no_row_is_an_index_error(index: Any) -> None:
    with pytest.raises(IndexError):
        ten()[index]


def test_pictures_in_memory_keep_their_first_name_when_sliced() -> None:
    pictures = as_pictures(np.zeros((4, 5, 6, 3), np.uint8))
    assert pictures.shape == (4,)
    assert pictures[2:].paths == ["<picture 2>", "<picture 3>"]
    assert pictures[2:][1:].paths == ["<picture 3>"]


def test_paths_pil_pictures_and_arrays_may_be_mixed() -> None:
    grey = np.zeros((2, 3), np.uint8)
    pictures = as_pictures([Path("a.jpg"), Image.new("L", (2, 2)), grey])
    assert pictures.paths == ["a.jpg", "<picture 1>", "<picture 2>"]
    assert pictures[2] is grey


def test_of_gives_pictures_back_and_reads_arrays_of_paths_as_plain_strings() -> None:
    pictures = ten()
    assert as_pictures(pictures) is pictures
    assert [type(path) for path in as_pictures(np.array(["a.jpg", "b.jpg"])).paths] == [str, str]


@pytest.mark.parametrize("one", ["a.jpg", Path("a.jpg"), Image.new("L", (2, 2))])
def test_one_picture_instead_of_a_list_is_refused_with_the_way_out(one: Any) -> None:
    with pytest.raises(PicturesError, match="pass a list"):
        as_pictures(one)


@pytest.mark.parametrize(
    "wrong",
    [
        [3.5],
        [None],
        7,
        {"a.jpg"},
        np.zeros((4, 4), np.uint8),
        [np.zeros((4, 4), np.float32)],
        [np.zeros((4, 4, 4), np.uint8)],
    ],
)
def test_what_is_no_list_of_pictures_is_refused(wrong: Any) -> None:
    with pytest.raises(PicturesError):
        as_pictures(wrong)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"labels": ["cat"]}, r"labels .*expected \(2,\)"),
        ({"labels": ["cat", None]}, r"labels\[1\] is None"),
        ({"split": ["train", "dev"]}, "use train, val or test"),
        ({"names": ["a"]}, "one for each"),
    ],
)
def test_columns_that_do_not_fit_are_refused(column: dict[str, Any], message: str) -> None:
    with pytest.raises(PicturesError, match=message):
        Pictures(["a.jpg", "b.jpg"], **column)


def test_a_string_is_never_taken_for_a_list_of_letters() -> None:
    with pytest.raises(PicturesError, match="pass a list"):
        Pictures("ab")


def test_labels_are_a_copy_that_the_caller_cannot_change() -> None:
    labels = np.array(["a", "b"])
    pictures = Pictures(["1", "2"], labels)
    labels[0] = "z"
    assert pictures.classes == ("a", "b")
    with pytest.raises(ValueError, match="read-only"):
        pictures.labels[0] = "z"  # type: ignore[index]


def test_classes_are_sorted_and_empty_without_labels() -> None:
    assert Pictures(["1", "2", "3"], ["b", "a", "b"]).classes == ("a", "b")
    assert Pictures(["1"]).classes == ()


def test_pictures_survive_pickling_and_show_their_size() -> None:
    back = pickle.loads(pickle.dumps(ten()))
    assert back.paths == ten().paths
    assert back.classes == ("cat", "dog")
    assert repr(back) == "<Pictures: 10, 2 classes>"


def test_train_test_split_keeps_labels_beside_their_pictures() -> None:
    pictures = ten()
    train, test, y_train, y_test = train_test_split(
        pictures, pictures.labels, test_size=4, random_state=0, stratify=pictures.labels
    )
    assert (len(train), len(test)) == (6, 4)
    assert train.labels.tolist() == y_train.tolist()
    assert test.labels.tolist() == y_test.tolist()
    assert set(train.paths).isdisjoint(test.paths)


def test_cross_validation_and_grid_search_slice_pictures() -> None:
    pictures = ten()
    folds = GroupKFold(5)
    scores = cross_val_score(
        NameReader(), pictures, pictures.labels, groups=pictures.groups, cv=folds
    )
    assert scores.tolist() == [1.0] * 5
    search = GridSearchCV(NameReader(), {"shift": [1, 0]}, cv=2).fit(pictures, pictures.labels)
    assert search.best_params_ == {"shift": 0}


def test_what_describes_copies_of_many_pictures_is_cut() -> None:
    pictures = Pictures([f"{i}.jpg" for i in range(400)], [f"label {i}" for i in range(400)])
    (copies,) = find_exact_copies(pictures, [b"x"] * 400)
    line = copies.describe()
    assert line.endswith("0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 395 more")
    assert "label 4 and 395 more" in line
    assert len(copies.paths) == 400
