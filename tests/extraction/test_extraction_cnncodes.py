"""The contract of CNNCodes, whose X is pictures."""

from __future__ import annotations

import pickle
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from tlfeatures import CNNCodes, load_pictures
from tlfeatures.backbones import BackboneRequest, load_network
from tlfeatures.errors import ImageReadError, UsageError
from tlfeatures.pictures import as_pictures


@pytest.fixture
def codes(cache: Path) -> CNNCodes:
    return CNNCodes("embedded", cache=cache)


def test_the_constructor_only_stores() -> None:
    nonsense = CNNCodes("no such network", layer="nowhere", pooling="?", device="abacus")
    assert nonsense.get_params()["backbone"] == "no such network"
    assert clone(nonsense).get_params() == nonsense.get_params()
    assert nonsense.set_params(layer="fc7").layer == "fc7"


def test_transform_gives_float32_rows_without_fit(codes: CNNCodes, folder: Path) -> None:
    X = codes.transform(load_pictures(folder))
    assert X.shape == (36, 256)
    assert X.dtype == np.float32


def test_fitting_twice_changes_nothing(codes: CNNCodes, folder: Path) -> None:
    pictures = load_pictures(folder)
    first = codes.fit(pictures).transform(pictures)
    np.testing.assert_array_equal(codes.fit(pictures).transform(pictures), first)
    assert codes.n_features_out_ == 256


def test_feature_names_and_set_output(codes: CNNCodes, folder: Path) -> None:
    pytest.importorskip("pandas", reason="set_output needs pandas")
    frame = codes.set_output(transform="pandas").fit_transform(load_pictures(folder))
    assert list(frame.columns[:2]) == ["embedded_flatten_0", "embedded_flatten_1"]


def test_a_pickle_works_and_carries_no_network(codes: CNNCodes, folder: Path) -> None:
    pictures = load_pictures(folder)
    codes.fit(pictures)
    data = pickle.dumps(codes)
    assert len(data) < 10_000
    np.testing.assert_array_equal(pickle.loads(data).transform(pictures), codes.transform(pictures))


def carry_random_weights(codes: CNNCodes) -> CNNCodes:
    """A copy that has weights as a saved model brings them along: those of "random"."""
    network = load_network(BackboneRequest("embedded", weights="random")).module
    carrying = clone(codes)
    carrying.tensors_ = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return carrying


def test_a_clone_keeps_the_weights_that_a_model_brought_along(
    codes: CNNCodes, folder: Path
) -> None:
    drawn = clone(codes).set_params(weights="random")
    carrying = carry_random_weights(codes)
    for copy in (clone(carrying), pickle.loads(pickle.dumps(carrying)), deepcopy(carrying)):
        assert copy.fit([]).spec_ == drawn.fit([]).spec_
        np.testing.assert_array_equal(copy.transform(folder), drawn.transform(folder))
    earlier = [clone(each).set_params(layer="layer3") for each in (carrying, drawn)]
    assert earlier[0].fit([]).spec_ == earlier[1].fit([]).spec_


@pytest.mark.parametrize("words", [{"weights": "random:1"}, {"backbone": "squeezenet1_1"}])
def test_the_weights_brought_along_stand_for_no_other_network(
    words: dict[str, str], codes: CNNCodes
) -> None:
    carrying = carry_random_weights(codes)
    changed, assigned = clone(carrying).set_params(**words), clone(carrying)
    vars(assigned).update(words)
    for other in (changed, assigned, clone(changed)):
        assert not hasattr(other, "tensors_")
    if "weights" in words:
        assert changed.fit([]).spec_ == clone(codes).set_params(**words).fit([]).spec_
    assert hasattr(carrying, "tensors_")


def test_a_query_equals_its_stored_row(codes: CNNCodes, folder: Path, tmp_path: Path) -> None:
    pictures = load_pictures(folder)
    X = codes.transform(pictures)
    alone = CNNCodes("embedded", cache=tmp_path).query([pictures.paths[5]])[0]
    assert np.linalg.norm(alone - X[5]) <= 1e-5 * np.linalg.norm(X[5])


