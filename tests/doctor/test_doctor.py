"""The doctor: evidence, what excludes a candidate, what a mistake is called, real weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tlfeatures import Pictures, load_pictures
from tlfeatures.backbones import BackboneRequest, Preprocessing, load_network
from tlfeatures.demo import draw_digits
from tlfeatures.doctor import _candidates as names
from tlfeatures.doctor import _diagnose as doctor
from tlfeatures.doctor import _examination as rules
from tlfeatures.doctor import check_preprocessing, diagnose
from tlfeatures.doctor._evidence import (
    Patient,
    Sample,
    Views,
    compare,
    corners,
    hellinger,
)
from tlfeatures.errors import PicturesError, UsageError, WeightsError
from tlfeatures.extraction import RunOptions, extract
from tlfeatures.pictures import DecodeOptions

IMAGENET, TF, CAFFE = (names.make_named(name) for name in ("imagenet", "tf", "caffe"))
BARE: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
UNIT, RAW = replace(IMAGENET, **BARE), replace(IMAGENET, divide_by=1.0, **BARE)


def twice(p: Preprocessing) -> Preprocessing:
    mean: Any = tuple(m + m * s for m, s in zip(p.mean, p.std, strict=True))
    std: Any = tuple(s * s for s in p.std)
    return replace(p, mean=mean, std=std)


# What a mistake is called


@pytest.mark.parametrize(
    ("asked", "expected", "name"),
    [
        (IMAGENET, IMAGENET, "right"),
        (names.swap(IMAGENET), IMAGENET, "BGR"),
        (replace(IMAGENET, order="BGR"), IMAGENET, "BGR"),  # the numbers left in their places
        (names.swap(CAFFE), CAFFE, "BGR"),
        (IMAGENET, names.swap(IMAGENET), "BGR"),
        (RAW, IMAGENET, "0-255"),
        (replace(IMAGENET, divide_by=1.0), IMAGENET, "0-255"),  # mean and std of 0-1 taken off
        (RAW, TF, "0-255"),
        (RAW, CAFFE, "0-255"),
        (replace(RAW, order="BGR"), CAFFE, "no mean/std"),
        (UNIT, IMAGENET, "no mean/std"),
        (UNIT, TF, "no mean/std"),
        (UNIT, CAFFE, "no mean/std"),
        (TF, IMAGENET, "tf"),
        (TF, names.swap(IMAGENET), "tf"),
        (CAFFE, IMAGENET, "caffe"),
        (CAFFE, TF, "caffe"),
        (IMAGENET, TF, "imagenet"),
        (IMAGENET, CAFFE, "imagenet"),
        (twice(IMAGENET), IMAGENET, "normalised twice"),
        (twice(IMAGENET), names.swap(IMAGENET), "normalised twice"),
        (twice(CAFFE), CAFFE, "normalised twice"),
        (replace(TF, divide_by=255.0, mean=(0.75,) * 3, std=(0.25,) * 3), TF, "normalised twice"),
        (replace(IMAGENET, divide_by=20.0), IMAGENET, "other"),
    ],
)
def test_a_mistake_is_called_by_its_name(
    asked: Preprocessing, expected: Preprocessing, name: str
) -> None:
    assert names.name_mistake(asked, expected) == name


def test_no_two_candidates_are_the_same_and_what_was_asked_is_one() -> None:
    for asked, published in ((IMAGENET, IMAGENET), (twice(TF), None), (RAW, CAFFE)):
        made = names.make_candidates(asked, published)
        same = [
            a.name for a in made for b in made if names.is_same(a.preprocessing, b.preprocessing)
        ]
        assert len(same) == len(made)
        assert names.find_same(asked, made) is not None
        assert len(made) == (11 if asked == twice(TF) else 10)
    own = Preprocessing(64, 64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    assert [c.name for c in names.make_candidates(own, own)][-2:] == ["published", "published, BGR"]


def test_candidates_keep_the_geometry_that_was_asked_for() -> None:
    asked = replace(TF, resize=70, input_size=50, crop="squash", interpolation="bicubic")
    for each in names.make_candidates(asked, IMAGENET):
        p = each.preprocessing
        assert (p.resize, p.input_size, p.crop, p.interpolation) == (70, 50, "squash", "bicubic")


# Evidence


def test_hellinger_agrees_with_numerical_integration() -> None:
    m, v, n, w = (
        np.array([0.0, 1.0]),
        np.array([1.0, 4.0]),
        np.array([0.0, -2.0]),
        np.array([9.0, 1.0]),
    )
    x = np.linspace(-60, 60, 400_001)[:, None]

    def density(mean: Any, variance: Any) -> Any:
        return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    overlap = np.sqrt(density(m, v) * density(n, w)).sum(0) * (x[1] - x[0])
    np.testing.assert_allclose(hellinger(m, v, n, w), 1 - overlap, atol=1e-6)
    np.testing.assert_allclose(hellinger(m, v, m, v), 0, atol=1e-12)


def noise(n: int, side: int = 32) -> Any:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


class Never(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("computed further than needed")


def planted_norms(trained_with: Preprocessing) -> nn.Sequential:
    """Two convolutions with batch norms whose statistics are of noise, so prepared."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(16, momentum=None) for _ in range(2)]
    first = nn.Sequential(nn.Conv2d(3, 16, 3), norms[0], nn.ReLU(), nn.Conv2d(16, 16, 3), norms[1])
    with torch.no_grad():
        first.train()(Patient(first)._batch(noise(40), trained_with))
    return first.eval()


