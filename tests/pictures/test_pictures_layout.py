"""What folders say: sides of a split by common names, and questions where it is open."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tlfeatures.errors import PicturesError, UsageError
from tlfeatures.pictures import Pictures, as_pictures, load_pictures
from tlfeatures.pictures.sources._layout import side_of


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def two_classes(*tops: str) -> list[str]:
    return [f"{top}/{name}/1.jpg" for top in tops for name in ("cat", "dog")]


def sides_of(pictures: Pictures) -> dict[str, str]:
    """The side of each picture by its path, of pictures that have both columns."""
    assert pictures.split is not None
    return {
        Path(p).as_posix(): side for p, side in zip(pictures.paths, pictures.split, strict=True)
    }


@pytest.mark.parametrize(
    ("train", "test", "side"),
    [
        ("train", "test", "test"),
        ("Training", "Testing", "test"),
        ("TRAIN", "TEST", "test"),
        ("train_images", "test_images", "test"),
        ("images-train", "images-test", "test"),
        ("imgs_train", "imgs_val", "val"),
        ("seg_train", "seg_test", "test"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
        ("train/train", "valid/valid", "val"),
        ("train2017", "val2017", "val"),
        ("trainset", "testset", "test"),
        ("training set", "validation set", "val"),
        ("train", "dev", "val"),
        ("train+dev", "test", "test"),
        ("trainval", "test", "test"),
        ("train", "eval", "val"),
        ("train", "evaluation", "val"),
        ("trn", "tst", "test"),
        ("1_train", "2_test", "test"),
        ("train/images", "test/images", "test"),
        ("dogs_train", "dogs_test", "test"),
        ("my-set-v2-train", "my-set-v2-test", "test"),
        ("archive/train", "archive/test", "test"),
        ("archive/set/Training", "archive/set/Testing", "test"),
    ],
)
def test_common_names_of_sides_are_known(tmp_path: Path, train: str, test: str, side: str) -> None:
    pictures = load_pictures(fill(tmp_path, *two_classes(train, test)))
    assert pictures.classes == ("cat", "dog")
    assert sides_of(pictures) == {
        (tmp_path / name).as_posix(): "train" if name.startswith(train) else side
        for name in two_classes(train, test)
    }


def test_names_that_are_not_plain_are_said(tmp_path: Path) -> None:
    plain = load_pictures(fill(tmp_path / "a", *two_classes("Train", "validation")))
    assert plain.notes == []
    other = load_pictures(fill(tmp_path / "b", *two_classes("seg_train", "seg_test")))
    assert other.notes == ["taken as a split: seg_test as test, seg_train as train"]
    assert other[:1].notes == other.notes


@pytest.mark.parametrize(
    "word",
    ["trains", "contest", "protest", "value", "latest", "rain", "devil", "medieval", "tested"],
)
def test_words_that_hold_a_sides_name_are_no_sides(word: str) -> None:
    assert side_of(word) is None


def test_sides_inside_each_class_folder_are_followed_and_said(tmp_path: Path) -> None:
    names = ["cat/train/1.jpg", "cat/test/2.jpg", "dog/train/3.jpg", "dog/test/4.jpg"]
    pictures = load_pictures(fill(tmp_path, *names))
    assert pictures.classes == ("cat", "dog")
    assert sides_of(pictures) == {
        (tmp_path / name).as_posix(): name.split("/")[1] for name in sorted(names)
    }
    assert "each class folder holds the sides" in pictures.notes[0]


def test_classes_called_like_a_side_inside_a_side_stay_classes(tmp_path: Path) -> None:
    names = [f"{side}/{name}/1.jpg" for side in ("train", "test") for name in ("bus", "train")]
    assert load_pictures(fill(tmp_path, *names)).classes == ("bus", "train")


@pytest.mark.parametrize("tops", [("fold1", "fold2", "fold3"), ("a", "b"), ("male", "female")])
def test_folders_that_may_be_sides_are_asked_about(tmp_path: Path, tops: tuple[str, ...]) -> None:
    fill(tmp_path, *two_classes(*tops))
    words = f"{', '.join(sorted(tops))} each hold cat, dog.*name them train, val and test.*manifest"
    with pytest.raises(PicturesError, match=words):
        load_pictures(tmp_path)


def test_both_answers_to_the_question_work(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", *two_classes("fold1", "fold2"))
    paths = load_pictures(root, layout="any").paths
    with (tmp_path / "list.csv").open("w", newline="") as file:
        rows = [[path, "/".join(Path(path).parts[-3:-1])] for path in paths]
        csv.writer(file).writerows([["path", "label"], *rows])
    listed = load_pictures(tmp_path / "list.csv")
    assert listed.paths == paths
    assert listed.classes == ("fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog")
    (root / "fold1").rename(root / "train")
    (root / "fold2").rename(root / "test")
    renamed = load_pictures(root)
    assert renamed.classes == ("cat", "dog")
    assert renamed.split is not None
    assert renamed.split.tolist() == ["test", "test", "train", "train"]


def test_labels_that_are_given_need_no_answer(tmp_path: Path) -> None:
    root = fill(tmp_path, *two_classes("fold1", "fold2"))
    given = load_pictures(root, labels=["w", "x", "y", "z"])
    assert (given.classes, given.notes) == (("w", "x", "y", "z"), [])


@pytest.mark.parametrize(
    "names",
    [
        ["animals/cat/1.jpg", "animals/dog/1.jpg", "cars/bus/1.jpg", "cars/van/1.jpg"],
        ["x/cat/1.jpg", "y/cat/1.jpg"],
        ["x/cat/1.jpg", "x/dog/1.jpg", "y/cat/1.jpg", "y/owl/1.jpg"],
        [f"{top}/{i}{top}/1.jpg" for top in ("us", "eu") for i in range(9)]
        + [f"{top}/{name}/1.jpg" for top in ("us", "eu") for name in ("paris", "london")],
    ],
)
def test_folders_that_hardly_share_names_are_classes(tmp_path: Path, names: list[str]) -> None:
    pictures = load_pictures(fill(tmp_path, *names))
    assert pictures.classes == tuple(sorted(name.rsplit("/", 1)[0] for name in names))


@pytest.mark.parametrize("where", ["test", "test/images", "test/unknown", "Testing/Testing"])
def test_an_unlabelled_test_folder_gets_a_message_that_fits(tmp_path: Path, where: str) -> None:
    fill(tmp_path, *two_classes("train"), f"{where}/1.jpg", f"{where}/2.jpg")
    words = rf"{where} holds 2 pictures without class folders, so their labels.*'predict'"
    with pytest.raises(PicturesError, match=words):
        load_pictures(tmp_path)


def test_a_folder_called_test_beside_classes_is_a_class_and_said(tmp_path: Path) -> None:
    pictures = load_pictures(fill(tmp_path, "cat/1.jpg", "dog/1.jpg", "test/1.jpg"))
    assert pictures.classes == ("cat", "dog", "test")
    assert "the folder 'test' is taken as a class" in pictures.notes[0]


@pytest.mark.parametrize(
    "names",
    [
        ["cat/1.jpg", "stray.jpg"],
        ["train/cat/1.jpg", "extra/cat/1.jpg"],
        [*two_classes("train"), "test/1.jpg"],
        two_classes("fold1", "fold2"),
    ],
)
def test_what_needs_no_labels_takes_a_folder_of_any_layout(
    tmp_path: Path, names: list[str]
) -> None:
    fill(tmp_path, *names)
    with pytest.raises(PicturesError):
        load_pictures(tmp_path)
    for pictures in (load_pictures(tmp_path, layout="any"), as_pictures(str(tmp_path))):
        assert len(pictures) == len(names)
        assert (pictures.labels, pictures.split) == (None, None)
        assert pictures.notes[0].startswith("read without labels: ")


def test_a_clear_layout_is_read_the_same_by_both(tmp_path: Path) -> None:
    fill(tmp_path, *two_classes("train", "test"))
    strict, free = load_pictures(tmp_path), load_pictures(tmp_path, layout="any")
    assert strict.labels is not None
    assert free.labels is not None
    assert free.labels.tolist() == strict.labels.tolist()
    assert sides_of(free) == sides_of(strict)


def test_an_unknown_layout_is_a_wrong_word(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose one of classes, any"):
        load_pictures(tmp_path, layout="flat")
