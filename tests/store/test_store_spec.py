"""The code spec: equal specs share a key, everything that changes the numbers changes it."""

import dataclasses
import pickle

import numpy as np
import pytest

from tlfeatures.errors import StoreFormatError
from tlfeatures.store import CodeSpec

CHANGES = {
    "backbone": "resnet34",
    "weights_id": "ef56",
    "layer": "layer4",
    "pooling": "max",
    "dim": 9,
    "preprocessing": {"resize": 232, "crop": 224},
    "precision": "bf16",
    "decode": "fast",
    "contract": 2,
}


def test_every_field_of_the_spec_is_tried_below():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(CodeSpec)}


@pytest.mark.parametrize("field", CHANGES)
def test_every_part_changes_the_key_and_is_named_by_diff(spec, field):
    other = dataclasses.replace(spec, **{field: CHANGES[field]})
    assert other.key != spec.key
    assert other.folder_name != spec.folder_name
    assert other != spec
    (line,) = spec.diff(other)
    assert line.startswith(field)


def test_the_key_is_fixed_for_all_time():
    spec = CodeSpec("resnet18", "ab12", "flatten", "avg", 2048, {"resize": 256})
    assert spec.folder_name == "resnet18-flatten-2a0170bff1bc"
    assert spec.key.startswith("2a0170bff1bc")
    assert len(spec.key) == 64


def test_order_of_preprocessing_does_not_matter(spec):
    other = dataclasses.replace(spec, preprocessing={"crop": 224, "resize": 256})
    assert other == spec
    assert hash(other) == hash(spec)
    assert other.key == spec.key
    assert spec.diff(other) == []


def test_a_spec_goes_through_json_and_pickle(spec):
    nested = dataclasses.replace(spec, preprocessing={"mean": [0.5, 0.25], "views": {"flip": True}})
    assert CodeSpec.from_json(nested.to_json()) == nested
    assert pickle.loads(pickle.dumps(nested)) == nested
    assert nested.preprocessing["mean"] == [0.5, 0.25]


def test_changing_a_returned_value_does_not_change_the_spec(spec):
    key = spec.key
    spec.to_json()["preprocessing"]["resize"] = 1
    assert spec.key == key
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.dim = 3


def test_preprocessing_compares_with_a_plain_mapping(spec):
    assert spec.preprocessing == {"resize": 256, "crop": 224}
    assert spec.preprocessing != {"resize": 256}
    assert spec.preprocessing != 3
    assert len(spec.preprocessing) == 2
    assert "256" in repr(spec.preprocessing)


@pytest.mark.parametrize("layer", ["../../etc", "a/b\\c:d", "..", "", "ä" * 300, "x" * 300])
def test_folder_names_are_safe(spec, layer):
    name = dataclasses.replace(spec, layer=layer).folder_name
    assert name.isascii()
    assert not set(name) & set('/\\:*?"<>| ')
    assert len(name) < 160
    assert name.startswith("resnet18-")


def test_describe_says_every_part_in_one_line(spec):
    words = spec.describe()
    assert "\n" not in words
    for part in ("resnet18", "ab12cd", "flatten", "avg", "8 values", "float32", "resize 256"):
        assert part in words


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 0},
        {"layer": None},
        {"preprocessing": {"mean": np.float32(1)}},
        {"preprocessing": {"a": float("nan")}},
    ],
)
def test_what_cannot_be_a_spec_is_refused(spec, change):
    with pytest.raises(ValueError, match=r"dim|JSON|layer"):
        dataclasses.replace(spec, **change)


def test_json_of_another_version_is_refused_with_its_fields(spec):
    values = spec.to_json()
    with pytest.raises(StoreFormatError, match="colour"):
        CodeSpec.from_json({**values, "colour": 1})
    del values["layer"]
    with pytest.raises(StoreFormatError, match="layer"):
        CodeSpec.from_json(values)
    with pytest.raises(StoreFormatError, match="extract again"):
        CodeSpec.from_json({**spec.to_json(), "preprocessing": 3})
