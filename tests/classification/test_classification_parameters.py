"""What scikit-learn's conventions allow: seeds, labels in every form, bad pictures left out."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from tlfeatures import (
    CNNCodes,
    Pictures,
    TransferClassifier,
    evaluate_baseline,
    load_model,
    load_pictures,
)
from tlfeatures.classification import SavedModel, _classifier, evaluate_model, predict_saved
from tlfeatures.errors import ImageReadError, LabelsError, PicturesError, UsageError
from tlfeatures.extraction import RunOptions


@pytest.fixture
def pictures(folder: Path) -> Pictures:
    return load_pictures(folder)


@pytest.fixture
def codes(cache: Path) -> CNNCodes:
    return CNNCodes("embedded", cache=cache)


@pytest.mark.parametrize("seed", [None, np.int64(3), np.random.RandomState(1), 2**32 - 1], ids=str)
@pytest.mark.parametrize("head", ["auto", "svm"])
def test_every_form_of_a_seed_is_taken(
    head: str, seed: Any, codes: CNNCodes, pictures: Pictures
) -> None:
    model = clone(TransferClassifier(codes, head, seed)).fit(pictures)
    assert model.score(pictures) == 1.0
    if head == "svm":
        result = evaluate_baseline(pictures, codes, heads="svm", random_state=seed)
        assert list(result.heads) == ["svm"]


def test_a_generator_gives_what_the_number_it_draws_gives(
    codes: CNNCodes, pictures: Pictures
) -> None:
    drawn = int(np.random.RandomState(4).randint(2**31 - 1))
    one, other = (
        TransferClassifier(codes, "svm", seed).fit(pictures).predict_proba(pictures)
        for seed in (np.random.RandomState(4), drawn)
    )
    np.testing.assert_array_equal(one, other)
    protocol = evaluate_baseline(
        pictures, codes, heads=["knn"], random_state=np.random.RandomState(4)
    ).protocol
    assert f"seed {drawn}:" in protocol  # so that it can be had again


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, "1", np.random.default_rng(0)], ids=str)
def test_what_is_no_seed_is_refused_before_any_work(
    seed: Any, codes: CNNCodes, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CNNCodes, "extract", None)
    with pytest.raises(UsageError, match="random_state is"):
        TransferClassifier(codes, random_state=seed).fit(pictures)
    with pytest.raises(UsageError, match="random_state is"):
        evaluate_baseline(pictures, codes, random_state=seed)


@pytest.mark.parametrize("head", ["forest", None, 3, ["svm"]], ids=str)
def test_an_unknown_head_is_refused_before_any_work(
    head: Any, codes: CNNCodes, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CNNCodes, "extract", None)
    with pytest.raises(UsageError, match="is unknown"):
        TransferClassifier(codes, head).fit(pictures)


NUMBERS = np.repeat([0, 1, 2], 12)
WORDS = np.array(["checks", "disks", "stripes"])[NUMBERS]
FORMS: dict[str, Any] = {
    "list": WORDS.tolist(),
    "tuple": tuple(WORDS.tolist()),
    "objects": WORDS.astype(object),
    "numpy text": list(WORDS),
    "ints": NUMBERS.tolist(),
    "small ints": NUMBERS.astype(np.int8),
    "whole floats": NUMBERS.astype(float),
    "bools": (NUMBERS > 0).tolist(),
    "numpy bools": NUMBERS > 0,
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_in_every_form_come_back_as_they_were_also_from_a_file(
    form: str, codes: CNNCodes, pictures: Pictures, tmp_path: Path
) -> None:
    y = FORMS[form]
    model = TransferClassifier(codes, "logistic").fit(pictures.paths, y)
    loaded = load_model(model.save(tmp_path / "m"), cache=codes.cache)
    for each in (model, loaded):
        assert each.predict(pictures.paths).tolist() == np.asarray(y).tolist()
        assert each.score(pictures.paths, y) == 1.0
    assert loaded.classes_.dtype.kind == np.asarray(y).dtype.kind


@pytest.mark.parametrize("kind", [None, "category", "string", "Int64"])
def test_a_series_of_labels_is_taken_by_its_order(
    kind: str | None, codes: CNNCodes, pictures: Pictures, tmp_path: Path
) -> None:
    """Not by its index."""
    pandas = pytest.importorskip("pandas")
    values = NUMBERS if kind == "Int64" else WORDS
    y = pandas.Series(values, index=range(100, 64, -1), dtype=kind)
    model = TransferClassifier(codes, "logistic").fit(pictures.paths, y)
    loaded = load_model(model.save(tmp_path / "m"), cache=codes.cache)
    assert loaded.predict(pictures.paths).tolist() == values.tolist()


def test_a_column_of_labels_is_taken_as_its_labels(codes: CNNCodes, pictures: Pictures) -> None:
    model = TransferClassifier(codes, "knn").fit(pictures.paths, WORDS[:, None])
    assert model.predict(pictures.paths).tolist() == WORDS.tolist()


def test_too_few_labels_or_groups_are_refused_before_any_work(
    codes: CNNCodes, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CNNCodes, "extract", None)
    with pytest.raises(PicturesError, match=r"labels have shape \(5,\), expected \(36,\)"):
        TransferClassifier(codes).fit(pictures.paths, WORDS[:5])
    with pytest.raises(PicturesError, match=r"groups have shape \(5,\)"):
        TransferClassifier(codes).fit(pictures, groups=np.arange(5))
    with pytest.raises(LabelsError, match="no labels"):
        TransferClassifier(codes).fit(pictures.paths)


@pytest.fixture
def some_bad(pictures: Pictures, tmp_path: Path) -> Pictures:
    """The pictures with a broken file, a missing one, and one that is cut short, in their midst."""
    broken, cut = tmp_path / "broken.png", tmp_path / "cut.png"
    broken.write_bytes(b"no picture")
    cut.write_bytes(Path(pictures.paths[0]).read_bytes()[:200])
    items, labels = list(pictures.paths), pictures.labels.tolist()
    for row, name in ((0, broken), (20, tmp_path / "missing.png"), (38, cut)):
        items.insert(row, str(name))
        labels.insert(row, "disks")
    return Pictures(items, labels, groups=np.arange(39) // 3)


BAD = [0, 20, 38]


@pytest.mark.parametrize("head", ["auto", "svm", "logistic", "knn"])
def test_bad_pictures_that_on_bad_lets_pass_are_left_out_of_the_fit(
    head: str, codes: CNNCodes, pictures: Pictures, some_bad: Pictures
) -> None:
    """As if they had not been given; nothing is said of them, and nothing is right of them."""
    good = np.delete(np.arange(39), BAD)
    lenient = CNNCodes("embedded", cache=codes.cache, on_bad="nan")
    model = TransferClassifier(lenient, head)
    with pytest.warns(UserWarning, match=r"3 of 39 pictures are bad and left out.*broken.png: "):
        model.fit(some_bad)
    without = TransferClassifier(codes, head).fit(some_bad[good])
    np.testing.assert_array_equal(model.predict_proba(pictures), without.predict_proba(pictures))
    found, shares = model.predict(some_bad), model.predict_proba(some_bad)
    assert [found[row] for row in BAD] == [None] * 3
    assert found[good].tolist() == without.predict(some_bad[good]).tolist()
    assert np.isnan(shares[BAD]).all()
    assert np.isfinite(shares[good]).all()
    assert model.score(some_bad) == pytest.approx(36 / 39)
    assert model.predict(pictures).dtype.kind == "U"  # objects only where they must be
    assert evaluate_model(model, some_bad).n_copies == 36


def test_bad_pictures_alone_are_predicted_none_and_cannot_be_fitted_on(
    codes: CNNCodes, pictures: Pictures, some_bad: Pictures
) -> None:
    lenient = CNNCodes("embedded", cache=codes.cache, on_bad="nan")
    model = TransferClassifier(lenient, "knn").fit(pictures)
    assert model.predict(some_bad[BAD]).tolist() == [None] * 3
    assert np.isnan(model.predict_proba(some_bad[BAD])).all()
    with pytest.raises(PicturesError, match="none of the 3 pictures can be read; the first: "):
        clone(model).fit(some_bad[BAD])


def test_cross_validation_goes_on_over_bad_pictures(codes: CNNCodes, some_bad: Pictures) -> None:
    model = TransferClassifier(CNNCodes("embedded", cache=codes.cache, on_bad="nan"), "knn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scores = cross_val_score(model, some_bad, some_bad.labels, cv=3, error_score="raise")
    assert np.isfinite(scores).all()
    assert scores.mean() > 0.8


def test_by_default_bad_pictures_are_an_error_that_names_a_way_that_works(
    codes: CNNCodes, pictures: Pictures, some_bad: Pictures
) -> None:
    with pytest.raises(ImageReadError, match="on_bad='nan'") as caught:
        TransferClassifier(codes, "knn").fit(some_bad)
    assert [path for path, _ in caught.value.bad] == [some_bad.paths[row] for row in BAD]
    lenient = clone(codes).set_params(on_bad="nan")
    with pytest.warns(UserWarning, match="left out of the fit"):
        TransferClassifier(lenient, "knn").fit(some_bad)


def test_labels_and_probabilities_of_fewer_than_one_are_refused(
    codes: CNNCodes, pictures: Pictures, tmp_path: Path
) -> None:
    path = TransferClassifier(codes, "knn").fit(pictures).save(tmp_path / "m.model")
    model, run = SavedModel.load(path), RunOptions(cache=codes.cache)
    for top in (0, -1, 1.5):
        with pytest.raises(UsageError, match="top is"):
            predict_saved(model, pictures[:2], run, top=top)
    assert len(predict_saved(model, pictures[:2], run, top=99).predictions[0].top) == 3


@pytest.mark.parametrize("test", [0, 1, 1.5, 2024, float("nan"), True], ids=str)
def test_a_number_that_is_no_share_is_told_how_a_folder_is_named(
    test: Any, codes: CNNCodes, pictures: Pictures
) -> None:
    with pytest.raises(UsageError, match="a share lies between 0 and 1, and a folder is given by"):
        evaluate_baseline(pictures, codes, test=test)


def test_a_folder_called_like_a_share_is_a_folder_in_python_by_being_text(
    codes: CNNCodes, pictures: Pictures, folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "disks", tmp_path / "0.5" / "disks")
    assert evaluate_baseline(pictures, codes, heads=["knn"], test="0.5").n_test == 12
    assert evaluate_baseline(pictures, codes, heads=["knn"], test=0.5).n_test == 18


def test_load_model_hands_on_what_lets_code_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    load = classmethod(lambda cls, path, **given: seen.append(given))
    monkeypatch.setattr(_classifier.TransferClassifier, "load", load)
    load_model("m", weights="w", trust_code=True, device="cpu")
    assert seen == [{"weights": "w", "trust_code": True, "device": "cpu"}]
