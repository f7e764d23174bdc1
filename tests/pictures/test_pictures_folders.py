"""Folders and manifests become `Pictures` in one order, and what is wrong is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from tlfeatures.errors import PicturesError
from tlfeatures.pictures import Pictures, decode, load_pictures

SHARED = Path(__file__).resolve().parents[3] / "shared"


def fill(root: Path, *names: str) -> Path:
    """Make empty files: what they hold is not looked at, unless they have no extension."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(root: Path, pictures: Pictures) -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in pictures.paths]


def labels(pictures: Pictures) -> list[str]:
    assert pictures.labels is not None
    return pictures.labels.tolist()


def test_class_folders_become_labels(tmp_path: Path) -> None:
    pictures = load_pictures(fill(tmp_path, "dog/2.png", "cat/1.jpg"))
    assert names(tmp_path, pictures) == ["cat/1.jpg", "dog/2.png"]
    assert labels(pictures) == ["cat", "dog"]
    assert pictures.split is None


def test_folders_of_one_name_in_two_places_stay_two_classes(tmp_path: Path) -> None:
    pictures = load_pictures(fill(tmp_path, "x/cat/1.jpg", "y/cat/1.jpg"))
    assert pictures.classes == ("x/cat", "y/cat")


def test_files_that_differ_in_their_extension_only_stay_two_pictures(tmp_path: Path) -> None:
    assert names(tmp_path, load_pictures(fill(tmp_path, "a.jpg", "a.png"))) == ["a.jpg", "a.png"]


@pytest.mark.parametrize("word", ["val", "valid", "validation", "Val"])
def test_split_folders_become_the_split(tmp_path: Path, word: str) -> None:
    fill(tmp_path, "train/cat/1.jpg", f"{word}/cat/1.jpg", "test/dog/1.jpg")
    pictures = load_pictures(tmp_path)
    assert pictures.split is not None
    assert sorted(zip(pictures.split.tolist(), labels(pictures), strict=True)) == [
        ("test", "dog"),
        ("train", "cat"),
        ("val", "cat"),
    ]