@pytest.mark.parametrize("right", [IMAGENET, TF, CAFFE, UNIT, RAW])
@torch.inference_mode()
def test_the_batch_norms_are_nearest_to_what_they_were_trained_with(right: Preprocessing) -> None:
    with torch.inference_mode(mode=False):
        patient = Patient(planted_norms(right))
    found = {
        c.name: patient.norm_distance(noise(40), c.preprocessing)
        for c in names.make_candidates(right, None)
    }
    same = names.find_same(right, names.make_candidates(right, None))
    assert same is not None
    assert found[same.name] == pytest.approx(0, abs=1e-4)
    assert min(found, key=lambda name: found[name] or 0) == same.name


@torch.inference_mode()
def test_nothing_after_the_first_six_norms_is_computed() -> None:
    norms = [nn.BatchNorm2d(3) for _ in range(6)]
    for norm in norms:
        norm.running_mean = torch.full((3,), 0.5)
    patient = Patient(nn.Sequential(*norms, Never()).eval())
    assert patient.norm_distance(noise(4), UNIT) is not None


def test_norms_never_trained_are_no_evidence() -> None:
    assert (
        Patient(
            nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False))
        ).norms
        == []
    )


def planted_views(consistent: float, scale: float = 8.0, n: int = 40, seed: int = 0) -> Views:
    """Views of which such a share shows the picture's own class."""
    rng = np.random.default_rng(seed)
    own = rng.integers(0, 100, n)
    classes = np.where(rng.random((3, n)) < consistent, own, rng.integers(0, 100, (3, n)))
    classes[0] = own
    return Views(rng.normal(size=(3, n, 100)) + scale * np.eye(100)[classes])


def test_the_more_consistent_views_win_whatever_the_scale() -> None:
    good, bad = planted_views(0.95), planted_views(0.4, scale=60.0)
    assert good.agreement().mean() > 0.8
    assert bad.agreement().mean() < 0.5
    assert compare(good, bad, ("agreement", "correlation")) > 3
    assert compare(bad, good, ("agreement", "correlation")) < -3
    assert compare(good, good, ("agreement", "correlation", "confidence")) == 0


def test_an_answer_that_is_the_same_for_all_pictures_correlates_with_nothing() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 40, 100))
    logits[:, :, 7] += 50
    views = Views(logits)
    assert views.agreement().mean() == 1
    assert abs(views.correlation().mean()) < 0.05


# The decision, with planted evidence


class FakePatient:
    """Distances and skills are planted by the name of the candidate.

    A picture's identity is its grey; a skill is how often a view shows it, and with what scale.
    """

    def __init__(self, distances: Any, skills: Any, head: bool = True) -> None:
        self.norms = [1] if distances is not None else []
        self.distances, self.skills, self.head = distances, skills or {}, head
        self.rng = np.random.default_rng(0)

    def norm_distance(self, squares: Any, fed: Preprocessing) -> float | None:
        found: float | None = self.distances.get(self._name(fed), 0.9)
        return found

    def has_head(self, squares: Any, fed: Preprocessing) -> bool:
        return self.head

    def answers(self, squares: Any, fed: Preprocessing) -> Any:
        skill, scale = self.skills.get(self._name(fed), (0.0, 8.0))
        own = squares[:, 0, 0, 0].astype(int) % 200
        shown = np.where(
            self.rng.random(len(own)) < skill, own, self.rng.integers(0, 200, len(own))
        )
        return self.rng.normal(size=(len(own), 200)) * min(scale, 1) + scale * np.eye(200)[shown]

    def _name(self, fed: Preprocessing) -> str:
        found = names.find_same(fed, names.make_candidates(fed, None))
        at = "" if fed.input_size == 224 else f" at {fed.input_size}"
        return f"{found.name if found else '?'}{at}"


