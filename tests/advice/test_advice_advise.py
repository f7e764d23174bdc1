"""`advise` on small pictures with the embedded network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from planted_evidence import make_probes, make_size, plant
from sklearn.base import clone
from torch.nn import Identity

from tlfeatures import CNNCodes, Pictures, load_pictures
from tlfeatures.advice import Advice, Evidence, Similarity, advise, choose
from tlfeatures.advice._advise import probed_codes
from tlfeatures.advice._costs import experiment_of, minutes_of, minutes_words
from tlfeatures.backbones import BackboneRequest, load_network
from tlfeatures.errors import LabelsError, PicturesError

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
        "rule", "settle it", "size: small", "a doubling", "depth 1.00",
        "confidence      not measured", "first guess", "Yosinski", "<- recommended",
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
    minutes = minutes_of(steps, 1000, 500, 30.0)
    assert minutes["codes"] == pytest.approx(0.5)
    assert minutes["earlier-codes"] == pytest.approx(35 / 60)
    assert minutes["last-blocks"] == pytest.approx(0.02 * 1000 * 20 / 60)
    assert minutes["full"] == pytest.approx(0.06 * 1000 * 20 / 60)
    assert minutes["scratch"] == pytest.approx(0.06 * 1000 * 30 / 60)
    unknown = minutes_of({}, 1000, 500, 30.0)
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
    assert said.endswith("--recipe full and --recipe last-blocks, about 13 min here")


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
    flat, pictures = clone(codes).set_params(layer="layer3", pooling="flatten"), folder
    found = probed_codes(load_pictures(pictures), flat, ("layer1.relu2", "layer3.relu2"))
    averaged = codes.transform_layers(pictures, ["layer1.relu2"])[0]
    assert (found[0] == averaged).all()
    assert (found[1] == flat.transform(pictures)).all()


def test_weights_that_a_model_brings_along_are_those_measured(
    codes: CNNCodes, folder: Path, advice: Advice
) -> None:
    state = load_network(BackboneRequest("embedded", weights="random")).module.state_dict()
    carrying = clone(codes)
    carrying.tensors_ = {name: tensor.numpy() for name, tensor in state.items()}
    found = advise(folder, carrying)
    assert found.key == carrying.fit([]).spec_.key != advice.key
    assert found.similarity.probes != advice.similarity.probes
    assert "no option names it" in found.experiment


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
    assert small.similarity.missing == {}
    assert small.similarity.published == pytest.approx(0.58178)