def test_a_folder_beside_split_folders_is_refused_instead_of_read_as_a_class(
    tmp_path: Path,
) -> None:
    fill(tmp_path, "train/cat/1.jpg", "extra/cat/1.jpg")
    with pytest.raises(PicturesError, match=r"extra lies beside 'train'"):
        load_pictures(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert load_pictures(fill(tmp_path, "train/1.jpg", "bus/1.jpg")).classes == ("bus", "train")


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    pictures = load_pictures(fill(tmp_path, "b.jpg", "a.jpg"))
    assert names(tmp_path, pictures) == ["a.jpg", "b.jpg"]
    assert pictures.labels is None


def test_a_picture_beside_class_folders_is_named(tmp_path: Path) -> None:
    with pytest.raises(PicturesError, match=r"stray\.jpg lies beside class folders; move"):
        load_pictures(fill(tmp_path, "cat/1.jpg", "stray.jpg"))


def test_the_order_is_that_of_the_paths_bytes(tmp_path: Path) -> None:
    wanted = ["A.jpg", "Z.jpg", "a.jpg", "a/1.jpg", "é.jpg", "图.jpg"]
    fill(tmp_path / "c", *reversed(wanted))
    assert names(tmp_path / "c", load_pictures(tmp_path)) == ["A.jpg", "Z.jpg", *wanted[2:]]
    assert load_pictures(tmp_path).classes == ("c", "c/a")


def test_hidden_and_leftover_folders_are_no_classes_and_empty_ones_neither(tmp_path: Path) -> None:
    fill(tmp_path, "cat/1.jpg", "cat/._1.jpg", ".ipynb_checkpoints/1.jpg", "__MACOSX/cat/1.jpg")
    (tmp_path / "empty").mkdir()
    pictures = load_pictures(tmp_path)
    assert names(tmp_path, pictures) == ["cat/1.jpg"]
    assert pictures.classes == ("cat",)


def test_known_extensions_in_any_case_are_pictures_and_the_rest_is_counted(tmp_path: Path) -> None:
    kinds = [
        "jpg",
        "JPEG",
        "jpe",
        "jfif",
        "png",
        "WebP",
        "bmp",
        "dib",
        "TIF",
        "tiff",
        "gif",
        "ppm",
        "pgm",
        "pbm",
        "pnm",
        "mpo",
    ]
    fill(tmp_path, *(f"{i:02}.{kind}" for i, kind in enumerate(kinds)), "a.txt", "b.mp4", "c")
    pictures = load_pictures(tmp_path)
    assert len(pictures) == len(kinds)
    assert pictures.left_out == pictures[:2].left_out == 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_a_file_without_extension_is_known_by_its_first_bytes(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "picture", kind)
    (tmp_path / "notes").write_text("BMW and P5 are no pictures")
    pictures = load_pictures(tmp_path)
    assert names(tmp_path, pictures) == ["picture"]
    assert pictures.left_out == 1


def test_linked_folders_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert names(tmp_path, load_pictures(tmp_path)) == ["a/1.jpg", "b/1.jpg"]


def test_a_dangling_link_stays_in_to_be_reported_and_a_pipe_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    pictures = load_pictures(tmp_path)
    assert names(tmp_path, pictures) == ["gone.jpg"]
    assert pictures.left_out == 2


def test_a_link_to_itself_is_a_bad_picture_like_a_dangling_one(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg")
    for name in ("a/2.jpg", "loop"):
        (tmp_path / name).symlink_to(tmp_path / name)
    pictures = load_pictures(tmp_path)
    assert names(tmp_path, pictures) == ["a/1.jpg", "a/2.jpg"]
    assert pictures.left_out == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the file system refuses such names")
def test_names_that_are_not_utf8_are_kept_and_can_be_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (3, 2)).save(tmp_path / name)
    (path,) = load_pictures(tmp_path).paths
    assert os.fsencode(path).endswith(b"caf\xe9.png")
    assert decode(path).size == (3, 2)


def test_given_columns_replace_those_of_the_folder(tmp_path: Path) -> None:
    fill(tmp_path, "cat/1.jpg", "dog/2.jpg")
    pictures = load_pictures(tmp_path, labels=["x", "y"], groups=["g", "g"])
    assert labels(pictures) == ["x", "y"]
    assert pictures.groups is not None


def test_a_folder_that_is_missing_empty_or_no_folder_is_named_with_a_way_out(
    tmp_path: Path,
) -> None:
    fill(tmp_path, "notes.txt")
    with pytest.raises(PicturesError, match="absent is not there; give a folder"):
        load_pictures(tmp_path / "absent")
    with pytest.raises(PicturesError, match=r"holds no pictures \(1 other file: 1 \.txt\); give"):
        load_pictures(tmp_path)
    with pytest.raises(PicturesError, match=r"neither a folder nor a \.csv or \.parquet manifest"):
        load_pictures(tmp_path / "notes.txt")
    with pytest.raises(PicturesError, match="one picture; pass a list"):
        load_pictures(tmp_path / "a.jpg")


def manifest(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_manifest_keeps_its_order_and_starts_at_its_folder(tmp_path: Path) -> None:
    text = "\ufeffPath,label,note,split,group\nb.jpg,dog,,train,g1\n\n/a.jpg,猫,!,valid,\n"
    pictures = load_pictures(manifest(tmp_path, text))
    assert pictures.paths == [str(tmp_path / "b.jpg"), "/a.jpg"]
    assert labels(pictures) == ["dog", "猫"]
    assert pictures.split is not None
    assert pictures.split.tolist() == ["train", "val"]
    assert pictures.groups is not None
    assert pictures.groups.tolist() == ["g1", "line 4"]


def test_a_manifest_of_paths_alone_has_no_other_columns(tmp_path: Path) -> None:
    pictures = load_pictures(manifest(tmp_path, "path\nmissing.jpg\n"))
    assert (pictures.labels, pictures.split, pictures.groups) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.jpg,cat\n", "line 1: no column 'path' among file, label"),
        ("path;label\na.jpg;cat\n", "separated by commas"),
        ("", "no column 'path' among nothing"),
        ("path,label,label\na.jpg,x,y\n", "line 1: two columns 'label'"),
        ("path,label\na.jpg,cat\n,dog\n", "line 3: the path is empty"),
        ("path,label\na.jpg,cat\nb.jpg,\n", "line 3: the label is empty"),
        ("path,split\na.jpg,dev\n", "line 2: split 'dev'; use train, val or test"),
        ("path,label\na.jpg,cat,dog\n", "line 2: 3 cells, the header has 2"),
        ('path\na.jpg\n"b.jpg\nc.jpg\n', "from line 3: .*mend the quotes"),
        (b"path\ncaf\xe9.jpg\n", "not UTF-8"),
        ("path,label\n", "names no pictures"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_named(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(PicturesError, match=message):
        load_pictures(manifest(tmp_path, text))


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent")
def test_the_hymenoptera_folder_is_read_as_two_classes_in_two_splits() -> None:
    pictures = load_pictures(SHARED / "data" / "hymenoptera")
    assert len(pictures) == 398
    assert pictures.classes == ("ants", "bees")
    assert pictures.split is not None
    assert set(pictures.split.tolist()) == {"train", "val"}
    assert pictures.left_out == 1


def parquet(tmp_path: Path, **columns: list[object]) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow.table(columns), tmp_path / "list.parquet")
    return tmp_path / "list.parquet"


def test_a_parquet_manifest_is_read_as_a_csv_one(tmp_path: Path) -> None:
    columns = {"Path": ["b.jpg", "/a.jpg"], "label": ["dog", "猫"], "note": [1.5, None]}
    found = load_pictures(parquet(tmp_path, **columns, split=["train", "valid"], group=["g", None]))
    assert found.paths == [str(tmp_path / "b.jpg"), "/a.jpg"]
    assert labels(found) == ["dog", "猫"]
    assert found.split is not None
    assert found.split.tolist() == ["train", "val"]
    assert found.groups is not None
    assert found.groups.tolist() == ["g", "row 1"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"file": ["a.jpg"]}, "no column 'path' among file"),
        ({"path": ["a.jpg", None]}, "row 1: the path is empty"),
        ({"path": ["a.jpg"], "label": [""]}, "row 0: the label is empty"),
        ({"path": ["a.jpg"], "split": ["dev"]}, "row 0: split 'dev'; use train"),
        ({"path": []}, "names no pictures"),
        ({"path": ["a"], "Label": ["x"], "label": ["y"]}, "two columns 'label'"),
    ],
)
def test_what_is_wrong_in_a_parquet_manifest_is_named(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(PicturesError, match=message):
        load_pictures(parquet(tmp_path, **columns))


def test_a_broken_parquet_file_and_a_missing_extra_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "list.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    with pytest.raises(PicturesError, match="no Parquet file that can be read"):
        load_pictures(path)
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PicturesError, match=r"pip install 'tlfeatures\[parquet\]'"):
        load_pictures(path)


def test_files_listed_twice_and_links_to_files_are_pictures_of_their_own(tmp_path: Path) -> None:
    fill(tmp_path, "cat/a.png")
    (tmp_path / "cat/link.png").symlink_to(tmp_path / "cat/a.png")
    assert len(load_pictures(tmp_path)) == 2
    twice = load_pictures(manifest(tmp_path, "path\ncat/a.png\ncat/a.png\n"))
    assert twice.paths == [str(tmp_path / "cat/a.png")] * 2


@pytest.mark.slow
def test_a_hundred_thousand_files_are_listed(tmp_path: Path) -> None:
    for i in range(100):
        (tmp_path / f"{i:03}").mkdir()
        for j in range(1000):
            (tmp_path / f"{i:03}" / f"{j:04}.jpg").touch()
    found = load_pictures(tmp_path)
    assert (len(found), len(found.classes)) == (100_000, 100)
    assert found.paths == sorted(found.paths, key=os.fsencode)