def greys(n: int = 96, side: int = 300) -> Pictures:
    return Pictures([np.full((side, side, 3), i, np.uint8) for i in range(n)])


def examine(
    asked: Preprocessing,
    distances: Any,
    skills: Any = None,
    *,
    head: bool = True,
    pictures: Pictures | None = None,
) -> Any:
    patient: Any = FakePatient(distances, skills, head)
    sample = Sample(pictures or greys(), DecodeOptions(), 96)
    return doctor.make_diagnosis(rules.Examination(patient, sample, asked, IMAGENET))


CLEAR = {"imagenet": 0.01, "imagenet, BGR": 0.011, "tf": 0.07, "tf, BGR": 0.07, "0-1": 0.2}


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (IMAGENET, "right"),
        (names.swap(IMAGENET), "BGR"),
        (RAW, "0-255"),
        (UNIT, "no mean/std"),
        (TF, "tf"),
        (CAFFE, "caffe"),
        (twice(IMAGENET), "normalised twice"),
    ],
)
def test_norms_tell_the_scale_and_the_head_the_order(asked: Preprocessing, verdict: str) -> None:
    made = examine(asked, CLEAR, {"imagenet": (0.9, 8.0), "imagenet, BGR": (0.5, 8.0)})
    assert (made.verdict, made.expected) == (verdict, ["imagenet"])
    assert made.is_mistake == (verdict != "right")


def test_without_a_head_the_order_cannot_be_told_but_the_scale_can() -> None:
    assert examine(IMAGENET, CLEAR, head=False).verdict == "cannot tell"
    made = examine(CAFFE, CLEAR, head=False)
    assert (made.verdict, made.expected) == ("caffe", ["imagenet", "imagenet, BGR"])


def test_a_head_that_does_as_well_on_both_orders_tells_neither() -> None:
    made = examine(IMAGENET, CLEAR, {"imagenet": (0.7, 8.0), "imagenet, BGR": (0.7, 8.0)})
    assert made.verdict == "cannot tell"
    assert "imagenet or imagenet, BGR" in made.words


ALL = [c.name for c in names.make_candidates(IMAGENET, None)]


def test_without_norms_what_leaves_the_head_unsure_is_left_out() -> None:
    skills = dict.fromkeys(ALL, (1.0, 0.01))  # nearly flat, though consistent
    skills |= {"caffe": (0.9, 8.0), "caffe, RGB": (0.4, 8.0)}
    skills |= {"0-255": (0.4, 8.0), "0-255, BGR": (0.4, 8.0)}
    made = examine(IMAGENET, None, skills)
    assert (made.verdict, made.expected) == ("imagenet", ["caffe"])
    why = {each.name: each.excluded for each in made.candidates}
    assert (why["tf"], why["caffe, RGB"]) == (rules.BY_FLAT, rules.BY_VIEWS)


def test_without_norms_what_makes_the_head_too_sure_is_left_out() -> None:
    skills = dict.fromkeys(ALL, (0.4, 5.0))
    skills |= dict.fromkeys(ALL[4:6] + ALL[8:], (1.0, 60.0))  # saturated, and consistent
    skills |= {"imagenet": (0.9, 8.0)}
    assert ALL[4] == "caffe"
    made = examine(CAFFE, None, skills)
    assert (made.verdict, made.expected) == ("caffe", ["imagenet"])
    assert made.candidates[4].excluded == rules.BY_SATURATED


def test_norms_and_head_that_contradict_each_other_tell_nothing() -> None:
    made = examine(
        TF, CLEAR, {"tf": (0.95, 8.0), "imagenet": (0.3, 8.0), "imagenet, BGR": (0.3, 8.0)}
    )
    assert made.verdict == "cannot tell"
    assert "contradict" in made.words


