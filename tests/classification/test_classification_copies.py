"""What a model was trained on is no test of it: told apart by content, named, left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tlfeatures import CNNCodes, Pictures, TransferClassifier, evaluate_baseline, load_model
from tlfeatures import load_pictures as load
from tlfeatures.classification import evaluate_model
from tlfeatures.classification._trained import TrainedOn
from tlfeatures.evaluation import wilson_interval
from tlfeatures.modelfile import read_model_file, write_model_file


@pytest.fixture
def pictures(folder: Path) -> Pictures:
    return load(folder)


@pytest.fixture
def codes(cache: Path) -> CNNCodes:
    return CNNCodes("embedded", cache=cache)


@pytest.fixture
def halves(pictures: Pictures) -> tuple[Pictures, Pictures]:
    """Trained on, and new ones."""
    return pictures[::2], pictures[1::2]


@pytest.fixture
def model(codes: CNNCodes, halves: tuple[Pictures, Pictures]) -> TransferClassifier:
    return TransferClassifier(codes, head="knn").fit(halves[0])


def wrong(pictures: Pictures) -> Pictures:
    """The same with labels that no head can guess."""
    turned = np.roll(["checks", "disks", "stripes"], 1)
    names = dict(zip(["checks", "disks", "stripes"], turned, strict=True))
    return Pictures(pictures.items, [names[label] for label in pictures.labels])


def test_copies_are_counted_named_and_left_out_of_the_accuracy(
    model: TransferClassifier, halves: tuple[Pictures, Pictures]
) -> None:
    """New pictures all wrong, copies all right: each figure is of the pictures it says."""
    trained, new = halves
    bad_labels = wrong(new)
    both = Pictures([*trained.items, *bad_labels.items], [*trained.labels, *bad_labels.labels])
    found = evaluate_model(model, both)
    assert (found.accuracy, found.mean_recall, found.n_test) == (0.0, 0.0, 18)
    assert found.ci95 == wilson_interval(0, 18)
    assert (found.n_copies, found.accuracy_all) == (18, 0.5)
    assert found.ci95_all == wilson_interval(18, 36)
    assert found.copies == trained.paths
    (said,) = found.warnings
    assert said.startswith("the model was trained on 18 of the 36 pictures (")
    assert trained.paths[0] in said
    assert trained.paths[5] not in said
    assert "13 more" in said


def test_without_copies_both_figures_are_the_same(
    model: TransferClassifier, halves: tuple[Pictures, Pictures]
) -> None:
    found = evaluate_model(model, halves[1])
    assert (found.n_copies, found.copies, found.warnings) == (0, [], [])
    assert (found.accuracy, found.ci95) == (found.accuracy_all, found.ci95_all)


def test_training_pictures_alone_give_no_accuracy_and_one_line_of_why(
    model: TransferClassifier, halves: tuple[Pictures, Pictures]
) -> None:
    found = evaluate_model(model, halves[0])
    nothing = (found.accuracy, found.ci95, found.mean_recall, found.mean_recall_ci95)
    assert nothing == (None, None, None, None)
    assert (found.n_test, found.n_copies, found.accuracy_all) == (0, 18, 1.0)
    assert found.warnings[0].startswith("there is no accuracy: the model was trained on each of")
    assert json.loads(json.dumps(found.to_json()))["accuracy"] is None


def test_a_copy_is_known_by_its_content_whatever_its_name_label_and_decoding(
    codes: CNNCodes, pictures: Pictures, tmp_path: Path
) -> None:
    """Also where the model decodes in another way than the fit, and after a trip through a file."""
    renamed = tmp_path / "another name.jpg"
    shutil.copy(pictures.paths[0], renamed)
    turned_off = CNNCodes("embedded", cache=codes.cache, exif=False)
    fitted = TransferClassifier(turned_off, head="knn").fit(pictures)
    model = load_model(fitted.save(tmp_path / "m"), cache=codes.cache)
    model.codes_.set_params(exif=True, range=(0.1, 0.9))
    found = evaluate_model(model, Pictures([str(renamed)], ["stripes"]))
    assert (found.n_copies, found.copies) == (1, [str(renamed)])


def test_pictures_in_memory_are_known_by_their_pixels(codes: CNNCodes, pictures: Pictures) -> None:
    opened = [np.array(Image.open(path).convert("RGB")) for path in pictures.paths]
    model = TransferClassifier(codes, head="knn").fit(opened, pictures.labels)
    found = evaluate_model(model, Pictures(opened[:3], pictures.labels[:3]))
    assert found.n_copies == 3


def test_the_file_keeps_salted_digests_and_no_names(
    model: TransferClassifier,
    codes: CNNCodes,
    halves: tuple[Pictures, Pictures],
    tmp_path: Path,
) -> None:
    again = TransferClassifier(codes, head="svm").fit(halves[0])
    paths = [each.save(tmp_path / str(i)) for i, each in enumerate((model, again))]
    one, other = (load_file(path)["trained_on"] for path in paths)
    assert one.dtype == np.uint64
    assert one.shape == other.shape == (18,)
    assert not set(one.tolist()) & set(other.tolist())  # salted: two fits say nothing in common
    for path in paths:
        content = path.read_bytes()
        assert not any(Path(name).name.encode() in content for name in halves[0].paths)
        assert str(Path(halves[0].paths[0]).parent.parent).encode() not in content


def test_bad_pictures_and_copies_within_the_training_set_count_once(codes: CNNCodes) -> None:
    known = TrainedOn.of([b"a" * 16, b"b" * 16, b"a" * 16])
    assert len(known.hashes) == 2
    assert known.has([b"b" * 16, b"c" * 16, b"a" * 16, b"a" * 16]).tolist() == [1, 0, 1, 1]
    assert known.has([]).tolist() == []


def test_a_model_of_an_earlier_version_opens_and_a_note_says_what_is_not_known(
    model: TransferClassifier, halves: tuple[Pictures, Pictures], tmp_path: Path, cache: Path
) -> None:
    tensors, facts = read_model_file(model.save(tmp_path / "new"))
    del tensors["trained_on"], facts["trained_on"]
    old = load_model(write_model_file(tmp_path / "old", tensors, facts), cache=cache)
    found = evaluate_model(old, halves[0])
    assert (found.accuracy, found.accuracy_all, found.n_test) == (1.0, 1.0, 18)
    assert found.n_copies is None
    assert "whether some of these are among them is not known" in found.warnings[0]
    again = load_model(old.save(tmp_path / "again"), cache=cache)
    assert again.trained_on_ is None


def test_a_model_saved_again_or_with_its_network_still_knows_them(
    model: TransferClassifier, halves: tuple[Pictures, Pictures], tmp_path: Path, cache: Path
) -> None:
    whole = load_model(model.save(tmp_path / "1", with_weights=True), cache=cache)
    again = load_model(whole.save(tmp_path / "2"), cache=cache)
    assert evaluate_model(again, halves[0]).n_copies == 18
    assert evaluate_model(again, halves[1]).n_copies == 0


@pytest.mark.parametrize(
    ("words", "n_fitted", "said"),
    [
        ({}, 36, "all 36 pictures"),
        ({"test": 0.5}, 36, "all 36 pictures"),
        ({"train_per_class": 4}, 36, "all 36 pictures"),
        ({"split": "val"}, 36, "all 36 pictures"),
        ({"split": "test"}, 24, "the 24 pictures that are not set aside as a test"),
        ({"split": "test", "train_per_class": 4}, 24, "the 24 pictures that are not set aside"),
        ({"refit": False}, 27, "the 27 pictures of the training side"),
    ],
    ids=str,
)
def test_the_classifier_is_fitted_on_all_but_what_a_person_set_aside(
    words: dict[str, Any], n_fitted: int, said: str, codes: CNNCodes, pictures: Pictures
) -> None:
    """And knows these again: the rest is a test of it."""
    options = dict(words)
    side = options.pop("split", None)
    split = None if side is None else np.where(np.arange(36) % 3 == 0, side, "train")
    given = Pictures(pictures.items, pictures.labels, split)
    result = evaluate_baseline(given, codes, heads=["svm"], **options)
    assert (result.n_fitted, len(result.classifier.trained_on_.hashes)) == (n_fitted, n_fitted)
    assert result.fitted_on.startswith(said)
    found = evaluate_model(result.classifier, pictures)
    assert (found.n_copies, found.n_test) == (n_fitted, 36 - n_fitted)
    if n_fitted == 24:
        assert not set(found.copies) & set(result.test.paths)


def test_the_refitted_head_is_one_fit_with_the_c_that_was_found_and_figures_stay(
    codes: CNNCodes, pictures: Pictures
) -> None:
    """Against scikit-learn's own fit on all codes, and the protocol without a refit."""
    groups = np.arange(36) // 2
    given = Pictures(pictures.items, pictures.labels, groups=groups)
    one, other = (
        evaluate_baseline(given, codes, heads=["logistic"], refit=refit) for refit in (True, False)
    )
    assert one.heads == other.heads
    assert one.controls == other.controls
    head, scored = one.classifier.head_, other.classifier.head_
    assert head.C_ == scored.C_ == one.heads["logistic"].C
    assert head.C == head.C_  # not searched again
    assert not np.allclose(head.coef_, scored.coef_)
    from sklearn.linear_model import LogisticRegression

    X = codes.transform(pictures).astype(float)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    reference = LogisticRegression(C=head.C_, max_iter=10_000, tol=1e-8).fit(
        X - X.mean(0), pictures.labels
    )
    np.testing.assert_allclose(
        one.classifier.predict_proba(pictures),
        reference.predict_proba(X - X.mean(0)),
        atol=1e-3,
    )


