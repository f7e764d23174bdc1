"""TransferClassifier and the whole honest protocol."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from torch import nn

from tlfeatures import CNNCodes, Pictures, TransferClassifier, evaluate_baseline, load_pictures
from tlfeatures.classification import (
    SavedModel,
    _baseline,
    _controls,
    evaluate_model,
    predict_saved,
)
from tlfeatures.classification._controls import _thin_out
from tlfeatures.errors import (
    CodesMismatchError,
    LabelsError,
    ModelFileError,
    PicturesError,
    UsageError,
    WeightsError,
)
from tlfeatures.evaluation import Split
from tlfeatures.extraction import RunOptions
from tlfeatures.heads import LogisticHead
from tlfeatures.pictures import as_pictures

KEYS = {
    "classes", "protocol", "n_train", "n_test", "n_fitted", "fitted_on", "bad", "backbone",
    "weights_id", "layer", "key", "heads", "chosen", "controls", "warnings", "confounds",
    "learning_curve", "seconds",
}  # fmt: skip


@pytest.fixture
def codes(cache: Path) -> CNNCodes:
    return CNNCodes("embedded", cache=cache)


@pytest.fixture
def pictures(folder: Path) -> Pictures:
    return load_pictures(folder)


@pytest.fixture
def model(codes: CNNCodes, pictures: Pictures) -> TransferClassifier:
    return TransferClassifier(codes, head="knn").fit(pictures)


def test_the_constructor_only_stores_and_clones(codes: CNNCodes) -> None:
    model = TransferClassifier(codes, head="no such head", random_state=7)
    assert clone(model).get_params()["head"] == "no such head"
    assert model.set_params(backbone__layer="layer4").backbone.layer == "layer4"


def test_predicting_before_fitting_is_refused(pictures: Pictures) -> None:
    with pytest.raises(NotFittedError):
        TransferClassifier("embedded").predict(pictures)


def test_string_labels_come_back_with_probabilities(
    model: TransferClassifier, pictures: Pictures
) -> None:
    assert model.score(pictures, pictures.labels) == 1.0
    shares = model.predict_proba(pictures.paths[:2])
    assert model.classes_.tolist() == ["checks", "disks", "stripes"]
    np.testing.assert_allclose(shares.sum(1), 1)


def test_fitting_again_gives_the_same_and_a_pickle_predicts_the_same(
    model: TransferClassifier, pictures: Pictures
) -> None:
    first = model.predict_proba(pictures)
    np.testing.assert_array_equal(model.fit(pictures).predict_proba(pictures), first)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict_proba(pictures), first)


def test_it_cross_validates_and_searches_over_heads(codes: CNNCodes, pictures: Pictures) -> None:
    model = TransferClassifier(codes, head="knn")
    assert cross_val_score(model, pictures, pictures.labels, cv=3).mean() > 0.9
    search = GridSearchCV(model, {"head": ["knn", "svm"]}, cv=2)
    assert search.fit(pictures.paths, pictures.labels).best_score_ > 0.9


def test_pictures_without_labels_or_of_one_class_are_refused(
    codes: CNNCodes, pictures: Pictures
) -> None:
    with pytest.raises(LabelsError, match="no labels"):
        TransferClassifier(codes).fit(pictures.paths)
    with pytest.raises(ValueError, match="class"):
        TransferClassifier(codes, head="svm").fit(pictures.paths[:5], ["a"] * 5)


def test_a_saved_model_with_weights_works_in_another_process_and_folder(
    model: TransferClassifier, pictures: Pictures, tmp_path: Path
) -> None:
    path = model.save(tmp_path / "m.model", with_weights=True)
    words = ["-m", "tlfeatures.cli", "predict", str(path), pictures.paths[0], "--json"]
    code = "import sys; from tlfeatures.cli import main; main(sys.argv[1:])"
    options = ["--cache", str(tmp_path / "elsewhere")]
    answer = subprocess.run(
        [sys.executable, "-c", code, *words[2:], *options],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(answer.stdout)["predictions"][0]
    assert found["label"] == "checks"
    assert found["top"][0]["label"] == "checks"


def test_a_model_refuses_codes_of_other_weights(
    model: TransferClassifier, tmp_path: Path, cache: Path
) -> None:
    from safetensors.torch import save_file as save_torch

    from tlfeatures.backbones import BackboneRequest, load_backbone

    other = load_backbone(BackboneRequest("embedded", "random")).network.state_dict()
    save_torch(other, tmp_path / "other.safetensors")
    path = model.save(tmp_path / "m.model")
    with pytest.raises(CodesMismatchError, match="weights"):
        TransferClassifier.load(path, weights=tmp_path / "other.safetensors", cache=cache)


def test_a_model_takes_codes_of_another_contract_and_says_so(
    model: TransferClassifier,
    pictures: Pictures,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from tlfeatures.backbones import BackboneRequest
    from tlfeatures.extraction import RunOptions, extract

    path, later = model.save(tmp_path / "m.model"), tmp_path / "later"
    extract(pictures[:3], BackboneRequest("embedded"), RunOptions(later, contract=1001))
    with caplog.at_level("INFO", "tlfeatures"):
        loaded = TransferClassifier.load(path, cache=later)
    assert "fitted on codes of contract 1, these are of 1001" in caplog.text
    assert loaded.predict(pictures.paths[:2]).tolist() == model.predict(pictures.paths[:2]).tolist()


def test_a_model_whose_weights_file_has_gone_says_what_to_do(
    pictures: Pictures, tmp_path: Path, cache: Path
) -> None:
    import shutil

    import tlfeatures.backbones

    source = Path(tlfeatures.backbones.__file__).parent / "embedded.safetensors"
    shutil.copy(source, tmp_path / "w.safetensors")
    codes = CNNCodes("embedded", weights=tmp_path / "w.safetensors", cache=cache)
    model = TransferClassifier(codes, head="knn").fit(pictures)
    path = model.save(tmp_path / "m.model", with_weights=False)
    whole = model.save(tmp_path / "whole.model")  # weights of a file go inside
    assert TransferClassifier.load(path, cache=cache).predict(pictures.paths[:1]) == ["checks"]
    (tmp_path / "w.safetensors").unlink()
    assert TransferClassifier.load(whole, cache=cache).predict(pictures.paths[:1]) == ["checks"]
    with pytest.raises(WeightsError, match="with its weights inside"):
        TransferClassifier.load(path, cache=tmp_path / "fresh")


def test_a_file_from_somewhere_else_is_no_model(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="not a tlfeatures model"):
        TransferClassifier.load(tmp_path / "other.safetensors")


def test_bad_pictures_are_left_out_of_predictions_and_scores(
    model: TransferClassifier, pictures: Pictures, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"x")
    paths = [str(tmp_path / "bad.png"), pictures.paths[0]]
    saved = SavedModel.load(model.save(tmp_path / "m.model"))
    found = predict_saved(saved, Pictures(paths), RunOptions(cache=model.codes_.cache), top=2)
    assert [p.path for p in found.predictions] == paths[1:]
    result = evaluate_model(model, Pictures(paths, ["checks", "checks"]))
    assert (result.accuracy_all, result.n_copies, len(result.bad)) == (1.0, 1, 1)


def test_the_result_has_exactly_the_keys_of_the_command_line(
    codes: CNNCodes, pictures: Pictures
) -> None:
    result = evaluate_baseline(pictures, codes, heads=["svm", "logistic", "knn"])
    data = json.loads(json.dumps(result.to_json()))
    assert set(data) == KEYS
    assert set(data["heads"]) == {"svm", "logistic", "knn"}
    for head in data["heads"].values():
        assert set(head) == {"accuracy", "ci95", "mean_recall", "mean_recall_ci95", "C"}
        assert head["ci95"][0] <= head["accuracy"] <= head["ci95"][1]
    controls = {"pixels", "histogram", "random_weights", "majority", "shuffled_labels"}
    assert set(data["controls"]) == controls
    assert (data["n_train"], data["n_test"]) == (27, 9)


def test_a_split_column_is_followed_and_copies_across_it_are_named(
    codes: CNNCodes, pictures: Pictures
) -> None:
    items = [*pictures.paths, pictures.paths[0]]
    labels = [*pictures.labels, "stripes"]
    split = ["train" if i % 2 else "test" for i in range(36)] + ["train"]
    result = evaluate_baseline(Pictures(items, labels, split), codes, heads=["knn"])
    assert (result.n_train, result.n_test) == (19, 18)
    named = [w for w in result.warnings if "exact copies" in w]
    assert len(named) == 1
    assert pictures.paths[0] in named[0]


def test_nothing_is_chosen_on_the_test_side(codes: CNNCodes, pictures: Pictures) -> None:
    split = ["train" if i % 2 else "test" for i in range(36)]
    both = zip(pictures.labels, split, strict=True)
    turned = [label if s == "train" else "stripes" for label, s in both]
    one, other = (
        evaluate_baseline(Pictures(pictures.items, y, split), codes, heads=["svm", "knn"])
        for y in (pictures.labels, turned)
    )
    assert one.chosen == other.chosen
    assert one.heads["svm"].C == other.heads["svm"].C


def test_so_many_a_class_a_share_and_a_test_folder(
    codes: CNNCodes, pictures: Pictures, folder: Path
) -> None:
    few = evaluate_baseline(pictures, codes, heads=["knn"], train_per_class=4)
    share = evaluate_baseline(pictures, codes, heads=["knn"], test=0.5)
    other = evaluate_baseline(pictures, codes, heads=["knn"], test=str(folder))
    assert (few.n_train, few.n_test) == (12, 24)
    assert (share.n_train, share.n_test) == (18, 18)
    assert (other.n_train, other.n_test) == (36, 36)


def test_one_class_or_an_unknown_head_is_refused(codes: CNNCodes, pictures: Pictures) -> None:
    with pytest.raises(LabelsError):
        evaluate_baseline(pictures[:12], codes)
    with pytest.raises(UsageError, match="did you mean 'svm'"):
        evaluate_baseline(pictures, codes, heads=["svn"])


@pytest.mark.parametrize(
    ("n_train", "n_test", "expected"),
    [
        (6000, 2000, (1500, 500)),
        (100, 59_900, (100, 1900)),  # controls learn from as many as the heads
        (2, 3000, (2, 1998)),
        (1500, 60_000, (1000, 1000)),
        (60_000, 100, (1996, 100)),
        (1000, 1000, (1000, 1000)),
    ],
)
def test_controls_take_about_two_thousand_pictures(
    n_train: int, n_test: int, expected: tuple[int, int]
) -> None:
    split = Split(np.arange(n_train), np.arange(n_train, n_train + n_test), "", ())
    train, test = _thin_out(split, np.arange(n_train + n_test) % 2, 0)
    assert (len(train), len(test)) == expected
    assert set(train) <= set(split.train)
    assert set(test) <= set(split.test)


def test_controls_learn_from_two_of_each_class_at_least() -> None:
    y = np.r_[np.zeros(4000, int), [1, 1, 2, 3, 3, 3], np.zeros(2000, int)]
    train, test = _thin_out(Split(np.arange(4006), np.arange(4006, 6006), "", ()), y, 0)
    assert np.bincount(y[train])[1:].tolist() == [2, 1, 2]
    assert len(train) + len(test) <= 2001


def test_groups_stay_known_when_another_folder_is_tested_on(
    codes: CNNCodes, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    grouped = Pictures(pictures.items, pictures.labels, groups=np.arange(36) // 2)
    seen: list[list[str]] = []
    choose = _baseline.choose_head

    def note(heads: Any, X: Any, y: Any, groups: Any, **more: Any) -> Any:
        seen.append(groups.tolist())
        return choose(heads, X, y, groups, **more)

    monkeypatch.setattr(_baseline, "choose_head", note)
    fits: list[Any] = []
    fit = LogisticHead.fit

    def note_fit(self: Any, X: Any, y: Any, groups: Any = None) -> Any:
        fits.append(groups)
        return fit(self, X, y, groups)

    monkeypatch.setattr(LogisticHead, "fit", note_fit)
    result = evaluate_baseline(grouped, codes, heads=["logistic"], test=pictures)
    assert seen == [[str(i // 2) for i in range(36)]]
    assert all(groups is not None for groups in fits)
    assert not any("intervals" in words for words in result.warnings)
    tested = Pictures(pictures.items, pictures.labels, groups=np.arange(36) // 4)
    result = evaluate_baseline(pictures, codes, heads=["logistic"], test=tested)
    assert any("36 test pictures are of 9 groups; the intervals" in w for w in result.warnings)


def test_a_side_that_cannot_be_read_is_an_error_with_its_first_reason(
    codes: CNNCodes, pictures: Pictures, tmp_path: Path
) -> None:
    """Not a silent score on a part of the training side."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in (1, 2):
            (tmp_path / name / f"{i}.jpg").write_bytes(b"no picture")
    for test, train, side in ((tmp_path, pictures, "test"), (pictures, tmp_path, "training")):
        with pytest.raises(PicturesError, match=f"none of the 4 {side} pictures.*; the first: .*1"):
            evaluate_baseline(as_pictures(train), codes, test=test)
    with pytest.raises(PicturesError, match="none of the 4 pictures can be read; the first: "):
        evaluate_baseline(load_pictures(tmp_path), codes)