def test_where_nothing_fits_only_what_is_far_off_is_excluded() -> None:
    poor = {"imagenet": 0.07, "imagenet, BGR": 0.07, "tf": 0.13, "tf, BGR": 0.13, "0-1": 0.22}
    skills = {"imagenet": (0.9, 8.0)}
    small = greys(side=64)
    assert examine(TF, poor, skills, pictures=small).verdict == "cannot tell"
    assert examine(IMAGENET, poor, skills, pictures=small).verdict == "cannot tell"
    assert examine(RAW, poor, skills, pictures=small).verdict == "0-255"
    assert "enlarged 4.0 times" in examine(IMAGENET, poor, skills, pictures=small).words


SKILLS = {"imagenet": (0.9, 8.0), "imagenet, BGR": (0.4, 8.0)}


@pytest.mark.parametrize(
    ("side", "skill", "here", "there", "verdict"),
    [
        (112, 0.4, 0.01, 0.03, "wrong input size"),
        (448, 0.4, 0.01, 0.005, "wrong input size"),
        (112, 0.9, 0.01, 0.01, "cannot tell"),
        (112, 0.4, 0.04, 0.01, "cannot tell"),  # the batch norms say the opposite
        (256, 0.4, 0.01, 0.03, "right"),  # so near that it is not looked at
    ],
)
def test_another_size_is_compared_with_the_published_one(
    side: int, skill: float, here: float, there: float, verdict: str
) -> None:
    at = f"imagenet at {side}"
    asked = names.at_size(IMAGENET, side)
    plain = side == 256  # then it is the working size itself
    known = {**CLEAR, "imagenet": here}
    distances = {f"{k}{f' at {side}' if plain else ''}": v for k, v in known.items()}
    skills = {f"{k}{f' at {side}' if plain else ''}": v for k, v in SKILLS.items()}
    if not plain:
        distances, skills = {**distances, at: there}, {**skills, at: (skill, 8.0)}
    made = examine(asked, distances, skills, pictures=greys(side=400))
    assert made.verdict == verdict


def test_pictures_too_small_for_the_published_size_do_not_tell_the_size() -> None:
    side, small = 56, greys(side=64)
    distances = {f"{name} at {side}": value for name, value in CLEAR.items()}
    skills = {f"{name} at {side}": value for name, value in SKILLS.items()}
    made = examine(names.at_size(IMAGENET, side), distances, skills, pictures=small)
    assert made.verdict == "cannot tell"
    assert "do not allow to compare sizes" in made.words


def test_the_answer_is_plain_data() -> None:
    made = examine(TF, CLEAR, SKILLS).to_json()
    assert set(made) == {
        "verdict", "words", "applied", "expected", "candidates", "n_pictures", "bad",
    }  # fmt: skip
    assert made["candidates"][0]["name"] == "imagenet"
    assert made["applied"]["divide_by"] == 127.5
    assert made["n_pictures"] == 32


# Bad input


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (BackboneRequest("package:network"), UsageError, "published networks only"),
        (BackboneRequest("resnet18", "random"), UsageError, "random weights expect nothing"),
        (BackboneRequest("resnet18", preprocess=np.asarray), UsageError, "give its numbers"),
        (BackboneRequest("resnet18", "none.pth"), WeightsError, "is not there"),
        (BackboneRequest("resnet81"), UsageError, "did you mean"),
    ],
)
def test_what_cannot_be_examined_is_said(request_: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        diagnose(greys(20), request_)


def test_too_few_pictures_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(PicturesError, match=r"^1 picture .* at least 16"):
        diagnose(greys(1), BackboneRequest("resnet18", "none.pth"))
    with pytest.raises(PicturesError, match=r"^0 pictures"):
        diagnose(Pictures([]), BackboneRequest("embedded"))
    (tmp_path / "broken.png").write_bytes(b"broken")
    broken = Pictures([*greys(15).items, *[str(tmp_path / "broken.png")] * 9])
    with pytest.raises(PicturesError, match=r"^15 pictures"):
        diagnose(broken, BackboneRequest("embedded"))


def test_a_network_with_nothing_to_go_by_is_refused() -> None:
    with pytest.raises(WeightsError, match="nothing to go by"):
        examine(IMAGENET, None, head=False)


def test_a_network_that_fails_on_the_pictures_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Output size is too small\nsecond line")

    monkeypatch.setattr(Patient, "has_head", fail)
    with pytest.raises(UsageError, match=r"with pictures of 64 pixels: Output size is too small;"):
        diagnose(greys(20), BackboneRequest("embedded"))


def test_pictures_that_the_head_is_not_at_home_with_tell_no_order() -> None:
    shy = {"imagenet": (0.95, 2.0), "imagenet, BGR": (0.2, 2.0)}
    made = examine(IMAGENET, CLEAR, shy)
    assert made.verdict == "cannot tell"
    assert "not at home" in made.words
    alike = Pictures([np.full((300, 300, 3), 5, np.uint8)] * 96)
    made = examine(IMAGENET, CLEAR, SKILLS | {"imagenet": (1.0, 8.0)}, pictures=alike)
    assert "says the same of 100%" in made.words


def test_bad_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"broken")
    pictures = Pictures([str(tmp_path / "broken.png"), *draw_digits(0)[0][:40]])
    made = diagnose(pictures, BackboneRequest("embedded"))
    assert [path for path, _ in made.bad] == [str(tmp_path / "broken.png")]


