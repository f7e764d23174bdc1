"""Whatever estimators are given becomes the same `Pictures`, or is told why not."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

from tlfeatures.errors import LabelsError, PicturesError
from tlfeatures.pictures import Pictures, as_pictures, labelled_pictures, load_pictures

PATHS = ["b.jpg", "a.jpg", "c.jpg"]

LISTS: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "generator": lambda paths: (path for path in paths),
    "map": lambda paths: map(Path, paths),
    "filter": lambda paths: filter(None, paths),
    "dict keys": lambda paths: dict.fromkeys(paths).keys(),
    "bytes": lambda paths: [os.fsencode(path) for path in paths],
    "array": np.array,
    "object array": lambda paths: np.array(paths, dtype=object),
    "column": lambda paths: np.array(paths, dtype=object)[:, None],
    "stacked columns": lambda paths: np.column_stack([np.array(paths, dtype=object)]),
    "pandas series": lambda paths: pd.Series(paths, index=[9, 9, 4]),
    "pandas frame": lambda paths: pd.DataFrame({"anything": paths}, index=[5, 1, 3]),
    "pandas frame of a number": lambda paths: pd.DataFrame({0: paths}),
    "pandas frame path": lambda paths: pd.DataFrame({"Path ": paths}),
    "pandas index": pd.Index,
    "polars series": pl.Series,
    "polars frame": lambda paths: pl.DataFrame({"file": paths}),
    "pyarrow table": lambda paths: pa.table({"file": paths}),
    "pyarrow batch": lambda paths: pa.RecordBatch.from_pydict({"file": paths}),
    "pyarrow array": pa.array,
    "dict": lambda paths: {"path": paths},
}


@pytest.mark.parametrize("form", LISTS)
def test_every_form_of_a_list_gives_the_same_pictures(form: str) -> None:
    assert as_pictures(LISTS[form](PATHS)).paths == PATHS
    assert load_pictures(LISTS[form](PATHS), labels=iter("xyx")).classes == ("x", "y")


def test_the_files_that_a_pattern_finds_are_pictures(folder: Path) -> None:
    assert len(as_pictures(folder.rglob("*.png"))) == 36
    with pytest.raises(PicturesError, match=r"generator gives no pictures.*pass a list"):
        as_pictures(folder.rglob("*.jpg"))


def test_an_iterator_that_was_used_up_is_told_so() -> None:
    paths = iter(PATHS)
    as_pictures(paths)
    with pytest.raises(PicturesError, match=r"list_iterator gives no pictures \(an iterator can"):
        as_pictures(paths)


TABLE = {
    "Path": ["b.jpg", "a.jpg", "c.jpg"],
    "label": ["dog", "cat", "dog"],
    "split": ["train", "valid", "test"],
    "group": ["g", None, "g"],
    "note": [1, 2, 3],
}
FRAMES: dict[str, Callable[[Any], Any]] = {
    "pandas": lambda table: pd.DataFrame(table, index=[7] * len(next(iter(table.values())))),
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
    "dict": dict,
}


@pytest.mark.parametrize("form", FRAMES)
def test_a_frame_with_the_manifests_columns_is_a_manifest(form: str) -> None:
    for pictures in (load_pictures(FRAMES[form](TABLE)), as_pictures(FRAMES[form](TABLE))):
        assert pictures.paths == PATHS
        assert pictures.labels is not None
        assert pictures.labels.tolist() == ["dog", "cat", "dog"]
        assert pictures.split is not None
        assert pictures.split.tolist() == ["train", "val", "test"]
        assert pictures.groups is not None
        assert len(set(pictures.groups.tolist())) == 2
        assert pictures.groups[0] == pictures.groups[2]


def test_labels_of_a_frame_keep_their_type() -> None:
    for frame in (pd.DataFrame, pl.DataFrame):
        pictures = load_pictures(frame({"path": PATHS, "label": [3, 1, 3]}))
        assert pictures.labels is not None
        assert pictures.labels.tolist() == [3, 1, 3]


def test_pictures_in_a_frame_and_paths_of_every_kind_are_taken() -> None:
    items = [Path("a.jpg"), Image.new("L", (2, 2)), np.zeros((2, 2), np.uint8)]
    assert as_pictures(pd.DataFrame({"path": items})).paths == [
        "a.jpg",
        "<picture 1>",
        "<picture 2>",
    ]


@pytest.mark.parametrize("form", FRAMES)
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"file": ["a"], "label": ["x"]}, "no column 'path' among file, label"),
        ({"path": ["a", None]}, "row 1: the path is empty"),
        ({"path": ["a", "b"], "label": ["x", None]}, "row 1: the label is empty"),
        ({"path": ["a", "b"], "label": [1.0, float("nan")]}, "row 1: the label is empty"),
        ({"path": ["a"], "split": ["dev"]}, "row 0: split 'dev'; use train"),
        ({f"c{i}": [1] for i in range(99)}, "among c0, c1, c2, c3, c4 and 94 more"),
    ],
)
def test_what_is_wrong_in_a_frame_is_named(form: str, table: Any, message: str) -> None:
    with pytest.raises(PicturesError, match=message):
        load_pictures(FRAMES[form](table))


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")
    return file.getvalue()


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        jpeg(),
        png(),
        jpeg() * 500,
        b"\0" * 10,
        bytearray(jpeg()),
        memoryview(jpeg()),
        io.BytesIO(jpeg()),
        np.frombuffer(jpeg(), "S1")[:3].tobytes(),
    ],
    ids=lambda content: f"{type(content).__name__}",
)
def test_a_pictures_bytes_are_no_path(content: Any) -> None:
    with pytest.raises(
        PicturesError, match=r"picture 1: .*no path; write the bytes to a file"
    ) as e:
        Pictures(["a.jpg", content])
    assert len(str(e.value)) < 300


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(jpeg()).decode(),
        base64.b64encode(png()).decode(),
        base64.urlsafe_b64encode(png()).decode(),
        base64.encodebytes(jpeg()).decode(),
        base64.b64encode(jpeg() * 500).decode(),
        "data:image/png;base64," + base64.b64encode(png()).decode(),
        "data:image/svg+xml,<svg/>",
    ],
    ids=range(7),
)
def test_a_picture_in_base64_is_no_path(text: str, tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(f'path\n"{text}"\n')
    for take in (lambda: Pictures([text]), lambda: load_pictures(text)):
        with pytest.raises(PicturesError, match="content in base64, no path; decode it") as e:
            take()
        assert len(str(e.value)) < 400
    with pytest.raises(PicturesError, match=r"base64|more than a path or a name"):
        load_pictures(manifest)


@pytest.mark.parametrize("text", ["a" * 5000, "a\0b.jpg", "x" * 300_000])
def test_text_that_no_system_opens_is_no_path(text: str) -> None:
    for take in (lambda: Pictures([text]), lambda: load_pictures(text)):
        with pytest.raises(PicturesError, match=r"is no path \([\d,]+ characters") as e:
            take()
        assert len(str(e.value)) < 300


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://example.org/a.jpg?width=640", "is an address; download the pictures"),
        ("HTTP://example.org/a.jpg", "is an address; download"),
        ("s3://bucket/a.jpg", "is an address; download"),
        ("gs://bucket/a.jpg", "is an address; download"),
        ("file:///data/a%20b.jpg", "is an address; write the path: '/data/a b.jpg'"),
        (r"cat\1.jpg", r"\\ separates folders on Windows only; write 'cat/1.jpg'"),
        (r"C:\pictures\1.jpg", "on a Windows drive"),
        ("D:/pictures/1.jpg", "on a Windows drive"),
        (r"\\server\share\1.jpg", "separates folders on Windows only"),
    ],
)
@pytest.mark.skipif(os.sep != "/", reason="these are paths on this system")
def test_paths_of_another_world_are_told_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"path\na.jpg\n{text}\n")
    frame = pd.DataFrame({"path": ["a.jpg", text], "label": ["x", "y"]})
    takes = {
        "list.csv, line 3: ": lambda: load_pictures(manifest),
        "row 1: ": lambda: load_pictures(frame),
        "picture 1: ": lambda: Pictures(["a.jpg", text]),
        "": lambda: load_pictures(text),
    }
    for where, take in takes.items():
        with pytest.raises(PicturesError, match=f"{where}.*{reason}"):
            take()


@pytest.mark.skipif(os.sep != "/", reason="no names of files on this system")
def test_files_that_are_called_so_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [r"cat\1.jpg", "~x.jpg", "C:\\a.jpg"]
    for name in names:
        (tmp_path / name).touch()
    assert Pictures(names).paths == names
    (tmp_path / "list.csv").write_text("path\n" + "\n".join(names))
    assert load_pictures(tmp_path / "list.csv").paths == [str(tmp_path / name) for name in names]


def test_the_home_folder_is_known_by_its_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").touch()
    (tmp_path / "list.csv").write_text("path\n~/set/a.jpg\n")
    wanted = [str(tmp_path / "set" / "a.jpg")]
    assert load_pictures("~/set").paths == wanted
    assert load_pictures(Path("~/set")).paths == wanted
    assert load_pictures("~/list.csv").paths == wanted
    assert Pictures(["~/set/a.jpg"]).paths == wanted


@pytest.mark.parametrize("wrong", [{"a.jpg": "cat"}, {"path": "a.jpg"}, 3.5, np.array("a.jpg"),
                                   np.zeros((4, 4)), np.array([["a", "b"]]), open, [["a.jpg"]],
                                   iter([None]), pl.LazyFrame({"path": ["a"]})])  # fmt: skip
def test_what_is_no_list_of_pictures_is_refused_in_words(wrong: Any) -> None:
    with pytest.raises(PicturesError):
        as_pictures(wrong)


def test_an_open_file_and_bytes_are_one_picture(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\n")
    with (tmp_path / "list.txt").open() as file:
        for one in (file, io.BytesIO(jpeg()), jpeg(), bytearray(jpeg())):
            with pytest.raises(PicturesError, match=r"one picture .* pass a list"):
                as_pictures(one)


def test_y_and_groups_of_a_fit_replace_those_of_the_pictures() -> None:
    pictures = Pictures(PATHS, ["x", "y", "x"], groups=[1, 2, 1])
    assert labelled_pictures(pictures) is pictures
    other = labelled_pictures(
        pictures, y=pd.Series([5, 6, 5]), groups=(g for g in [None, "a", "a"])
    )
    assert other.labels is not None
    assert other.labels.tolist() == [5, 6, 5]
    assert other.groups is not None
    assert len(set(other.groups.tolist())) == 2
    with pytest.raises(LabelsError, match=r"no labels; use .*, or pass `labels` to load_pictures"):
        labelled_pictures(PATHS)
    with pytest.raises(LabelsError, match=r"no labels; use .*, or pass `y`"):
        labelled_pictures(PATHS, way=", or pass `y`")
    with pytest.raises(PicturesError, match=r"labels have shape \(2,\), expected \(3,\)"):
        labelled_pictures(PATHS, y=["x", "y"])
    with pytest.raises(PicturesError, match=r"groups have shape \(2,\), expected \(3,\)"):
        labelled_pictures(PATHS, y=["x", "y", "x"], groups=[1, 2])
    with pytest.raises(LabelsError, match=r"labels\[2\] is nan"):
        labelled_pictures(PATHS, y=["x", "y", float("nan")])
