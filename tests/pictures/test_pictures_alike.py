"""Class names that hardly differ are said as what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlfeatures.pictures import Pictures, load_pictures
from tlfeatures.pictures._alike import describe_alike


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["caf\xe9", "cafe\u0301"], r"only in Unicode form: 'caf\xe9' and 'cafe\u0301'"),
        (["cat", "Cat", "CAT"], "only in case: 'cat' and 'Cat' and 'CAT'"),
        (["cat", "cat "], "only in blanks: 'cat' and 'cat '"),
        (["a b", "a\xa0b"], r"only in blanks: 'a b' and 'a\xa0b'"),
        (["cat", "cat\u200b"], r"only in blanks: 'cat' and 'cat\u200b'"),
        (["cat", "Cat "], "only in blanks and case: 'cat' and 'Cat '"),
        (["stra\xdfe", "STRASSE"], "only in case"),
    ],
)
def test_each_kind_of_difference_is_named(names: list[str], words: str) -> None:
    (line,) = describe_alike(names)
    assert words in line


def test_different_names_and_numbers_are_passed_over() -> None:
    assert describe_alike(["cat", "dog", "cats", "cat_2", 1, 1.5]) == []


def test_many_pairs_are_cut() -> None:
    letters = [letter for pair in zip("abcdefghij", "ABCDEFGHIJ", strict=True) for letter in pair]
    (line,) = describe_alike(letters)
    assert "'e' and 'E' and 5 more." in line


def test_folders_manifests_and_lists_say_it(tmp_path: Path) -> None:
    for name in ("Cat/1.jpg", "cat/1.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text("path,label\na.jpg,cat\nb.jpg,Cat\n")
    for pictures in (
        load_pictures(tmp_path),
        load_pictures(tmp_path / "list.csv"),
        Pictures(["a", "b"], ["cat", "Cat"]),
    ):
        assert len(pictures.classes) == 2
        assert "only in case" in pictures.notes[-1]