def test_a_network_that_rescales_its_input_itself_expects_what_it_rescales_to() -> None:
    network = load_network(BackboneRequest("googlenet", "random"))
    module: Any = network.module
    module.transform_input = True
    asked, published = doctor.undo_input_transform(network)
    assert asked is not None
    assert names.is_same(asked, TF)
    assert asked == published
    assert module.transform_input is False


# A glance


def glance_at(asked: Preprocessing, distances: Any, skills: Any = None, **more: Any) -> Any:
    patient: Any = FakePatient(distances, skills, more.get("head", True))
    sample = Sample(more.get("pictures") or greys(), DecodeOptions(), 64)
    patient.n_asked = 0
    answers = patient.answers

    def counted(squares: Any, fed: Preprocessing) -> Any:
        patient.n_asked += len(squares)
        return answers(squares, fed)

    patient.answers = counted
    found = doctor.make_diagnosis(
        rules.Examination(patient, sample, asked, IMAGENET, is_glance=True)
    )
    return found, patient.n_asked


SURER = {"imagenet": (0.9, 8.0), "imagenet, BGR": (0.9, 6.0)}


@pytest.mark.parametrize(
    ("asked", "verdict"), [(RAW, "0-255"), (UNIT, "no mean/std"), (TF, "tf"), (CAFFE, "caffe")]
)
def test_a_glance_names_what_batch_norms_tell_without_the_head(
    asked: Preprocessing, verdict: str
) -> None:
    found, n_asked = glance_at(asked, CLEAR, SURER)
    assert (found.verdict, n_asked) == (verdict, 0)


def test_a_glance_sees_the_right_order_by_eight_pictures_and_the_wrong_one_by_some_more() -> None:
    found, n_asked = glance_at(IMAGENET, CLEAR, SURER)
    assert (found.verdict, n_asked) == ("right", 16)
    found, n_asked = glance_at(names.swap(IMAGENET), CLEAR, SURER)
    assert (found.verdict, found.expected) == ("BGR", ["imagenet"])
    assert 16 <= n_asked <= 48


def test_a_glance_names_no_order_that_is_not_clearly_better() -> None:
    alike = {"imagenet": (0.9, 8.0), "imagenet, BGR": (0.9, 7.9)}
    for asked in (IMAGENET, names.swap(IMAGENET)):
        assert glance_at(asked, CLEAR, alike)[0].verdict in ("right", "cannot tell")


def test_an_order_that_is_no_better_than_the_other_is_not_called_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        FakePatient, "answers", lambda self, squares, fed: 8 * np.eye(200)[squares[:, 0, 0, 0]]
    )
    assert glance_at(IMAGENET, CLEAR)[0].verdict == "cannot tell"


def test_a_glance_ends_at_a_bound_and_says_so() -> None:
    shy = {"imagenet": (0.9, 2.0), "imagenet, BGR": (0.9, 2.0)}
    found, n_asked = glance_at(names.swap(IMAGENET), CLEAR, shy)
    assert (found.verdict, n_asked) == ("cannot tell", 48)
    assert "so few pictures do not tell" in found.words