def test_two_fresh_runs_give_the_same_bits(folder: Path, tmp_path: Path) -> None:
    both = [CNNCodes("embedded", cache=tmp_path / n).transform(folder) for n in ("a", "b")]
    np.testing.assert_array_equal(*both)


def test_bad_pictures_raise_by_name_or_become_nan(
    codes: CNNCodes, folder: Path, tmp_path: Path
) -> None:
    good, bad = load_pictures(folder).paths[0], tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    with pytest.raises(ImageReadError, match=r"bad\.png"):
        codes.transform([good, str(bad)])
    X = clone(codes).set_params(on_bad="nan").transform([str(bad), good])
    assert np.isnan(X[0]).all()
    assert np.isfinite(X[1]).all()


def test_pipelines_cross_validate_on_pictures_and_on_lists(codes: CNNCodes, folder: Path) -> None:
    pictures, model = load_pictures(folder), make_pipeline(codes, LogisticRegression(max_iter=500))
    for X in (pictures, pictures.paths):
        assert cross_val_score(model, X, pictures.labels, cv=3).mean() > 0.8
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 10.0]}, cv=2)
    search.fit(pictures, pictures.labels)
    assert search.best_score_ > 0.8


def test_groups_reach_the_splitter(codes: CNNCodes, folder: Path) -> None:
    pictures = load_pictures(folder)
    model, groups = make_pipeline(codes, LogisticRegression(max_iter=500)), np.arange(36) % 3
    options = {"groups": groups, "cv": GroupKFold(3)}
    assert len(cross_val_score(model, pictures, pictures.labels, **options)) == 3


@pytest.mark.parametrize("words", [{"on_bad": "ignore"}, {"device": "abacus"}, {"batch_size": 0}])
def test_impossible_words_are_refused_when_used(words: dict[str, object], folder: Path) -> None:
    with pytest.raises(UsageError):
        CNNCodes("embedded", **words).transform(folder)


def test_the_input_is_not_changed(codes: CNNCodes, folder: Path) -> None:
    paths = load_pictures(folder).paths[:3]
    given = list(paths)
    codes.transform(given)
    assert given == paths
    assert len(as_pictures(given)) == 3


@pytest.mark.parametrize("range_", [None, (1, 2, 3), "auto", ("a", "b")])
def test_an_impossible_range_is_refused(range_: object, folder: Path) -> None:
    with pytest.raises(UsageError, match="'full' or two numbers"):
        CNNCodes("embedded", range=range_).transform(folder)


def test_layers_are_a_list_and_torchvisions_entries_are_weights(codes: CNNCodes) -> None:
    from torchvision.models import ResNet18_Weights

    with pytest.raises(UsageError, match="give a list of names"):
        codes.transform_layers([], "layer3")
    request = CNNCodes("resnet18", weights=ResNet18_Weights.IMAGENET1K_V1).request()
    assert request.weights == "IMAGENET1K_V1"


@pytest.mark.shared
def test_real_photographs_agree_with_torchvisions_own_way(shared: Path, tmp_path: Path) -> None:
    import torch
    from PIL import Image

    from tlfeatures.backbones import BackboneRequest, load_backbone
    from tlfeatures.backbones.sources._torchvision import weights_entry

    pictures = load_pictures(shared / "data/hymenoptera")[:50]
    found = CNNCodes("resnet18", weights="random", precision="float32", cache=tmp_path).transform(
        pictures
    )
    network = load_backbone(BackboneRequest("resnet18", "random")).network
    plain = torch.nn.Sequential(*list(network.children())[:-1], torch.nn.Flatten()).eval()
    transforms = weights_entry("resnet18", None).transforms()
    for path, row in zip(pictures.paths, found, strict=True):
        with torch.no_grad():
            expected = plain(transforms(Image.open(path).convert("RGB"))[None]).numpy()[0]
        assert np.linalg.norm(row - expected) <= 1e-4 * np.linalg.norm(expected), path
