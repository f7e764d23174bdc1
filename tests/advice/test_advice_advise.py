"""`advise` and `verify` on small pictures with the embedded network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_evidence import make_probes, make_size, plant
from sklearn.base import clone
from torch.nn import Identity

from tlfeatures import CNNCodes, Pictures, load_pictures
from tlfeatures.advice import Advice, Evidence, Similarity, _verify, advise, choose, verify
from tlfeatures.advice._advise import _extract_depths, _open
from tlfeatures.advice._costs import experiment_of, minutes_of, minutes_words
from tlfeatures.advice._verify import Attempt, judge
from tlfeatures.backbones import BackboneRequest, load_network
from tlfeatures.classification import TransferClassifier
from tlfeatures.errors import LabelsError, PicturesError, UsageError

KEYS = {"recommendation", "rule", "size", "similarity", "scores"}


@pytest.fixture(scope="module")
def codes(cache: Path) -> CNNCodes:
    return CNNCodes("embedded", cache=cache, n_jobs=1)


@pytest.fixture(scope="module")
def advice(codes: CNNCodes, folder: Path) -> Advice:
    return advise(folder, codes)


def test_size_and_similarity_of_three_small_classes_are_measured(advice: Advice) -> None:
    assert (advice.size.n, advice.size.n_classes, advice.size.verdict) == (27, 3, "small")
    assert advice.similarity.confidence is None
    assert len(advice.similarity.probes) == 4
    assert advice.similarity.batch_norms is not None


def test_plain_data_has_the_keys_of_the_command_line(advice: Advice) -> None:
    data = json.loads(json.dumps(advice.to_json()))
    assert set(data) >= KEYS
    assert data["recommendation"] == advice.choice.strategy
    assert data["scores"]["codes"]["accuracy"] == advice.size.curve[-1].accuracy
    assert set(data["minutes"]) == {"codes", "earlier-codes", "last-blocks", "full", "scratch"}


def test_the_text_says_what_was_measured_and_what_was_not(advice: Advice) -> None:
    text = advice.to_text()
    assert max(len(line) for line in text.splitlines()) <= 100
    for words in (
        "rule", "settle it", "size: small", "a doubling", "depth 1.00", "batch norms",
        "confidence      not measured", "first guess", "Teh", "<- recommended",
    ):  # fmt: skip
        assert words in text


def test_the_second_run_computes_nothing(codes: CNNCodes, folder: Path, advice: Advice) -> None:
    told: list[Any] = []
    again = advise(folder, codes.__class__(**{**codes.get_params(), "progress": told.append}))
    assert told == []
    assert (again.size, again.similarity) == (advice.size, advice.similarity)


def test_nothing_is_measured_on_the_held_out_side(codes: CNNCodes, folder: Path) -> None:
    pictures = load_pictures(folder)
    split = ["test" if i % 3 == 0 else "train" for i in range(36)]
    lied = [p if s == "train" else "disks" for p, s in zip(pictures.labels, split, strict=True)]
    honest = advise(Pictures(pictures.items, pictures.labels, split), codes)
    blind = advise(Pictures(pictures.items, lied, split), codes)
    assert (honest.size, honest.similarity) == (blind.size, blind.similarity)
    assert (honest.size.n, honest.size.n_test, honest.n) == (24, 12, 36)
    assert "train/test folders" in honest.protocol


def test_bad_pictures_are_left_out_and_listed(
    codes: CNNCodes, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "p")
    (tmp_path / "p" / "disks" / "broken.png").write_bytes(b"\x89PNG no")
    found = advise(tmp_path / "p", codes)
    assert [Path(path).name for path, _ in found.bad] == ["broken.png"]
    assert found.n == 36


def test_classes_that_are_too_small_are_left_out_and_named(codes: CNNCodes, folder: Path) -> None:
    pictures = load_pictures(folder)
    few = pictures[[*range(24), 24, 25, 26]]
    found = advise(few, codes)
    assert found.size.n_classes == 2
    assert "stripes" in found.warnings[0]


def test_pictures_without_labels_are_refused(codes: CNNCodes, folder: Path) -> None:
    with pytest.raises(LabelsError, match="no labels"):
        advise(load_pictures(folder).paths, codes)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([0, 12], "one picture"),
        (range(12), "at least two classes"),
        ([0, 1, 2, 12, 13, 14], "Add pictures"),
    ],
)
def test_too_few_classes_or_pictures_are_refused(
    rows: Any, said: str, codes: CNNCodes, folder: Path
) -> None:
    with pytest.raises(LabelsError, match=said):
        advise(load_pictures(folder)[list(rows)], codes)


def test_a_folder_of_bad_pictures_is_refused(codes: CNNCodes, tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(5):
            (tmp_path / label / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([i]))
    with pytest.raises(PicturesError, match="none of the 10 pictures"):
        advise(tmp_path, codes)


def test_costs_are_epochs_times_pictures_times_seconds() -> None:
    steps = {"codes": 0.01, "last-blocks": 0.02, "full": 0.06}
    minutes = minutes_of(steps, 1000, 500, {"extract": 20.0, "size": 10.0})
    assert minutes["codes"] == pytest.approx(0.5)
    assert minutes["earlier-codes"] == pytest.approx(35 / 60)
    assert minutes["last-blocks"] == pytest.approx(0.02 * 1000 * 20 / 60)
    assert minutes["full"] == pytest.approx(0.06 * 1000 * 20 / 60)
    assert minutes["scratch"] == pytest.approx(0.06 * 1000 * 30 / 60)
    unknown = minutes_of({}, 1000, 500, {"extract": 20.0, "size": 10.0})
    assert unknown["full"] is None


@pytest.mark.parametrize(
    ("minutes", "words"), [(0.2, "under a minute"), (7.4, "about 7 min"), (150.0, "about 2.5 h")]
)
def test_minutes_in_words(minutes: float, words: str) -> None:
    assert minutes_words(minutes) == words


def test_the_experiment_is_the_cheapest_that_compares_the_two() -> None:
    codes = CNNCodes()
    minutes: dict[str, float | None] = {"codes": 1.0, "last-blocks": 4.0, "full": 9.0}
    alike = Similarity(confidence=0.7, published=0.7)
    small = choose(Evidence(make_size(400), alike))
    assert experiment_of(small, minutes, codes, 0).startswith(
        "tlfeatures finetune IMAGES --recipe last-blocks, about 4 min here"
    )
    large = choose(Evidence(make_size(30_000), alike))
    said = experiment_of(large, minutes, codes, 0)
    assert "--recipe full and --recipe last-blocks, about 13 min" in said
    assert "a first look" not in said
    assert "a first look" in experiment_of(large, {**minutes, "full": 90.0}, codes, 0)


def test_the_experiment_is_about_the_same_codes_and_the_same_split() -> None:
    words: dict[str, Any] = {"weights": "my file.pth", "layer": "layer4", "input_size": 96}
    codes = CNNCodes("resnet18", **words, exif=False, range=(3, 900.5), precision="float32")
    options = (
        " --backbone resnet18 --weights 'my file.pth' --layer layer4 --input-size 96"
        " --precision float32 --exif off --range 3.0,900.5 --seed 7"
    )
    large = choose(plant("large", "similar"))
    said = experiment_of(large, {"full": 90.0, "last-blocks": 4.0}, codes, 7)
    assert said.startswith(f"tlfeatures finetune IMAGES{options} --recipe full")
    assert said.endswith(f"tlfeatures advise IMAGES{options} --verify --limit 1000")


def test_earlier_codes_are_compared_pooled_as_they_were_probed() -> None:
    early = Similarity(probes=make_probes(0.4))
    codes = CNNCodes("resnet18", layer="layer4", pooling="flatten")
    assert experiment_of(choose(Evidence(make_size(400), early)), {}, codes, 0) == (
        "tlfeatures fit IMAGES --backbone resnet18 --layer layer0.4 --pooling avg, beside "
        "tlfeatures fit IMAGES --backbone resnet18 --layer layer4 --pooling flatten"
    )


def test_a_network_that_no_option_names_is_to_be_given_in_python() -> None:
    own = CNNCodes(Identity(), preprocess="imagenet")
    said = experiment_of(choose(plant("medium", "similar")), {"last-blocks": 4.0}, own, 0)
    assert said.startswith("tlfeatures finetune IMAGES --preprocess imagenet --recipe last-blocks")
    assert "no option names it" in said


def test_the_last_depth_is_that_of_the_codes_asked_for(codes: CNNCodes, folder: Path) -> None:
    found = advise(folder, clone(codes).set_params(layer="layer3"))
    assert found.layer == "layer3.relu2"
    assert [probe.layer for probe in found.similarity.probes] == [
        "layer1.relu2",
        "layer2.relu2",
        "layer3.relu2",
    ]
    assert found.similarity.probes[-1].depth < 1
    last = next(line for line in found.to_text().splitlines() if "layer3.relu2" in line)
    assert "+-" not in last, "nothing is compared with itself"


def test_flattened_codes_are_compared_with_earlier_ones_that_are_averaged(
    codes: CNNCodes, folder: Path
) -> None:
    flat = clone(codes).set_params(layer="layer3", pooling="flatten")
    depths = _open(flat)[1]
    probed = _extract_depths(load_pictures(folder), flat, depths)
    assert [extraction.codes.spec.layer for extraction in probed] == list(depths.layers)
    assert [extraction.codes.spec.pooling for extraction in probed] == ["avg", "avg", "flatten"]


def test_weights_that_a_model_brings_along_are_those_measured(
    codes: CNNCodes, folder: Path, advice: Advice
) -> None:
    state = load_network(BackboneRequest("embedded", weights="random")).module.state_dict()
    carrying = clone(codes)
    carrying.tensors_ = {name: tensor.numpy() for name, tensor in state.items()}
    found = advise(folder, carrying)
    assert found.key == carrying.fit([]).spec_.key != advice.key
    assert found.similarity.batch_norms != advice.similarity.batch_norms
    assert found.similarity.probes != advice.similarity.probes
    assert "no option names it" in found.experiment


def fake_training(
    accuracy: dict[str, float],
) -> Callable[..., tuple[Callable[[Pictures], np.ndarray], str]]:
    """Training that reaches a known accuracy, and notes what it was given."""

    def train(strategy: str, pictures: Pictures, codes: CNNCodes, epochs: int, seed: int) -> Any:
        def predict(held_out: Pictures) -> Any:
            labels = np.array(held_out.labels)
            wrong = round(len(labels) * (1 - accuracy[strategy]))
            labels[:wrong] = "nothing"
            return labels

        return predict, f"{len(pictures)} pictures, {epochs} epochs"

    return train


def test_verify_scores_all_candidates_on_one_held_out_side(codes: CNNCodes, folder: Path) -> None:
    train = fake_training({"last-blocks": 1.0, "full": 0.0})
    found = verify(folder, codes, epochs=3, train=train)
    outcome = found.outcome
    assert outcome is not None
    rows = {row.strategy: row for row in outcome.candidates}
    assert list(rows) == ["codes", "earlier-codes", "last-blocks", "full"]
    assert {row.score.n for row in rows.values() if row.score} == {9}
    assert found.size.n == 27, "the advice is measured on the training side alone"
    assert rows["full"].note == "27 pictures, 3 epochs"
    assert rows["full"].p_value == pytest.approx(2 / 2**9)
    assert rows["codes"].p_value is None
    assert outcome.predicted == found.choice.strategy
    assert "<- predicted" in found.to_text()
    assert json.loads(json.dumps(found.to_json()))["outcome"]["holds"] is True


def test_verify_pools_earlier_codes_as_they_were_probed(
    codes: CNNCodes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def noted(own: CNNCodes, **words: Any) -> TransferClassifier:
        tried.append((own.layer, own.pooling))
        return TransferClassifier(own, **words)

    monkeypatch.setattr(_verify, "TransferClassifier", noted)
    train = fake_training({"last-blocks": 0.0, "full": 0.0})
    found = verify(folder, clone(codes).set_params(pooling="flatten"), train=train)
    assert found.similarity.best_earlier is not None
    assert tried == [(None, "flatten"), (found.similarity.best_earlier.layer, "avg")]


def test_a_candidate_that_cannot_be_trained_is_noted(codes: CNNCodes, folder: Path) -> None:
    def train(strategy: str, *rest: Any) -> Any:
        raise UsageError(f"{strategy} needs an extra.")

    outcome = verify(folder, codes, train=train).outcome
    assert outcome is not None
    last = outcome.candidates[-1]
    assert (last.score, last.note) == (None, "not tried: full needs an extra.")
    assert outcome.holds


def test_a_prediction_falls_to_a_candidate_that_is_better_beyond_doubt() -> None:
    labels = np.array(["a", "b"] * 20)
    some = labels.copy()
    some[:12] = "c"
    tried = [Attempt("codes", some, 1.0), Attempt("full", labels, 9.0)]
    fallen = judge(tried, labels, "codes")
    assert not fallen.holds
    assert "full is 30.0 points better" in fallen.words
    assert judge(tried, labels, "full").holds
    nearly = [
        Attempt("codes", some, 1.0),
        replace(tried[1], predictions=np.r_[["c"] * 8, labels[8:]]),
    ]
    assert judge(nearly, labels, "codes").holds, "4 pictures more are within the doubt"
    assert "could not be tried" in judge(tried, labels, "last-blocks").words


def test_the_original_head_is_asked_at_a_size_that_it_knows(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_1

    file = tmp_path / "w.safetensors"
    save_file(squeezenet1_1().state_dict(), file)
    words: Any = {"weights": file, "cache": tmp_path / "cache", "n_jobs": 1}
    small = advise(folder, CNNCodes("squeezenet1_1", input_size=64, resize=64, **words))
    whole = advise(folder, CNNCodes("squeezenet1_1", **words))
    assert small.key != whole.key
    assert small.similarity.confidence == whole.similarity.confidence
    assert small.similarity.missing == {"batch_norms": "the network has none"}
    assert small.similarity.published == pytest.approx(0.58178)