@pytest.mark.parametrize(
    ("distances", "more"),
    [
        (None, {}),
        (CLEAR, {"head": False}),
        (CLEAR, {"pictures": greys(side=64)}),
        ({"imagenet": 0.05, "imagenet, BGR": 0.05}, {}),
    ],
    ids=["no norms", "no head", "enlarged", "poor fit"],
)
def test_a_glance_leaves_open_what_it_cannot_tell(distances: Any, more: dict[str, Any]) -> None:
    asked = names.swap(IMAGENET)
    assert glance_at(asked, distances, SURER, **more)[0].verdict == "cannot tell"
    other_size = names.at_size(IMAGENET, 112)
    assert glance_at(other_size, distances, SURER, **more)[0].verdict == "cannot tell"


def test_a_head_that_is_not_at_home_leaves_the_order_open() -> None:
    shy = {"imagenet": (0.9, 2.0), "imagenet, BGR": (0.9, 1.0)}
    assert glance_at(IMAGENET, CLEAR, shy)[0].verdict == "cannot tell"


def test_corners_of_four_pictures_show_all_of_a_picture() -> None:
    squares = np.arange(5 * 6 * 6 * 3).reshape(5, 6, 6, 3).astype(np.uint8)
    made = corners(squares, 3)
    assert made.shape == (5, 3, 3, 3)
    places = [(0, 0), (0, 3), (3, 0), (3, 3), (0, 0)]
    for each, square, (top, left) in zip(made, squares, places, strict=True):
        np.testing.assert_array_equal(each, square[top : top + 3, left : left + 3])
    assert corners(squares, 6) is squares
    assert corners(squares, 64) is squares


# Real weights: the embedded network on the demo's pictures


@pytest.fixture(scope="module")
def digits() -> Pictures:
    return Pictures(list(draw_digits(0)[0][::20]))


@pytest.fixture(scope="module")
def embedded_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file(load_network(BackboneRequest("embedded")).module.state_dict(), path)
    return str(path)


@pytest.mark.parametrize(
    ("preprocess", "allowed"),
    [
        ("torchvision", {"right", "cannot tell"}),
        ("imagenet", {"imagenet", "cannot tell"}),
        ("caffe", {"caffe"}),
        (RAW, {"0-255"}),
    ],
)
def test_the_embedded_network_is_not_given_a_wrong_name(
    preprocess: Any, allowed: set[str], digits: Pictures
) -> None:
    request = BackboneRequest("embedded", preprocess=preprocess, input_size=64, resize=64)
    assert diagnose(digits, request).verdict in allowed


def test_local_weights_are_looked_at_once_and_the_answer_remembered(
    digits: Pictures, embedded_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = BackboneRequest("embedded", embedded_file, preprocess="caffe", input_size=64)
    run, said = RunOptions(tmp_path), []
    extraction = extract(digits, wrong, run)
    first = check_preprocessing(extraction, wrong, run, said.append)
    assert first is not None
    assert first.startswith("caffe: these weights look as if")
    assert len(said) == 1
    monkeypatch.setattr(doctor, "diagnose", None)
    assert check_preprocessing(extraction, wrong, run, said.append) == first
    others = extract(digits[:40], wrong, run)  # other pictures, another layer: the same weights
    assert check_preprocessing(others, wrong, run, said.append) == first
    assert len(said) == 1


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "{}", '{"answer": 3}', '{"answer": {}}', '{"answer": {"warning": 3}}',
     '{"answer": {"warning": "\\u001b[2Jline"}}', '{"answer": {"warning": "' + "x" * 5000 + '"}}'],
)  # fmt: skip
def test_a_memory_that_was_spoilt_is_ignored(
    digits: Pictures, embedded_file: str, tmp_path: Path, text: str
) -> None:
    wrong = BackboneRequest("embedded", embedded_file, preprocess="caffe", input_size=64)
    run, said = RunOptions(tmp_path), []
    extraction = extract(digits, wrong, run)
    first = check_preprocessing(extraction, wrong, run, said.append)
    answers = (tmp_path / "memo").glob("answer-*.json")
    (memory,) = [each for each in answers if '"doctor"' in each.read_text()]
    memory.write_text(text)
    assert check_preprocessing(extraction, wrong, run, said.append) == first
    assert len(said) == 2


def test_nothing_is_said_of_published_weights_or_where_there_is_nothing_to_go_by(
    digits: Pictures, embedded_file: str, tmp_path: Path
) -> None:
    run = RunOptions(tmp_path)
    entry = BackboneRequest("embedded", preprocess="caffe", input_size=64)
    few = BackboneRequest("embedded", embedded_file, preprocess="caffe", input_size=64)
    said: list[str] = []
    assert check_preprocessing(extract(digits, entry, run), entry, run, said.append) is None
    assert said == []
    assert check_preprocessing(extract(digits[:8], few, run), few, run, said.append) is None