def test_a_class_of_val_alone_comes_in_and_knn_keeps_its_neighbours(
    codes: CNNCodes, pictures: Pictures
) -> None:
    split = np.where(np.arange(36) < 24, "train", "val")  # all of stripes
    split[:3] = "val"
    given = Pictures(pictures.items, pictures.labels, split)
    result = evaluate_baseline(given, codes, heads=["knn"])
    assert result.heads["knn"].accuracy < 0.5
    assert result.classifier.classes_.tolist() == ["checks", "disks", "stripes"]
    assert len(result.classifier.head_.to_arrays()[0]["codes"]) == 36
    assert result.classifier.head_.n_neighbors == 5


def test_a_test_folder_of_their_own_is_left_aside_where_another_one_is_given(
    codes: CNNCodes, pictures: Pictures, tmp_path: Path
) -> None:
    split = np.where(np.arange(36) % 4 == 0, "test", "train")
    given = Pictures(pictures.items, pictures.labels, split)
    other = tmp_path / "other"
    for name in ("disks", "stripes"):
        (other / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), "red" if name == "disks" else "blue").save(
            other / name / "1.png"
        )
    result = evaluate_baseline(given, codes, heads=["knn"], test=other)
    assert (result.n_train, result.n_test, result.n_fitted) == (27, 2, 27)
    assert any("9 pictures of a test of their own are left aside" in w for w in result.warnings)
    assert evaluate_model(result.classifier, pictures).n_copies == 27


def test_pictures_may_be_a_folder_and_the_test_a_folder_or_a_list(
    codes: CNNCodes, folder: Path, pictures: Pictures
) -> None:
    result = evaluate_baseline(folder, codes, heads=["knn"], test=np.float32(0.5))
    assert (result.n_train, result.n_test) == (18, 18)
    found = evaluate_model(result.classifier, folder)
    assert found.n_copies == 36
