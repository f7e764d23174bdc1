"""Missing labels are refused with their row; missing groups are groups of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tlfeatures.errors import LabelsError, PicturesError
from tlfeatures.evaluation import make_split
from tlfeatures.pictures import Pictures, load_pictures

NAN = float("nan")
PATHS = [f"{i}.jpg" for i in range(4)]


def write(path: Path, frame: Any) -> Path:
    """As CSV or Parquet, by pandas or polars."""
    frame = frame if isinstance(frame, (pd.DataFrame, pl.DataFrame)) else pd.DataFrame(frame)
    if isinstance(frame, pl.DataFrame):
        frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    else:
        frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return path


GROUPS: list[Any] = [
    ["g", None, "g", None],
    [1.0, NAN, 1.0, NAN],
    pd.array([1, None, 1, None], dtype="Int64"),
    pd.to_datetime(["2020-01-01", None, "2020-01-01", None]),
    ["g", "", "g", " "],
]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("groups", GROUPS, ids=range(len(GROUPS)))
def test_gaps_of_a_manifest_are_groups_of_their_own(
    tmp_path: Path, groups: Any, suffix: str
) -> None:
    frame = pd.DataFrame({"path": PATHS, "group": groups})
    for found in (load_pictures(write(tmp_path / f"list{suffix}", frame)), load_pictures(frame)):
        assert found.groups is not None
        assert found.groups[0] == found.groups[2]
        assert len(set(found.groups.tolist())) == 3


def test_groups_given_beside_pictures_may_have_gaps_and_types(folder: Path) -> None:
    given = [[1, 1.0, "1", None, NAN, pd.NA][i % 6] for i in range(36)]
    for pictures in (
        load_pictures(folder, groups=given),
        Pictures(["a.jpg"] * 36, groups=pd.Series(given)),
    ):
        assert pictures.groups is not None
        assert len(set(pictures.groups.tolist())) == 1 + 18
        part = pictures[3:9]
        assert part.groups is not None
        assert part.groups.tolist() == pictures.groups[3:9].tolist()


def test_what_pictures_hold_as_groups_is_kept_whole_by_a_split() -> None:
    rng, n_apart = np.random.default_rng(0), 0
    for seed in range(50):
        groups = rng.choice(np.array([0.0, 1.0, 2.0, NAN]), 40)
        pictures = Pictures(["a.jpg"] * 40, rng.choice(["x", "y"], 40), groups=groups)
        split = make_split(pictures.labels, groups=pictures.groups, random_state=seed)
        sides = [set(groups[rows][~np.isnan(groups[rows])]) for rows in (split.train, split.test)]
        assert not sides[0] & sides[1]
        n_apart += np.isnan(groups[split.test]).any() and np.isnan(groups[split.train]).any()
    assert n_apart > 40  # rows without a group are not kept together


@pytest.mark.parametrize(
    "labels", [["x", None, "y", "x"], [0.0, NAN, 1.0, 0.0]], ids=["text", "numbers"]
)
def test_a_missing_label_is_refused_with_its_row_in_every_form(
    tmp_path: Path, labels: list[Any]
) -> None:
    frame = {"path": PATHS, "label": labels}
    takes = {
        r"list\.csv, line 3: the label is empty": lambda: load_pictures(
            write(tmp_path / "list.csv", frame)
        ),
        r"list\.parquet, row 1: the label is empty": lambda: load_pictures(
            write(tmp_path / "list.parquet", frame)
        ),
        r"polars\.parquet, row 1: the label is empty": lambda: load_pictures(
            write(tmp_path / "polars.parquet", pl.DataFrame(frame))
        ),
        "data frame, row 1: the label is empty": lambda: load_pictures(pd.DataFrame(frame)),
        r"labels\[1\] is (None|nan): missing": lambda: load_pictures(PATHS, labels=labels),
        r"labels\[1\] is (None|nan): ": lambda: Pictures(PATHS, np.array(labels, dtype=object)),
        r"labels\[1\] is (None|nan)": lambda: Pictures(PATHS, pd.Series(labels)),
    }
    for message, take in takes.items():
        with pytest.raises(PicturesError, match=message):
            take()


def test_a_missing_side_is_refused_too() -> None:
    with pytest.raises(LabelsError, match=r"split\[2\] is nan"):
        Pictures(PATHS, split=["train", "test", NAN, "train"])


def test_whole_numbers_in_a_file_are_the_same_labels_and_groups_in_csv_and_parquet(
    tmp_path: Path,
) -> None:
    frame = pd.DataFrame({"path": PATHS, "label": [1, 0, 1, 0], "group": [7, 7, 8, 8]})
    for name in ("list.csv", "list.parquet"):
        found = load_pictures(write(tmp_path / name, frame))
        assert found.labels is not None
        assert found.labels.tolist() == ["1", "0", "1", "0"]
        assert found.groups is not None
        assert found.groups.tolist() == ["7", "7", "8", "8"]
