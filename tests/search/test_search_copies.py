"""A query's own file, its copies, and what is near it: which is which, and what counts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfeatures import CNNCodes, ImageIndex, load_pictures
from tlfeatures.errors import ImageReadError
from tlfeatures.search import Neighbour, save_sheet

K = 4


@pytest.fixture
def place(folder: Path, tmp_path: Path) -> Path:
    """Twelve pictures and one more, "own.png", of which there are copies of each kind."""
    root = tmp_path / "all"
    shutil.copytree(folder / "disks", root)
    own = shutil.copy(folder / "stripes" / "03.png", root / "own.png")
    shutil.copy(own, root / "same bytes.png")
    os.link(own, root / "hard link.png")
    with Image.open(own) as picture:
        picture.save(root / "other container.bmp")
        picture.save(root / "other bytes.png", compress_level=1, pnginfo=None, dpi=(72, 72))
    (root / "link.png").symlink_to(own)
    return root


def make_index(place: Path, cache: Path, precision: str = "auto") -> ImageIndex:
    codes = CNNCodes("embedded", cache=cache, precision=precision)
    return ImageIndex(codes).fit(load_pictures(place))


def names(hits: list[Neighbour]) -> list[tuple[str, str | None]]:
    return [(Path(hit.path).name, hit.copy) for hit in hits]


COPIES = [
    ("hard link.png", "file"),
    ("same bytes.png", "file"),
    ("other bytes.png", "pixels"),
    ("other container.bmp", "pixels"),
]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_all_copies_come_first_and_k_others_follow(
    place: Path, cache: Path, precision: str
) -> None:
    index = make_index(place, cache, precision)
    (hits,) = index.search([str(place / "own.png")], K)
    assert names(hits[:4]) == COPIES
    assert [hit.copy for hit in hits[4:]] == [None] * K
    assert [hit.distance for hit in hits[4:]] == sorted(hit.distance for hit in hits[4:])


def test_a_link_to_a_picture_is_that_picture(place: Path, cache: Path, tmp_path: Path) -> None:
    index = make_index(place, cache)
    (tmp_path / "way.png").symlink_to(place / "link.png")
    (by_link,) = index.search([str(tmp_path / "way.png")], K)
    (by_name,) = index.search([str(place / "own.png")], K)
    assert by_link == by_name
    shown = [name for name, _ in names(by_link)]
    assert "own.png" not in shown
    assert "link.png" not in shown


def test_the_own_file_is_the_same_however_the_path_is_written(
    place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(place, cache)
    monkeypatch.chdir(place)
    written = ["own.png", "./own.png", "../all/own.png", str(place / "own.png")]
    found = index.search(written, K)
    assert all(names(hits) == names(found[0]) for hits in found)
    assert names(found[0])[:4] == COPIES


def test_a_picture_in_memory_has_no_file_of_its_own(place: Path, cache: Path) -> None:
    index = make_index(place, cache)
    with Image.open(place / "own.png") as opened:
        opened.load()
        (hits,) = index.search([opened], K)
        (of_pixels,) = index.search([np.asarray(opened)], K)
    everyone = sorted([*(name for name, _ in COPIES), "own.png", "link.png"])
    assert sorted(name for name, _ in names(hits[:6])) == everyone
    assert {copy for _, copy in names(hits[:6])} == {"pixels"}
    assert [hit.copy for hit in hits[6:]] == [None] * K
    assert names(of_pixels) == names(hits)


def test_a_copy_of_a_picture_that_is_not_in_the_folder_finds_them_all(
    place: Path, cache: Path, tmp_path: Path
) -> None:
    index = make_index(place, cache)
    query = shutil.copy(place / "own.png", tmp_path / "query.png")
    (hits,) = index.search([str(query)], 1)
    kinds = dict(names(hits))
    assert [kinds[name] for name in ("own.png", "link.png", "hard link.png")] == ["file"] * 3
    assert len(hits) == 6 + 1


def test_nearly_the_same_picture_is_no_copy(place: Path, cache: Path) -> None:
    with Image.open(place / "own.png") as opened:
        pixels = np.asarray(opened).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(place / "one bit.png")
    (hits,) = make_index(place, cache).search([str(place / "own.png")], K)
    assert names(hits)[4] == ("one bit.png", None)


def test_more_copies_than_neighbours_asked_for_are_all_shown(place: Path, cache: Path) -> None:
    for i in range(20):
        shutil.copy(place / "own.png", place / f"more {i:02}.png")
    (hits,) = make_index(place, cache).search([str(place / "own.png")], 2)
    assert [hit.copy for hit in hits] == ["file"] * 22 + ["pixels"] * 2 + [None] * 2


def test_each_of_several_queries_has_its_own_copies(place: Path, cache: Path) -> None:
    shutil.copy(place / "05.png", place / "five.png")
    index = make_index(place, cache)
    first, second, third = index.search(
        [str(place / n) for n in ("05.png", "own.png", "01.png")], K
    )
    assert names(first)[:1] == [("five.png", "file")]
    assert names(second)[:4] == COPIES
    assert {hit.copy for hit in third} == {None}
    assert [len(hits) for hits in (first, second, third)] == [K + 1, K + 4, K]


def test_copies_are_found_by_euclidean_distance_too(place: Path, cache: Path) -> None:
    index = ImageIndex(CNNCodes("embedded", cache=cache), metric="euclidean").fit(
        load_pictures(place)
    )
    (hits,) = index.search([str(place / "own.png")], K)
    assert names(hits[:4]) == COPIES


def test_bad_queries_are_left_out_by_answer_and_named(
    place: Path, cache: Path, tmp_path: Path
) -> None:
    index = make_index(place, cache)
    (tmp_path / "text.png").write_bytes(b"text")
    queries = [str(tmp_path / n) for n in ("gone.png", "text.png")]
    answers = index.answer([queries[0], str(place / "own.png"), queries[1]], K)
    assert [path for path, _ in answers.bad] == queries
    assert "No such file" in answers.bad[0][1]
    assert answers.queries.paths == [str(place / "own.png")]
    assert answers.neighbours == index.search([str(place / "own.png")], K)
    with pytest.raises(ImageReadError, match=r"2 of the queries .*gone\.png.*text\.png") as caught:
        index.search(queries)
    assert caught.value.bad == answers.bad


def test_bad_queries_are_left_out_whatever_on_bad_says(place: Path, cache: Path) -> None:
    codes = CNNCodes("embedded", cache=cache, on_bad="nan")
    index = ImageIndex(codes).fit(load_pictures(place))
    (place / "text.png").write_bytes(b"text")
    answers = index.answer([str(place / "text.png"), str(place / "own.png")], K)
    assert [path for path, _ in answers.bad] == [str(place / "text.png")]
    assert names(answers.neighbours[0])[:4] == COPIES


def test_the_sheet_names_copies(place: Path, cache: Path, tmp_path: Path) -> None:
    query = [str(place / "own.png")]
    save_sheet(tmp_path / "s.png", query, make_index(place, cache).search(query, K))
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 9 * 96
