"""Classifiers and evaluations: what is given, groups with gaps, labels that are missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tlfeatures import CNNCodes, Pictures, TransferClassifier, evaluate_baseline, load_pictures
from tlfeatures.classification import SavedModel, _baseline, evaluate_model, predict_saved
from tlfeatures.errors import LabelsError, PicturesError
from tlfeatures.extraction import RunOptions

NAN = float("nan")


@pytest.fixture
def codes(cache: Path) -> CNNCodes:
    return CNNCodes("embedded", cache=cache)


@pytest.fixture
def pictures(folder: Path) -> Pictures:
    return load_pictures(folder)


@pytest.fixture
def table(pictures: Pictures) -> dict[str, Any]:
    assert pictures.labels is not None
    return {"path": pictures.paths, "label": pictures.labels.tolist()}


def test_every_form_of_pictures_and_labels_fits_the_same(
    codes: CNNCodes, pictures: Pictures, folder: Path, table: dict[str, Any]
) -> None:
    wanted = TransferClassifier(codes, head="svm").fit(pictures).predict_proba(pictures[:4])
    frame, polars = pd.DataFrame(table, index=range(50, 86)), pl.DataFrame(table)
    forms: list[tuple[Any, Any]] = [
        (str(folder), None),
        (frame, None),
        (polars, None),
        (table, None),
        (iter(pictures.paths), iter(table["label"])),
        (frame[["path"]], frame["label"]),
        (frame["path"], frame[["label"]]),
        (polars["path"], polars["label"]),
    ]
    for X, y in forms:
        model = TransferClassifier(codes, head="svm").fit(X, y)
        np.testing.assert_allclose(model.predict_proba(frame["path"][:4]), wanted)
        assert model.predict(iter(pictures.paths)).tolist() == table["label"]


@pytest.mark.parametrize("head", ["auto", "svm", "logistic", "knn"])
@pytest.mark.parametrize("form", [list, np.array, pd.Series, pl.Series])
def test_a_missing_label_is_refused_before_anything_is_coded(
    pictures: Pictures, head: str, form: Any, table: dict[str, Any]
) -> None:
    y = [float(len(label)) for label in table["label"]]
    y[30] = NAN
    with pytest.raises(LabelsError, match=r"labels\[30\] is nan: missing"):
        TransferClassifier("no such network", head=head).fit(pictures, form(y))


def test_the_inner_folds_see_a_group_for_each_picture(
    codes: CNNCodes, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        "tlfeatures.heads.linear._linear.make_folds",
        lambda y, groups, seed: seen.append(groups),  # no folds: the heads' stated defaults
    )
    groups = [None if i % 2 else "g" for i in range(36)]
    for given in (groups, pd.Series(groups), np.array(groups, dtype=object)):
        with pytest.warns(UserWarning, match="one picture or group"):
            TransferClassifier(codes, head="svm").fit(pictures, groups=given)
    for found in seen:
        assert len(set(found.tolist())) == 1 + 18


def test_the_whole_protocol_keeps_groups_with_gaps_whole(
    codes: CNNCodes, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outer split, the choice of a head and the controls."""
    groups = np.array([NAN if i % 3 else float(i // 6) for i in range(36)])
    grouped = load_pictures(pictures, groups=groups)
    fits: list[Any] = []

    def note(kind: Any, X: Any, y: Any, groups: Any = None) -> Any:
        fits.append(groups)
        return real(kind, X, y, groups)

    real = _baseline.make_head("logistic").__class__.fit
    monkeypatch.setattr("tlfeatures.heads.LogisticHead.fit", note)
    result = evaluate_baseline(grouped, codes, heads=["logistic"])
    assert "groups kept whole" in result.protocol
    assert result.train.groups is not None
    assert result.test.groups is not None
    assert not set(result.train.groups.tolist()) & set(result.test.groups.tolist())
    n_alone = sum("no group" in str(group) for group in result.train.groups)
    assert 0 < n_alone < 24
    for found in fits:
        assert found is None or len(set(found.tolist())) >= n_alone


def test_gaps_on_both_sides_of_a_test_folder_are_no_group_in_common(
    codes: CNNCodes, pictures: Pictures, tmp_path: Path
) -> None:
    rows = "".join(f"{path},{Path(path).parent.name},\n" for path in pictures.paths)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"path,label,group\n{rows}")
    train, test = (load_pictures(tmp_path / name) for name in ("a.csv", "b.csv"))
    result = evaluate_baseline(train, codes, heads=["knn"], test=test)
    assert not any("both sides of the fixed split" in words for words in result.warnings)
    one = [Pictures(side.items, side.labels, groups=[number] * 36) for side, number in
           ((train, 1), (test, "1.0"))]  # fmt: skip
    result = evaluate_baseline(one[0], codes, heads=["knn"], test=one[1])
    assert any("1 groups (first: 1) lie on both sides" in words for words in result.warnings)


def test_what_folders_are_taken_as_reaches_the_results_notes(
    codes: CNNCodes, folder: Path, tmp_path: Path
) -> None:
    for side, rows in (("seg_train", range(8)), ("seg_test", range(8, 12))):
        for name in ("checks", "Checks ", "disks"):
            (tmp_path / side / name).mkdir(parents=True)
            for i in rows:
                source = folder / name.strip().lower() / f"{i:02}.png"
                shutil.copy(source, tmp_path / side / name)
    result = evaluate_baseline(load_pictures(tmp_path), codes, heads=["knn"])
    assert (result.n_train, result.n_test) == (24, 12)
    assert "taken as a split: seg_test as test, seg_train as train" in result.warnings
    assert any(
        "differ only in blanks and case: 'Checks ' and 'checks'" in w for w in result.warnings
    )


def test_evaluations_take_whatever_an_estimator_takes(
    codes: CNNCodes, folder: Path, table: dict[str, Any], tmp_path: Path
) -> None:
    model = TransferClassifier(codes, head="knn").fit(str(folder))
    saved, run = SavedModel.load(model.save(tmp_path / "m.model")), RunOptions(cache=codes.cache)
    everything: tuple[Any, ...] = (str(folder), table, pd.DataFrame(table))
    for given in everything:
        assert evaluate_model(model, given).n_copies == 36
        assert len(predict_saved(saved, given, run).predictions) == 36
        result = evaluate_baseline(given, codes, heads=["knn"], test=given)
        assert (result.n_train, result.n_test) == (36, 36)


def test_labels_are_needed_where_they_are_and_not_where_they_are_not(
    codes: CNNCodes, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "mixed")
    shutil.copy(folder / "disks" / "00.png", tmp_path / "mixed" / "loose.png")
    mixed = str(tmp_path / "mixed")
    model = TransferClassifier(codes, head="knn").fit(str(folder))
    assert model.predict(mixed).shape == (37,)
    for call in (
        lambda: TransferClassifier(codes, head="knn").fit(mixed),
        lambda: evaluate_baseline(mixed, codes),  # type: ignore[arg-type]
        lambda: evaluate_model(model, mixed),  # type: ignore[arg-type]
    ):
        with pytest.raises(PicturesError, match=r"loose\.png lies beside class folders"):
            call()
    given = TransferClassifier(codes, head="knn").fit(mixed, ["a", "b", *["c"] * 35])
    assert given.classes_.tolist() == ["a", "b", "c"]


def test_many_unknown_classes_are_cut(codes: CNNCodes, pictures: Pictures) -> None:
    model = TransferClassifier(codes, head="knn").fit(pictures)
    strange = Pictures(pictures.items, [f"class {i:02}" for i in range(36)])
    note = next(w for w in evaluate_model(model, strange).warnings if "knows no class" in w)
    assert "class 00, class 01, class 02, class 03, class 04 and 31 more; those" in note
