"""Model files that say what no fit has written: refused in one line when they are opened."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlfeatures import CNNCodes, Pictures, TransferClassifier, load_model, load_pictures
from tlfeatures.backbones import BackboneRequest, load_backbone
from tlfeatures.classification import SavedModel
from tlfeatures.cli._app import run
from tlfeatures.errors import ModelFileError
from tlfeatures.extraction import RunOptions
from tlfeatures.modelfile import read_model_file, write_model_file

Tensors = dict[str, Any]
Facts = dict[str, Any]
HEADS = ("svm", "logistic", "knn")


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Pictures:
    return load_pictures(folder)


@pytest.fixture(scope="module")
def files(pictures: Pictures, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each head."""
    out = tmp_path_factory.mktemp("models")
    codes = CNNCodes("embedded", cache=cache, precision="float32")
    for head in HEADS:
        TransferClassifier(codes, head).fit(pictures).save(out / head, with_weights=head == "svm")
    return out


@pytest.fixture
def change(files: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a model anew, after something was done to it; its checksums are right."""

    def make(head: str, do: Callable[[Tensors, Facts], Any]) -> Path:
        tensors, facts = read_model_file(files / head)
        tensors, facts = dict(tensors), copy.deepcopy(facts)
        do(tensors, facts)
        return write_model_file(tmp_path / "changed.model", tensors, facts)

    return make


def check_refused(path: Path, reason: str) -> None:
    """Both as `predict` opens it and as `load_model` does."""
    cache = path.parent / "cache"

    def as_predict(path: Path) -> None:
        SavedModel.load(path).run_options(RunOptions(cache=cache))

    for opened in (as_predict, partial(load_model, cache=cache)):
        with pytest.raises(ModelFileError, match=reason) as caught:
            opened(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


ARRAYS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "one column more": (lambda a: np.concatenate([a, a[..., :1]], axis=-1), "expected"),
    "one row more": (lambda a: np.concatenate([a, a[:1]]), "expected"),
    "turned": (lambda a: a[:, None], "expected"),
    "empty": (lambda a: a[:0], "expected|y is int64 of shape"),
    "one number": (lambda a: a.ravel()[:1].reshape(()), "expected"),
    "text of numbers": (lambda a: a.astype(bool), "expected"),
    "other kind": (
        lambda a: a.astype(np.int64 if a.dtype.kind == "f" else np.float32),
        "expected (floating|whole)",
    ),
}


@pytest.mark.parametrize("how", ARRAYS)
@pytest.mark.parametrize(
    ("head", "name"),
    [("svm", "coef"), ("logistic", "coef"), ("logistic", "intercept"), ("knn", "codes"),
     ("knn", "y")],
)  # fmt: skip
def test_an_array_of_another_shape_or_kind_is_refused(
    head: str, name: str, how: str, change: Callable[..., Path]
) -> None:
    make, reason = ARRAYS[how]

    def do(tensors: Tensors, facts: Facts) -> None:
        tensors[f"head.{name}"] = np.ascontiguousarray(make(tensors[f"head.{name}"]))

    check_refused(change(head, do), reason)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("head", "name"), [("svm", "coef"), ("logistic", "intercept"), ("knn", "codes")]
)
def test_numbers_that_are_none_are_refused(
    head: str, name: str, value: float, change: Callable[..., Path]
) -> None:
    def do(tensors: Tensors, facts: Facts) -> None:
        tensors[f"head.{name}"] = np.full_like(tensors[f"head.{name}"], value)

    check_refused(change(head, do), f"{name} holds NaN or infinity")


@pytest.mark.parametrize("number", [-1, 3])
def test_votes_for_a_class_that_is_not_there_are_refused(
    number: int, change: Callable[..., Path]
) -> None:
    check_refused(
        change("knn", lambda t, f: t.update({"head.y": np.full(36, number)})), "beyond its 3"
    )


@pytest.mark.parametrize(
    ("head", "name"),
    [("svm", "head.coef"), ("logistic", "head.intercept"), ("knn", "head.y"),
     ("knn", "trained_on")],
)  # fmt: skip
def test_a_missing_array_is_named(head: str, name: str, change: Callable[..., Path]) -> None:
    word = name.removeprefix("head.")
    check_refused(change(head, lambda t, f: t.pop(name)), f"'{word}' is missing")


FACTS: list[tuple[str, tuple[Any, ...], Any, str]] = [
    ("svm", ("head", "sigmoid"), [1.0], "not enough values"),
    ("svm", ("head", "sigmoid"), [0.0, 1.0], "slope of its sigmoid is 0"),
    ("svm", ("head", "sigmoid"), ["a", 1.0], "slope of its sigmoid is 'a'"),
    ("svm", ("head", "C"), "auto", "C is 'auto'"),
    ("logistic", ("head", "C"), -1.0, "C is -1"),
    ("logistic", ("head", "params"), [], "params"),
    ("logistic", ("head", "params"), {"depth": 3}, "depth"),
    ("knn", ("head", "params", "n_neighbors"), 0, "n_neighbors is '0'"),
    ("knn", ("head", "params", "n_neighbors"), 2.5, "n_neighbors is '2.5'"),
    ("knn", ("head", "params"), {}, "'n_neighbors' is missing"),
    ("svm", ("head", "kind"), "forest", "kind 'forest'"),
    ("svm", ("head", "kind"), ["svm"], "kind"),
    ("svm", ("head", "kind"), "logistic", "its head is called 'svm'"),
    ("svm", ("head_name",), "forest", "its head is called 'forest'"),
    ("svm", ("head_name",), 5, "head_name is '5'"),
    ("svm", ("head", "n_features_in"), 255, "expected \\(3, 255\\)"),
    ("svm", ("head", "n_features_in"), "256", "n_features_in is '256'"),
    ("svm", ("head", "classes"), ["a", "b"], "expected \\(1, 256\\)"),
    ("svm", ("head", "classes"), ["a", "b", "b"], "a class twice"),
    ("svm", ("head", "classes"), ["a", "b", 3], "neither all text nor all numbers"),
    ("svm", ("head", "classes"), [["a"], ["b"], ["c"]], "neither all text nor all numbers"),
    ("svm", ("head", "classes"), "abc", "no list"),
    ("svm", ("head", "classes_kind"), "V", "unknown kind 'V'"),
    ("svm", ("head",), None, "head is 'None'"),
    ("svm", ("spec", "dim"), 512, "its codes have 512"),
    ("svm", ("spec", "dim"), "256", "dim is '256'"),
    ("svm", ("spec", "preprocessing"), [], "preprocessing is"),
    ("svm", ("spec", "layer"), 3, "layer is 3"),
    ("svm", ("spec", "precision"), "fp4", "precision 'fp4' is unknown; it was written by a newer"),
    ("svm", ("spec", "decode"), "slow", "decode 'slow' is unknown; it was written by a newer"),
    ("svm", ("spec", "depth"), 3, "unknown fields \\(depth\\)"),
    ("svm", ("spec",), {}, "missing or unknown fields"),
    ("svm", ("request", "backbone"), 5, "backbone is '5', expected str"),
    ("svm", ("request", "backbone"), "resnet5O", "backbone 'resnet5O' is unknown"),
    ("svm", ("request", "layer"), ["a"], "layer is"),
    ("svm", ("request", "layer"), "layer99", "layer99"),
    ("svm", ("request", "pooling"), "median", "pooling 'median' is unknown"),
    ("svm", ("request", "preprocess"), "x", "preprocess 'x' is unknown"),
    ("svm", ("request", "crop"), "x", "crop 'x' is unknown"),
    ("svm", ("request", "input_size"), 64.5, "input_size is '64.5'"),
    ("svm", ("request", "input_size"), 10**30, "input_size is 1000.*at most"),
    ("svm", ("request", "weights"), "a\0b", "is no name"),
    ("svm", ("request", "weights"), "a" * 5000, "is no name"),
    ("svm", ("request", "weights"), "\ud800", "can't encode"),
    ("svm", ("request", "weights"), "random:x", "SEED a number"),
    ("svm", ("request", "colour"), "red", "'colour', which is unknown; it was written by a newer"),
    ("svm", ("request",), {}, "'backbone' is missing"),
    ("svm", ("request",), "embedded", "request is 'embedded'"),
    ("svm", ("decode", "exif"), "yes", "exif is 'yes'"),
    ("svm", ("decode", "range"), [1], "range is"),
    ("svm", ("decode", "range"), [1, 0], "range 1,0 is empty"),
    ("svm", ("decode",), {}, "'exif' is missing"),
    ("svm", ("trained_on",), [], "trained_on is"),
    ("svm", ("trained_on", "salt"), "xyz", "non-hexadecimal"),
    ("svm", ("trained_on", "salt"), "00", "has 1 bytes, not 16"),
]


@pytest.mark.parametrize(
    ("head", "where", "value", "reason"), FACTS, ids=lambda value: str(value)[:30]
)
def test_a_fact_of_another_kind_is_refused(
    head: str, where: tuple[Any, ...], value: Any, reason: str, change: Callable[..., Path]
) -> None:
    def do(tensors: Tensors, facts: Facts) -> None:
        place: Any = facts
        for name in where[:-1]:
            place = place[name]
        place[where[-1]] = value

    check_refused(change(head, do), reason)


def test_a_file_without_a_head_is_no_classifier(change: Callable[..., Path]) -> None:
    for name in ("head", "spec", "request"):
        check_refused(change("svm", lambda t, f, n=name: f.pop(n)), "no classifier of pictures")


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        (lambda a: None, "missing"),
        (lambda a: a[:-1], "another shape"),
        (lambda a: np.full_like(a, np.nan), "not finite"),
    ],
    ids=["missing", "shape", "nan"],
)
def test_a_network_inside_that_is_not_whole_is_refused(
    do: Callable[[Any], Any], reason: str, change: Callable[..., Path]
) -> None:
    def change_bias(tensors: Tensors, facts: Facts) -> None:
        made = do(tensors.pop("network.bn1.bias"))
        if made is not None:
            tensors["network.bn1.bias"] = np.ascontiguousarray(made)

    path = change("svm", change_bias)
    with pytest.raises(ModelFileError, match=reason) as caught:
        load_model(path, cache=path.parent)
    assert "--with-weights" not in str(caught.value)


def test_a_wrong_word_of_a_person_is_no_fault_of_the_file(files: Path) -> None:
    with pytest.raises(ValueError, match="device 'abacus'") as caught:
        load_model(files / "knn", cache=files, device="abacus")
    assert not isinstance(caught.value, ModelFileError)
    with pytest.raises(ValueError, match="SEED a number") as caught:
        load_model(files / "knn", cache=files, weights="random:x")
    assert not isinstance(caught.value, ModelFileError)


def test_the_command_line_says_it_in_one_line(
    change: Callable[..., Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def do(tensors: Tensors, facts: Facts) -> None:
        tensors["head.coef"] = tensors["head.coef"][:, :-1].copy()

    path = change("logistic", do)
    for words in (["predict", str(path), str(folder)],):
        assert run(words) == 1
        err = capsys.readouterr().err
        assert "coef has shape (3, 255), expected (3, 256)" in err
        assert "Traceback" not in err
        assert len(err.strip().splitlines()) == 1


def test_a_checkpoint_or_weights_alone_are_no_classifier(tmp_path: Path) -> None:
    state = load_backbone(BackboneRequest("embedded")).network.state_dict()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    path = write_model_file(tmp_path / "weights", arrays, {"kind": "checkpoint"})
    check_refused(path, "no classifier of pictures")
