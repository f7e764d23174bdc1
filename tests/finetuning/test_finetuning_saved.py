"""A fine-tuned model: opened again, what it was trained on, seeds, jobs, bad pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from tlfeatures import (
    CNNCodes,
    FineTunedClassifier,
    Pictures,
    TransferClassifier,
    load_model,
    load_pictures,
)
from tlfeatures.classification import evaluate_model
from tlfeatures.errors import ImageReadError, ModelFileError, UsageError
from tlfeatures.finetuning import evaluate_finetuning


def without_address(value: object) -> str:
    """What a value is called in a test's name, the same in all processes."""
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", str(value))


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Pictures:
    return load_pictures(folder)


def tuner(cache: Path, **more: Any) -> FineTunedClassifier:
    on_bad = more.pop("on_bad", "raise")
    codes = CNNCodes("embedded", cache=cache, precision="float32", on_bad=on_bad)
    words: dict[str, Any] = {"recipe": "last-blocks", "epochs": 1, "batch_size": 8}
    return FineTunedClassifier(codes, **{"precision": "float32", **words, **more})


@pytest.fixture(scope="module")
def fitted(pictures: Pictures, cache: Path) -> FineTunedClassifier:
    return tuner(cache).fit(pictures[::2])


def test_load_model_and_its_own_load_open_what_was_saved(
    fitted: FineTunedClassifier, pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    path = fitted.save(tmp_path / "m.model")
    plain, own = load_model(path, cache=cache), FineTunedClassifier.load(path, cache=cache)
    assert isinstance(plain, TransferClassifier)
    assert isinstance(own, FineTunedClassifier)
    for each in (plain, own):
        assert each.predict(pictures).tolist() == fitted.predict(pictures).tolist()
        assert each.score(pictures) == fitted.score(pictures)
        np.testing.assert_array_equal(each.classes_, fitted.classes_)
    again = FineTunedClassifier.load(own.save(tmp_path / "again.model"), cache=cache)
    np.testing.assert_allclose(again.predict_proba(pictures), own.predict_proba(pictures))
    assert not hasattr(clone(own), "model_")


def test_load_opens_a_model_on_codes_too_and_refuses_what_is_none(
    pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    codes = CNNCodes("embedded", cache=cache)
    path = TransferClassifier(codes, "knn").fit(pictures).save(tmp_path / "m")
    assert FineTunedClassifier.load(path, cache=cache).score(pictures) == 1.0
    (tmp_path / "text").write_text("no model")
    with pytest.raises(ModelFileError, match="is not a tlfeatures model"):
        FineTunedClassifier.load(tmp_path / "text")


@pytest.mark.parametrize("which", ["tuned", "kept"])
def test_all_that_it_has_seen_is_known_again_what_was_carved_out_too(
    which: str, fitted: FineTunedClassifier, pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    model = fitted.tuned_ if which == "tuned" else fitted.model_
    saved = model.save(tmp_path / "m.model", with_weights=True)
    for each in (fitted if which == "kept" else model, load_model(saved, cache=cache)):
        found = evaluate_model(each, pictures)
        assert (found.n_copies, found.n_test) == (18, 18)
        assert found.copies == pictures.paths[::2]


def test_a_second_tasks_pictures_have_been_seen_by_the_network_too(
    pictures: Pictures, cache: Path
) -> None:
    other = Pictures(pictures.items[1::2], ["even", "odd"] * 9)
    model = tuner(cache, recipe="hard-sharing").fit(pictures[::2], shared_with=other)
    assert evaluate_model(model.tuned_, pictures).n_copies == 36
    assert evaluate_model(model.baseline_, pictures).n_copies < 18


def test_the_held_out_side_is_new_to_what_finetune_saves(pictures: Pictures, cache: Path) -> None:
    result = evaluate_finetuning(pictures, tuner(cache, random_state=np.random.RandomState(0)))
    found = evaluate_model(result.classifier, pictures)
    assert (found.n_test, found.n_copies) == (result.n_test, result.n_train + result.n_valid)


@pytest.mark.parametrize(
    "words",
    [
        {"random_state": None},
        {"random_state": np.random.RandomState(2)},
        {"random_state": 2**32 - 1, "recipe": "scratch"},
        {"n_jobs": None},
        {"n_jobs": -1},
        {"epochs": np.int64(1), "batch_size": np.int32(8), "valid": np.float32(0.25)},
        {"patience": np.int64(1), "lr": np.float32(1e-4), "n_blocks": np.int8(1)},
    ],
    ids=without_address,
)
def test_what_scikit_learns_conventions_allow_is_taken(
    words: dict[str, Any], pictures: Pictures, cache: Path
) -> None:
    model = clone(tuner(cache, **words)).fit(pictures.paths, pictures.labels.tolist())
    assert set(model.predict(pictures[:3])) <= set(pictures.classes)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": np.random.default_rng(0)}, "random_state is Generator"),
        ({"random_state": None, "checkpoint": "c"}, "no checkpoint can go on with"),
        ({"n_jobs": 1.5}, "n_jobs is 1.5"),
        ({"epochs": 1.0}, "epochs is 1.0; give a whole number"),
        ({"batch_size": None}, "batch_size is None"),
        ({"valid": None}, "`valid` is None; give a share"),
        ({"patience": "long"}, "patience is 'long'"),
        ({"patience": 0}, "patience is 0"),
        ({"lr": [1]}, r"`lr` is \[1\]"),
        ({"n_blocks": 0}, "n_blocks is 0"),
        ({"augment": None}, "augment is None; give words"),
    ],
    ids=without_address,
)
def test_what_cannot_be_meant_is_refused_before_any_work(
    words: dict[str, Any], reason: str, pictures: Pictures, cache: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(CNNCodes, "extract", None)
    with pytest.raises(UsageError, match=reason) as caught:
        tuner(cache, **words).fit(pictures)
    assert len(str(caught.value).splitlines()) == 1


def test_bad_pictures_that_on_bad_lets_pass_are_left_out(
    pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    given = Pictures([str(bad), *pictures.items], ["disks", *pictures.labels])
    with pytest.raises(ImageReadError, match=r"bad\.png"):
        tuner(cache).fit(given)
    with pytest.warns(UserWarning, match=r"1 of 37 pictures are bad and left out.*bad.png"):
        model = tuner(cache, on_bad="nan").fit(given)
    assert model.predict(given)[0] is None
    assert model.n_trained_on_ + 2 * 3 == 36
    without = tuner(cache).fit(pictures)
    np.testing.assert_allclose(model.predict_proba(pictures), without.predict_proba(pictures))


def test_labels_may_be_numbers_or_truths(pictures: Pictures, cache: Path, tmp_path: Path) -> None:
    for y in (np.repeat([3, 1, 2], 12), np.repeat([True, False, True], 12).tolist()):
        model = tuner(cache).fit(pictures.paths, y)
        loaded = load_model(model.save(tmp_path / "m"), cache=cache)
        assert loaded.predict(pictures.paths).dtype == np.asarray(y).dtype
        assert loaded.score(pictures.paths, y) > 0.9