def test_the_network_with_random_weights_sees_the_same_squares_and_is_another_network(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = CNNCodes("resnet18", weights="random:3", input_size=64, resize=70, cache=cache)
    pictures, seen = load_pictures(folder), []
    transform = CNNCodes.transform

    def note(self: CNNCodes, X: Any) -> Any:
        seen.append(self.get_params())
        return transform(self, X)

    monkeypatch.setattr(CNNCodes, "transform", note)
    evaluate_baseline(pictures, codes, heads=["knn"])
    assert [(p["weights"], p["input_size"], p["resize"]) for p in seen] == [("random", 64, 70)]
    own = CNNCodes(
        tiny_network(), weights_id="v1", preprocess="imagenet", input_size=32, cache=cache
    )
    result = evaluate_baseline(pictures, own, heads=["knn"])  # was refused: one id, other codes
    assert "random_weights" in result.controls


def tiny_network() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(body, nn.Linear(8, 4))


def test_labels_may_be_numbers_and_the_test_folder_a_path(
    codes: CNNCodes, pictures: Pictures, folder: Path
) -> None:
    numbers = [("checks", "disks", "stripes").index(label) for label in pictures.labels]
    model = TransferClassifier(codes, head="knn").fit(Pictures(pictures.items, numbers))
    found = evaluate_model(model, Pictures(pictures.paths[:3], [0, 1, 7]))
    assert "the model knows no class 7" in found.warnings[0]
    assert evaluate_baseline(pictures, codes, heads=["knn"], test=folder).n_test == 36


def test_the_seed_reaches_heads_and_controls(
    folder: Path, codes: CNNCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, object]] = []
    make = _baseline.make_head

    def spy(name: str, **params: object) -> object:
        seen.append((name, params.get("random_state")))
        return make(name, **params)

    for module in (_baseline, _controls):
        monkeypatch.setattr(module, "make_head", spy)
    result = evaluate_baseline(load_pictures(folder), codes, random_state=7)
    assert {name for name, seed in seen if seed == 7} == {"svm", "logistic"}
    assert {name for name, seed in seen if seed is None} == {"knn"}
    assert result.classifier.random_state == 7
