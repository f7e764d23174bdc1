"""Data sets of torch, torchvision and Hugging Face are taken as pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision import transforms
from torchvision.datasets import FakeData, ImageFolder

from tlfeatures import CNNCodes, Pictures, TransferClassifier, load_pictures
from tlfeatures.errors import LabelsError, PicturesError
from tlfeatures.pictures import as_pictures, content_digest, decode

# The part of Hugging Face's `datasets` (4.x) that is used, in its shape.


@dataclass
class HFImage:
    decode: bool = True
    dtype: ClassVar[str] = "PIL.Image.Image"
    _type: str = field(default="Image", init=False, repr=False)


@dataclass
class ClassLabel:
    names: list[str]
    dtype: ClassVar[str] = "int64"

    def int2str(self, value: int) -> str:
        return self.names[value]


@dataclass
class Value:
    dtype: str


class Features(dict[str, Any]):
    pass


@dataclass(frozen=True)
class HFDataset:
    """Columns in memory; images as {"path", "bytes"}, decoded when they are read."""

    columns_: dict[str, list[Any]]
    features: Features
    format_: str | None = None

    @property
    def column_names(self) -> list[str]:
        return list(self.columns_)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self.columns_)

    def __len__(self) -> int:
        return len(next(iter(self.columns_.values())))

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return [self._cell(key, each) for each in self.columns_[key]]
        return {name: self._cell(name, cells[key]) for name, cells in self.columns_.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[row] for row in range(len(self)))

    def _cell(self, name: str, cell: Any) -> Any:
        if isinstance(self.features[name], HFImage) and self.features[name].decode and cell:
            cell = Image.open(cell["path"] if cell["bytes"] is None else io.BytesIO(cell["bytes"]))
            cell.load()
        return torch.tensor(0) if self.format_ == "torch" else cell

    def with_format(self, kind: str | None) -> HFDataset:
        return replace(self, format_=kind)

    def cast_column(self, name: str, feature: Any) -> HFDataset:
        return replace(self, features=Features({**self.features, name: feature}))

    def select_columns(self, names: list[str]) -> HFDataset:
        columns = {name: self.columns_[name] for name in names}
        return replace(
            self, columns_=columns, features=Features({n: self.features[n] for n in names})
        )


def hugging_face(paths: list[str], numbers: list[Any], **more: Any) -> HFDataset:
    """Every other picture lies in a file, the others in the table."""
    cells = [{"path": path, "bytes": None} for path in paths]
    for cell in cells[::2]:
        cell.update(path=Path(cell["path"]).name, bytes=Path(cell["path"]).read_bytes())
    features = Features(image=HFImage(), label=ClassLabel(["checks", "disks", "stripes"]))
    return HFDataset({"image": cells, "label": numbers}, features, **more)


class Pairs(Dataset[Any]):
    def __init__(self, items: list[Any], classes: list[str] | None = None) -> None:
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Any:
        return self.items[row]


RED = Image.new("RGB", (8, 8), "red")
GREY = np.zeros((8, 8), np.uint8)


@pytest.fixture
def pictures(folder: Path) -> Pictures:
    return load_pictures(folder)


def test_an_image_folder_is_its_files_and_classes(folder: Path, pictures: Pictures) -> None:
    given = ImageFolder(str(folder), transform=transforms.ToTensor())
    for found in (as_pictures(given), load_pictures(given)):
        assert found.paths == pictures.paths
        assert found.labels.tolist() == pictures.labels.tolist()


def test_a_subset_is_its_rows(folder: Path, pictures: Pictures) -> None:
    given = Subset(Subset(ImageFolder(str(folder)), [3, 20, 5, 30]), [2, 1])
    found = as_pictures(given)
    assert found.paths == [pictures.paths[5], pictures.paths[20]]
    assert found.labels.tolist() == [pictures.labels[5], pictures.labels[20]]


def test_any_data_set_of_torchvision_gives_pictures_and_labels() -> None:
    given = FakeData(5, (3, 16, 16), num_classes=3)
    found = load_pictures(given)
    assert found.labels.tolist() == [int(label) for _, label in given]
    np.testing.assert_array_equal(np.asarray(decode(found.items[2])), np.asarray(given[2][0]))


def test_class_numbers_become_names_where_there_are_any() -> None:
    items = [(RED, torch.tensor(1)), (GREY, np.int64(0)), (RED, 1)]
    assert as_pictures(Pairs(items, ["cat", "dog"])).labels.tolist() == ["dog", "cat", "dog"]
    assert as_pictures(Pairs(items)).labels.tolist() == [1, 0, 1]
    beyond = [*items, (RED, 7)]
    assert as_pictures(Pairs(beyond, ["cat", "dog"])).labels.tolist() == [1, 0, 1, 7]


def test_a_data_set_without_labels_is_pictures_alone() -> None:
    found = as_pictures(Pairs([RED, GREY]))
    assert (len(found), found.labels) == (2, None)


def test_lists_columns_and_iterators_are_no_data_sets(pictures: Pictures) -> None:
    pandas = pytest.importorskip("pandas")
    paths = pictures.paths[:3]
    for given in (
        paths,
        tuple(paths),
        np.array(paths),
        iter(paths),
        pandas.Series(paths, [7, 8, 9]),
    ):
        assert as_pictures(given).paths == paths
    with pytest.raises(PicturesError, match="tuple is no picture"):
        as_pictures([(RED, 1)])


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([(torch.zeros(3, 8, 8), 0)], "Pairs gives tensors.*without the transform"),
        ([(np.zeros((8, 8, 3)), 0)], "Pairs gives arrays of numbers.*without the transform"),
        ([torch.zeros(3, 8, 8)], "Pairs gives tensors"),
        ([(RED, 0, {})], "Pairs gives 3 parts for a picture"),
        ([(RED, {"boxes": []})], "Pairs gives a dict as a label"),
        ([(RED, torch.zeros(4))], "Pairs gives a Tensor as a label"),
    ],
)
def test_what_a_data_set_may_not_give_is_said_in_a_line(items: list[Any], said: str) -> None:
    with pytest.raises(PicturesError, match=said) as caught:
        as_pictures(Pairs(items))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [None, "torch"])
def test_hugging_faces_files_and_bytes_are_read_with_class_names(
    kind: str | None, pictures: Pictures
) -> None:
    paths, numbers = pictures.paths[::12], [0, 1, 2]
    found = load_pictures(hugging_face(paths, numbers, format_=kind))
    assert found.labels.tolist() == ["checks", "disks", "stripes"]
    assert found.paths == ["<picture 0>", paths[1], "<picture 2>"]
    for item, path in zip(found.items, paths, strict=True):
        assert content_digest(item) == content_digest(path)  # the same row of the cache
    assert as_pictures(found[::-1]).items == found.items[::-1]


def test_hugging_faces_labels_may_be_hidden_or_text(pictures: Pictures) -> None:
    paths = pictures.paths[:2]
    assert as_pictures(hugging_face(paths, [-1, -1])).labels is None
    with pytest.raises(LabelsError):
        as_pictures(hugging_face(paths, [-1, 1]))
    text = hugging_face(paths, ["a", "b"]).cast_column("label", Value("string"))
    assert as_pictures(text).labels.tolist() == ["a", "b"]
    assert as_pictures(text.select_columns(["image"])).labels is None


def test_hugging_faces_columns_must_be_clear(pictures: Pictures) -> None:
    given = hugging_face(pictures.paths[:2], [0, 1])
    with pytest.raises(PicturesError, match="no image columns among label"):
        as_pictures(given.select_columns(["label"]))
    two = HFDataset({**given.columns_, "mask": given.columns_["image"]},
                    Features({**given.features, "mask": HFImage()}))  # fmt: skip
    with pytest.raises(PicturesError, match="2 image columns among"):
        as_pictures(two)
    fine = ClassLabel(["a", "b"])
    labels = HFDataset(
        {"image": given.columns_["image"], "coarse": [0, 1], "fine": [0, 1]},
        Features(image=HFImage(), coarse=fine, fine=fine),
    )
    with pytest.raises(PicturesError, match="several columns of labels"):
        as_pictures(labels)
    with pytest.raises(PicturesError, match="holds several data sets; pass one: 'train', 'test'"):
        as_pictures({"train": given, "test": given})


def test_a_cell_without_a_picture_is_a_bad_picture(pictures: Pictures, cache: Path) -> None:
    given = hugging_face(pictures.paths[:3], [0, 0, 0])
    given.columns_["image"][1] = None
    done = CNNCodes("embedded", cache=cache).extract(given)
    assert [name for name, _ in done.bad] == ["<picture 1>"]
    assert len(done.pictures) == 2


def test_an_estimator_fits_and_predicts_data_sets(
    folder: Path, pictures: Pictures, cache: Path
) -> None:
    model = TransferClassifier(CNNCodes("embedded", cache=cache), head="knn")
    model.fit(ImageFolder(str(folder)))
    some = list(range(0, 36, 5))
    numbers = [["checks", "disks", "stripes"].index(x) for x in pictures.labels[some]]
    given = hugging_face([pictures.paths[i] for i in some], numbers)
    assert model.predict(given).tolist() == pictures.labels[some].tolist()
    pairs = Pairs([(Image.open(pictures.paths[i]), pictures.labels[i]) for i in some])
    assert model.score(pairs) == 1.0
