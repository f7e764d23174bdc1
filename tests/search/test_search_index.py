"""ImageIndex: neighbours of pictures."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from tlfeatures import CNNCodes, ImageIndex, load_pictures
from tlfeatures.errors import ImageReadError, OutputError
from tlfeatures.search import save_sheet


@pytest.fixture
def index(folder: Path, cache: Path) -> ImageIndex:
    return ImageIndex(CNNCodes("embedded", cache=cache)).fit(load_pictures(folder))


def test_the_constructor_only_stores_and_clones() -> None:
    index = ImageIndex("no such network", n_neighbors=3)
    assert clone(index).get_params() == index.get_params()
    with pytest.raises(NotFittedError):
        index.kneighbors(["a.png"])


def test_neighbours_are_ascending_and_begin_with_the_query_itself(index: ImageIndex) -> None:
    distances, rows = index.kneighbors([index.pictures_.paths[7]], n_neighbors=36)
    assert rows[0, 0] == 7
    assert distances[0, 0] == pytest.approx(0, abs=1e-5)
    assert (np.diff(distances[0]) >= 0).all()


def test_copies_of_a_query_come_first_and_do_not_count(index: ImageIndex, tmp_path: Path) -> None:
    shutil.copy(index.pictures_.paths[7], tmp_path / "copy.png")
    (hits,) = index.search([str(tmp_path / "copy.png")], 3)
    assert [(hit.row, hit.copy) for hit in hits[:1]] == [(7, "file")]
    assert [hit.copy for hit in hits[1:]] == [None] * 3
    assert {hit.label for hit in hits} == {index.pictures_.labels[7]}


def test_more_neighbours_than_pictures_gives_all_others(index: ImageIndex) -> None:
    (hits,) = index.search([index.pictures_.paths[0]], 99)
    assert len(hits) == 35


@pytest.mark.parametrize("content", [None, b"text"])
def test_a_query_that_cannot_be_read_is_named(
    index: ImageIndex, tmp_path: Path, content: bytes | None
) -> None:
    query = tmp_path / "query.png"
    if content:
        query.write_bytes(content)
    with pytest.raises(ImageReadError, match=r"query\.png"):
        index.search([str(query)])


def test_bad_pictures_are_left_out_of_the_index(folder: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"x")
    pictures = [str(tmp_path / "bad.png"), *load_pictures(folder).paths]
    index = ImageIndex(CNNCodes("embedded", cache=cache)).fit(pictures)
    assert len(index.pictures_) == 36
    assert index.bad_[0][0] == pictures[0]


def test_a_pickled_index_finds_the_same(index: ImageIndex) -> None:
    query = [index.pictures_.paths[3]]
    assert pickle.loads(pickle.dumps(index)).search(query) == index.search(query)


def test_the_sheet_is_written_whole_or_not_at_all(index: ImageIndex, tmp_path: Path) -> None:
    queries = [index.pictures_.paths[0]]
    save_sheet(tmp_path / "sheet.png", queries, index.search(queries))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 400
    with pytest.raises(OutputError, match="cannot be written"):
        save_sheet(tmp_path / "sheet.png" / "below.png", queries, index.search(queries))
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_any_layout_and_any_list_can_be_searched(cache: Path, folder: Path, tmp_path: Path) -> None:
    """Loose pictures beside folders, test beside others: what is looked for needs no classes."""
    for name in ("loose.png", "disks/a.png", "test/b.png", "train/stripes/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        kind, number = ("disks", "00") if name == "loose.png" else ("checks", f"{len(name):02}")
        shutil.copy(folder / kind / f"{min(int(number), 11):02}.png", tmp_path / name)
    index = ImageIndex(CNNCodes("embedded", cache=cache)).fit(str(tmp_path))
    assert len(index.pictures_) == 4
    (hits,) = index.search(iter([folder / "stripes" / "00.png"]), 4)
    assert {hit.label for hit in hits} == {None}
    assert {Path(hit.path).name for hit in hits} == {"loose.png", "a.png", "b.png", "c.png"}


def test_iterators_are_used_once(cache: Path, folder: Path, index: ImageIndex) -> None:
    again = ImageIndex(CNNCodes("embedded", cache=cache)).fit(folder.rglob("*.png"))
    assert len(again.pictures_) == 36
    paths = index.pictures_.paths[:2]
    distances, rows = index.kneighbors(iter(paths), 3)
    wanted = index.kneighbors(paths, 3)
    np.testing.assert_array_equal(rows, wanted[1])
    np.testing.assert_array_equal(distances, wanted[0])
