"""`CNNCodes` takes pictures in every form, once; its messages stay short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from tlfeatures import CNNCodes, load_pictures
from tlfeatures.errors import ImageReadError, PicturesError


@pytest.fixture
def codes(cache: Path) -> CNNCodes:
    return CNNCodes("embedded", cache=cache)


@pytest.fixture
def paths(folder: Path) -> list[str]:
    return load_pictures(folder).paths[::5]


@pytest.fixture
def wanted(codes: CNNCodes, paths: list[str]) -> NDArray[np.float32]:
    return codes.transform(paths)


@pytest.mark.parametrize("verb", ["transform", "fit_transform", "query"])
def test_iterators_give_the_codes_of_their_pictures(
    codes: CNNCodes, paths: list[str], wanted: NDArray[np.float32], verb: str
) -> None:
    for once in (iter(paths), (p for p in paths), map(Path, paths), filter(None, paths)):
        np.testing.assert_array_equal(getattr(codes, verb)(once), wanted)
    np.testing.assert_array_equal(codes.transform_layers(iter(paths), [None])[0], wanted)
    np.testing.assert_array_equal(np.asarray(codes.codes(iter(paths))), wanted)


def test_the_files_that_a_pattern_finds_are_coded(codes: CNNCodes, folder: Path) -> None:
    assert codes.fit_transform(folder.rglob("*.png")).shape == (36, 256)
    for call in (codes.fit, codes.transform, codes.fit_transform):
        with pytest.raises(PicturesError, match="generator gives no pictures"):
            call(folder.rglob("*.jpeg"))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_frame_gives_a_row_a_picture(
    codes: CNNCodes, paths: list[str], wanted: NDArray[np.float32], frame: Any
) -> None:
    table = frame({"path": paths, "label": ["x"] * len(paths)})
    column = frame({"file": paths})
    for X in (table, table[["path"]], table["path"], column, column[["file"]]):
        np.testing.assert_array_equal(codes.transform(X), wanted)
        np.testing.assert_array_equal(codes.fit_transform(X), wanted)


def test_a_column_transformer_keeps_rows_and_index(
    codes: CNNCodes, paths: list[str], wanted: NDArray[np.float32]
) -> None:
    index = [30 + i for i in range(len(paths))]
    table = pd.DataFrame({"file": paths, "size": np.arange(len(paths)) + 0.5}, index=index)
    for columns in (["file"], "file"):
        parts = [("codes", codes, columns), ("other", "passthrough", ["size"])]
        both = ColumnTransformer(parts).set_output(transform="pandas")
        for found in (both.fit_transform(table), both.fit(table).transform(table)):
            assert found.index.tolist() == index
            np.testing.assert_array_equal(found.iloc[:, :256].to_numpy(np.float32), wanted)
            assert found.iloc[:, 256].tolist() == table["size"].tolist()


def test_a_frame_of_one_column_is_cross_validated(codes: CNNCodes, folder: Path) -> None:
    pictures = load_pictures(folder)
    y = pictures.labels
    pipeline = make_pipeline(codes, LogisticRegression(max_iter=500))
    for X in (pd.DataFrame({"file": pictures.paths}), np.array(pictures.paths)[:, None]):
        assert cross_val_score(pipeline, X, y, cv=2).tolist() == [1.0, 1.0]


def test_many_missing_files_are_counted_in_the_message_and_all_listed_beside_it(
    codes: CNNCodes, tmp_path: Path
) -> None:
    missing = [str(tmp_path / f"{i:04}.png") for i in range(2000)]
    with pytest.raises(
        ImageReadError, match=r"2,?000 bad pictures .*0004\.png.* and 1,995 more"
    ) as e:
        codes.transform(missing)
    assert len(str(e.value)) < 2000
    assert [path for path, _ in e.value.bad] == missing


def test_a_folder_of_any_layout_has_codes(codes: CNNCodes, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    for name in ("loose.png", "class/in.png"):
        (tmp_path / name).write_bytes((folder / "disks" / "00.png").read_bytes())
    assert codes.transform(str(tmp_path)).shape == (2, 256)