# Real weights on photographs

RIGHT = {
    "mobilenet_v2-imagenet-tf": replace(TF, resize=257, input_size=225),
    "resnet18-imagenet-pqf": IMAGENET,
    "resnet50-imagenet-pqf": IMAGENET,
    "squeezenet1_0-imagenet-caffe": replace(CAFFE, resize=256, input_size=227),
}
CASES = (
    "right", "BGR", "0-255", "no mean/std", "tf", "caffe", "imagenet", "normalised twice",
    "half size", "double size",
)  # fmt: skip


def make_case(right: Preprocessing, case: str) -> tuple[Preprocessing, str]:
    """What is applied, and what it must be called."""
    g: dict[str, Any] = {"resize": right.resize, "input_size": right.input_size}
    named = {
        "tf": replace(TF, **g),
        "caffe": replace(CAFFE, **g),
        "imagenet": replace(IMAGENET, **g),
    }
    if case.endswith("size"):
        side = right.input_size // 2 if case == "half size" else right.input_size * 2
        return names.at_size(right, side), "wrong input size"
    made = {
        **named,
        "right": right,
        "BGR": names.swap(right),
        "0-255": replace(RAW, **g),
        "no mean/std": replace(right, divide_by=255.0 if right.order == "RGB" else 1.0, **BARE),
        "normalised twice": twice(right),
    }[case]
    return made, "right" if made == right else case


def diagnose_case(weights: str, case: str, pictures: Pictures, folder: Path) -> tuple[str, str]:
    """The verdict, and what it should be."""
    asked, wanted = make_case(RIGHT[weights], case)
    name, path = weights.partition("-")[0], folder / f"{weights}.safetensors"
    return diagnose(pictures, BackboneRequest(name, str(path), preprocess=asked)).verdict, wanted


@pytest.mark.shared
def test_a_mistake_is_named_on_photographs(shared: Path, shared_weights: Path) -> None:
    """The one nearest to the truth; the others are among the slow tests."""
    photographs = load_pictures(shared / "data/hymenoptera/val")
    found, wanted = diagnose_case("resnet18-imagenet-pqf", "BGR", photographs, shared_weights)
    assert found == wanted


@pytest.mark.shared
@pytest.mark.parametrize("case", ["right", "BGR", "0-255", "no mean/std", "tf", "caffe"])
def test_a_glance_names_what_an_examination_does(
    case: str, shared: Path, shared_weights: Path
) -> None:
    photographs = load_pictures(shared / "data/hymenoptera/val")
    asked, wanted = make_case(IMAGENET, case)
    path = str(shared_weights / "resnet18-imagenet-pqf.safetensors")
    request = BackboneRequest("resnet18", path, preprocess=asked)
    assert diagnose(photographs, request, limit=64, is_glance=True).verdict == wanted


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("kind", ["hymenoptera/val", "cifar10/test", "digits"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weights", RIGHT)
def test_a_glance_gives_no_wrong_name(
    kind: str, weights: str, case: str, shared: Path, shared_weights: Path, digits: Pictures
) -> None:
    pictures = digits if kind == "digits" else load_pictures(shared / "data" / kind)
    asked, wanted = make_case(RIGHT[weights], case)
    path = str(shared_weights / f"{weights}.safetensors")
    request = BackboneRequest(weights.partition("-")[0], path, preprocess=asked)
    found = diagnose(pictures, request, limit=64, is_glance=True).verdict
    assert found in (wanted, "cannot tell")


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weights", RIGHT)
def test_each_mistake_is_named_on_photographs(
    weights: str, case: str, shared: Path, shared_weights: Path
) -> None:
    photographs = load_pictures(shared / "data/hymenoptera/val")
    found, wanted = diagnose_case(weights, case, photographs, shared_weights)
    assert found == wanted


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weights", RIGHT)
@pytest.mark.parametrize("kind", ["cifar10", "digits"])
def test_no_mistake_is_given_a_wrong_name_on_small_pictures(
    kind: str, weights: str, case: str, shared: Path, shared_weights: Path, digits: Pictures
) -> None:
    pictures = digits if kind == "digits" else load_pictures(shared / "data/cifar10/test")
    found, wanted = diagnose_case(weights, case, pictures, shared_weights)
    assert found in (wanted, "cannot tell")
