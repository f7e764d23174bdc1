"""Model files: one whole safetensors file, or the old one, or a line that says what to do."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tlfeatures.errors import ModelFileError
from tlfeatures.modelfile import read_model_file, write_model_file

FACTS = {"classes": ["cat", "größe"], "C": 0.1, "nested": {"dim": 512, "none": None}}


@pytest.fixture
def tensors():
    numbers = np.random.default_rng(0)
    return {
        "coef": numbers.standard_normal((3, 8)).astype(np.float32),
        "intercept": numbers.standard_normal(3),
        "network.conv.weight": numbers.standard_normal((2, 3, 3, 3)).astype(np.float16),
        "network.steps": np.array(7, dtype=np.int64),
        "mask": np.array([True, False]),
        "empty": np.empty((0, 4), np.float32),
        "turned": np.asfortranarray(numbers.standard_normal((4, 5))),
        "strided": numbers.standard_normal(12)[::3],
    }


@pytest.fixture
def model(tmp_path, tensors):
    return write_model_file(tmp_path / "model.tlf", tensors, FACTS)


def check_same(loaded, expected):
    assert set(loaded) == set(expected)
    for name, tensor in expected.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        np.testing.assert_array_equal(loaded[name], tensor)


def test_tensors_and_facts_come_back_as_they_were(model, tensors):
    loaded, facts = read_model_file(model)
    check_same(loaded, tensors)
    assert facts == FACTS


def test_a_network_inside_need_not_be_read(model, tensors):
    network = {name: tensors[name] for name in ("network.conv.weight", "network.steps")}
    check_same(read_model_file(model, prefix="network.")[0], network)
    rest = {name: tensor for name, tensor in tensors.items() if name not in network}
    check_same(read_model_file(model, without="network.")[0], rest)
    both = read_model_file(model, prefix="network.", without="network.conv")[0]
    assert set(both) == {"network.steps"}


def test_the_file_is_plain_safetensors(model, tensors):
    check_same(load_file(model), tensors)
    with safe_open(model, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["format"] == "tlfeatures-model"
    assert metadata["format_version"] == "1"


def test_a_folder_is_made_and_nothing_else_lies_there(tensors, tmp_path):
    write_model_file(tmp_path / "a" / "b" / "model", tensors, FACTS)
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["model"]


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ModelFileError, match=r"no model file .*tlfeatures fit"):
        read_model_file(tmp_path / "absent")
    with pytest.raises(ModelFileError, match="is a folder, no model file"):
        read_model_file(tmp_path)


@pytest.mark.parametrize("data", [b"", b"a picture, perhaps", b"\x80\x04pickle", bytes(100)])
def test_a_file_of_another_kind_is_refused(tmp_path, data):
    path = tmp_path / "model"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"model is not a tlfeatures model .*tlfeatures fit"):
        read_model_file(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_from_elsewhere_are_refused(tmp_path, tensors, metadata):
    save_file({"coef": tensors["coef"]}, tmp_path / "model", metadata)
    with pytest.raises(ModelFileError, match=r"is not a tlfeatures model .another program"):
        read_model_file(tmp_path / "model")


def test_an_unknown_version_is_refused(tmp_path, tensors):
    metadata = {"format": "tlfeatures-model", "format_version": "2"}
    save_file({"coef": tensors["coef"]}, tmp_path / "model", metadata)
    with pytest.raises(ModelFileError, match=r"version 2, this tlfeatures knows 1; update"):
        read_model_file(tmp_path / "model")


@pytest.mark.parametrize(
    "more", [{}, {"facts": "{", "checksums": "{}"}, {"facts": "[]", "checksums": "{}"}]
)
def test_a_model_without_facts_is_refused(tmp_path, tensors, more):
    metadata = {"format": "tlfeatures-model", "format_version": "1", **more}
    save_file({"coef": tensors["coef"]}, tmp_path / "model", metadata)
    with pytest.raises(ModelFileError, match="is not a tlfeatures model"):
        read_model_file(tmp_path / "model")


def raw(path, metadata, tensors=b"", data=b""):
    """A file as no writer would make it."""
    header = b'{"__metadata__":' + json.dumps(metadata).encode() + tensors + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


GOOD = {"format": "tlfeatures-model", "format_version": "1", "facts": "{}", "checksums": "{}"}


@pytest.mark.parametrize(
    "facts",
    ["[" * 100_000, '{"a":' * 50_000, '{"a": NaN}', '{"a": Infinity}', '{"a": ' + "9" * 5000 + "}"],
    ids=["lists in lists", "objects in objects", "nan", "infinity", "digits"],
)
def test_facts_that_no_one_can_have_meant_are_refused_in_a_short_line(tmp_path, facts):
    path = raw(tmp_path / "model", {**GOOD, "facts": facts})
    with pytest.raises(ModelFileError, match="is not a tlfeatures model") as caught:
        read_model_file(path)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F8_E5M2", "Q" * 10_000])
def test_numbers_that_numpy_has_not_are_refused_in_a_short_line(tmp_path, kind):
    tensor = f',"t":{{"dtype":"{kind}","shape":[2],"data_offsets":[0,4]}}'.encode()
    for size in (2, 4):
        path = raw(
            tmp_path / "model", GOOD, tensor.replace(b"[0,4]", b"[0,%d]" % size), bytes(size)
        )
        with pytest.raises(ModelFileError, match="is not a tlfeatures model") as caught:
            read_model_file(path)
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize("length", [2**62, 99_000_000, 10_000])
def test_a_header_longer_than_the_file_is_refused(tmp_path, length):
    (tmp_path / "model").write_bytes(length.to_bytes(8, "little") + b"{}" * 50)
    with pytest.raises(ModelFileError, match="is not a tlfeatures model"):
        read_model_file(tmp_path / "model")


def test_a_tensor_that_was_taken_out_is_missed(tmp_path, tensors):
    """Its checksum still stands in the file."""
    with safe_open(write_model_file(tmp_path / "m", tensors, FACTS), framework="numpy") as file:
        metadata = file.metadata()
    rest = {name: np.array(t, order="C") for name, t in tensors.items() if name != "coef"}
    save_file(rest, tmp_path / "m", metadata)
    with pytest.raises(ModelFileError, match="'coef', which is missing"):
        read_model_file(tmp_path / "m")
    assert read_model_file(tmp_path / "m", prefix="network.")[1] == FACTS


def test_a_truncated_file_is_refused(model):
    data = model.read_bytes()
    for length in range(0, len(data), 97):
        model.write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            read_model_file(model)


def test_a_flipped_byte_in_a_tensor_is_found(model):
    data = bytearray(model.read_bytes())
    data[-5] ^= 1
    model.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"is damaged: .*fit the model again"):
        read_model_file(model)


def test_a_changed_letter_of_the_facts_is_found(model):
    data = model.read_bytes()
    assert data.count(b"cat") == 1
    model.write_bytes(data.replace(b"cat", b"car"))
    with pytest.raises(ModelFileError, match=r"is damaged: what it says about itself does not"):
        read_model_file(model)


@pytest.mark.parametrize("facts", [{"a": np.float32(1)}, {"a": float("nan")}, {"a": object()}])
def test_facts_that_are_no_json_are_refused(tmp_path, tensors, facts):
    with pytest.raises(ModelFileError, match="must be JSON values"):
        write_model_file(tmp_path / "model", tensors, facts)


@pytest.mark.parametrize("tensor", [np.array(["text"]), np.array([None], object)])
def test_tensors_that_are_no_numbers_are_refused(tmp_path, tensor):
    with pytest.raises(ModelFileError, match="holds numbers"):
        write_model_file(tmp_path / "model", {"names": tensor}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_keeps_the_old_file(model, tensors, monkeypatch):
    before = model.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match=r"No space left .*make room"):
        write_model_file(model, {**tensors, "coef": np.zeros(3)}, FACTS)
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]


def test_a_model_cannot_be_saved_where_a_file_is_no_folder(model, tensors):
    with pytest.raises(ModelFileError, match="cannot write the model"):
        write_model_file(model / "inside", tensors, FACTS)


def test_the_file_is_synced_before_it_is_renamed(tmp_path, tensors, monkeypatch):
    seen, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(
        os, "replace", lambda source, target: (seen.append("rename"), replace(source, target))[1]
    )
    write_model_file(tmp_path / "model", tensors, FACTS)
    assert seen == ["fsync", "rename", "fsync"]
    assert Path(tmp_path / "model").exists()
