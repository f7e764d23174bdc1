"""`FineTunedClassifier`: the start, the choice, resuming, saving, scikit-learn's habits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from torch.utils.data import DataLoader

from tlfeatures import CNNCodes, Pictures, TransferClassifier, load_pictures
from tlfeatures.backbones import BackboneRequest, load_network
from tlfeatures.classification import (
    SavedModel,
    evaluate_model,
    load_model,
    predict_saved,
)
from tlfeatures.cli._tuning import plan_lines
from tlfeatures.errors import ExtractionError, LabelsError, ModelFileError, UsageError
from tlfeatures.extraction import Progress, RunOptions
from tlfeatures.finetuning import (
    EpochRow,
    FineTunedClassifier,
    RateSearch,
    TrainingPlan,
    evaluate_finetuning,
)
from tlfeatures.finetuning import _classifier as classifier_module
from tlfeatures.finetuning._data import LabelledPictures
from tlfeatures.finetuning.recipes._parts import HEAD
from tlfeatures.finetuning.recipes._phases import Phase
from tlfeatures.finetuning.recipes._recipes import RECIPES, make_recipe
from tlfeatures.finetuning.training import _net as net_module
from tlfeatures.finetuning.training import _train as train_module
from tlfeatures.finetuning.training._head import as_head, as_layer
from tlfeatures.finetuning.training._net import TaskLoss, task_hits
from tlfeatures.finetuning.training._rates import _suggest, search_rate
from tlfeatures.heads import make_head
from tlfeatures.modelfile import write_model_file
from tlfeatures.pictures import DecodeOptions
from tlfeatures.store import cache_info


def codes(cache: Path, **more: Any) -> CNNCodes:
    return CNNCodes("embedded", cache=cache, precision="float32", **more)


def tuner(cache: Path, **more: Any) -> FineTunedClassifier:
    words: dict[str, Any] = {"precision": "float32", "epochs": 2, "batch_size": 8} | more
    return FineTunedClassifier(codes(cache), **words)


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Pictures:
    return load_pictures(folder)


def decisions_at_start(model: FineTunedClassifier, X: Pictures) -> tuple[Any, Any]:
    """What the network says before the first step, beside the baseline."""
    recipe, tasks, _ = model._begin(X, None, None, None)
    net, training = model._prepare(recipe, tasks, None)
    net.module_.eval()
    with torch.no_grad(), net._computing():
        scores = torch.cat(
            [net.infer(training.valid[i][0][None]) for i in range(len(tasks[0].valid))]
        )
    found = tasks[0].classes[scores.argmax(1).numpy()]
    return found, tasks[0].baseline.predict(tasks[0].valid)


@pytest.mark.parametrize("head", ["logistic", "svm"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_before_the_first_step_the_decisions_are_the_baselines(
    head: str, n_classes: int, pictures: Pictures, cache: Path
) -> None:
    some: Pictures = pictures[: 12 * n_classes]
    found, expected = decisions_at_start(tuner(cache, head=head, valid=0.5), some)
    np.testing.assert_array_equal(found, expected)


def test_the_new_layer_and_the_head_say_the_same_both_ways() -> None:
    rng = np.random.default_rng(0)
    for n_classes in (2, 4):
        X, y = rng.random((40, 7)), np.arange(40) % n_classes
        head = make_head("logistic", C=10.0).fit(X, y)
        arrays = as_head(*as_layer(head))
        np.testing.assert_allclose(arrays["coef"], head.coef_)
        np.testing.assert_allclose(arrays["intercept"], head.intercept_)


def test_training_improves_and_the_model_is_served_as_any_other(
    pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    seen: list[object] = []
    model = tuner(cache, epochs=4, lr=1e-3, watch=seen.append).fit(pictures, pictures.labels)
    assert isinstance(seen[0], TrainingPlan)
    assert [what for what in seen[1:] if isinstance(what, EpochRow)] == list(model.history_)
    told = [what for what in seen if isinstance(what, Progress)]
    assert sum(each.done == each.total for each in told) == 4
    assert {each.total for each in told} == {model.n_trained_on_}
    assert [row.epoch for row in model.history_] == [0, 1, 2, 3, 4]
    assert model.history_[-1].train_loss < model.history_[1].train_loss
    assert model.n_trained_on_ + len(model.baseline_.classes_) * 2 == len(pictures)
    kept = TransferClassifier.load(model.save(tmp_path / "kept.safetensors"), cache=cache)
    np.testing.assert_array_equal(kept.predict(pictures), model.predict(pictures))
    path = model.tuned_.save(tmp_path / "m.safetensors", with_weights=True)
    loaded = TransferClassifier.load(path, cache=cache)
    np.testing.assert_array_equal(loaded.predict(pictures), model.tuned_.predict(pictures))
    np.testing.assert_allclose(
        loaded.predict_proba(pictures), model.tuned_.predict_proba(pictures), atol=1e-5
    )
    assert evaluate_model(loaded, pictures).accuracy_all > 0.9
    found = predict_saved(SavedModel.load(path), pictures, RunOptions(cache=cache))
    np.testing.assert_array_equal([p.label for p in found.predictions], loaded.predict(pictures))


def test_what_is_saved_says_what_the_network_said_when_it_was_best(
    pictures: Pictures, cache: Path
) -> None:
    """Through the extraction, with the network's last layer as the head."""
    model = tuner(cache, epochs=2, lr=3e-4, valid=0.4).fit(pictures)
    tasks = model._begin(pictures, None, None, None)[1]
    row = model.history_[model.best_epoch_]
    right = model.tuned_.predict(tasks[0].valid) == tasks[0].valid.labels
    assert right.mean() == pytest.approx(row.valid_accuracy)
    truth = model.tuned_.predict_proba(tasks[0].valid)[
        np.arange(len(right)), tasks[0].encode(tasks[0].valid.labels)
    ]
    assert -np.log(truth).mean() == pytest.approx(row.valid_loss, abs=1e-3)


def test_the_cache_says_which_codes_are_a_fine_tuned_networks(
    pictures: Pictures, tmp_path: Path
) -> None:
    """In the process that trained it, and for whoever opens the saved model."""
    model = tuner(tmp_path / "a", epochs=1, recipe="head").fit(pictures)
    model.tuned_.predict(pictures)
    path = model.tuned_.save(tmp_path / "tuned.safetensors")
    plain = model.baseline_.save(tmp_path / "plain.safetensors", with_weights=True)
    words = {entry.what for entry in cache_info(tmp_path / "a")}
    own = "the embedded network's own weights"
    assert words <= {own, f"fine-tuned model, made from {own}"}
    for file, said in ((path, "fine-tuned model"), (plain, "network inside a model file")):
        opened = load_model(file, cache=tmp_path / said)
        opened.predict(pictures)
        again = load_model(opened.save(tmp_path / "again.safetensors"), cache=tmp_path / f"2{said}")
        again.predict(pictures)
        for root in (tmp_path / said, tmp_path / f"2{said}"):
            assert [each.what for each in cache_info(root)] == [f"{said}, made from {own}"]


def test_where_fine_tuning_does_not_win_the_baseline_is_kept(
    pictures: Pictures, cache: Path
) -> None:
    wrecked = tuner(cache, epochs=1, lr=10.0, recipe="teh-B").fit(pictures)
    assert wrecked.kept_ == "baseline"
    assert wrecked.valid_accuracy_["fine-tuned"] <= wrecked.valid_accuracy_["baseline"]
    whole = TransferClassifier(codes(cache), head="logistic").fit(pictures)
    np.testing.assert_allclose(wrecked.model_.head_.coef_, whole.head_.coef_)


def test_a_training_that_diverges_keeps_the_baseline_and_says_so(
    pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    words = {"epochs": 2, "lr": 1e30, "recipe": "teh-B", "checkpoint": tmp_path / "state"}
    for _ in range(2):  # and again, from the checkpoint
        with pytest.warns(UserWarning, match="the training diverged.*try a lower `lr`"):
            model = tuner(cache, **words).fit(pictures)
        assert (model.kept_, model.best_epoch_) == ("baseline", 0)
        assert not np.isfinite([row.valid_loss for row in model.history_[1:]]).any()
    assert (model.predict(pictures) == pictures.labels).mean() > 0.9


def test_an_epoch_without_a_finite_loss_is_never_the_best() -> None:
    def row(epoch: int, accuracy: float, loss: float) -> EpochRow:
        return EpochRow(epoch, "all", 1.0, 0.5, loss, accuracy, {}, 0.0)

    rows = [row(1, 0.9, np.nan), row(2, 0.2, 5.0), row(3, 0.2, 4.0), row(4, 1.0, np.inf)]
    assert [each.epoch for each in sorted(rows, key=train_module._rank)][-2:] == [2, 3]


class Killed(BaseException):
    """As a process that is ended in the middle."""


@pytest.mark.parametrize(
    "recipe", ["full", "ulmfit", "l2sp", pytest.param("teh-B", marks=pytest.mark.slow)]
)
def test_killed_and_resumed_training_ends_with_the_same_weights(
    recipe: str, pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    epochs = 7 if recipe == "ulmfit" else 4
    whole = tuner(cache, recipe=recipe, epochs=epochs, augment="standard").fit(pictures)

    def kill(what: object) -> None:
        if isinstance(what, EpochRow) and what.epoch == 3:
            raise Killed

    words = {"recipe": recipe, "epochs": epochs, "augment": "standard",
             "checkpoint": tmp_path / "state"}  # fmt: skip
    with pytest.raises(Killed):
        tuner(cache, watch=kill, **words).fit(pictures)
    resumed = tuner(cache, **words).fit(pictures)
    assert [r.valid_loss for r in resumed.history_] == [r.valid_loss for r in whole.history_]
    for name, tensor in whole.tuned_.codes_.tensors_.items():
        np.testing.assert_array_equal(resumed.tuned_.codes_.tensors_[name], tensor, err_msg=name)
    np.testing.assert_array_equal(resumed.tuned_.head_.coef_, whole.tuned_.head_.coef_)
    assert (tmp_path / "state").exists()  # until the model is on the disk
    resumed.save(tmp_path / "m")
    assert not (tmp_path / "state").exists()


def test_a_checkpoint_that_is_done_saves_the_training_or_gives_way_to_another(
    pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    words = {"checkpoint": tmp_path / "state", "recipe": "head", "lr": 1e-2}
    first, told = tuner(cache, **words).fit(pictures), []
    again = tuner(cache, watch=told.append, **words).fit(pictures)
    assert not [what for what in told if isinstance(what, EpochRow | Progress)]
    np.testing.assert_array_equal(again.tuned_.head_.coef_, first.tuned_.head_.coef_)
    other = tuner(cache, **words | {"lr": 1e-3}).fit(pictures)
    assert not np.array_equal(other.tuned_.head_.coef_, first.tuned_.head_.coef_)


def test_a_checkpoint_of_other_pictures_under_the_same_names_is_refused(
    pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    def kill(what: object) -> None:
        if isinstance(what, EpochRow) and what.epoch == 1:
            raise Killed

    for row, path in enumerate(pictures.paths):
        place = tmp_path / "set" / pictures.labels[row] / Path(path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(Path(path).read_bytes())
    state = tmp_path / "state"
    with pytest.raises(Killed):
        tuner(cache, checkpoint=state, watch=kill).fit(tmp_path / "set")
    place.write_bytes(Path(pictures.paths[0]).read_bytes())
    with pytest.raises(ModelFileError, match=r"of another training \(other pictures\)"):
        tuner(cache, checkpoint=state).fit(tmp_path / "set")


def test_a_checkpoint_goes_on_where_the_same_pictures_were_moved(
    pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    words = {"checkpoint": tmp_path / "state", "recipe": "head"}
    tuner(cache, **words).fit(pictures)
    moved = [tmp_path / f"{row:03}{Path(path).suffix}" for row, path in enumerate(pictures.paths)]
    for path, place in zip(pictures.paths, moved, strict=True):
        place.write_bytes(Path(path).read_bytes())
    told: list[object] = []
    tuner(cache, watch=told.append, **words).fit(Pictures(moved, pictures.labels))
    assert not [what for what in told if isinstance(what, EpochRow | Progress)]


def test_a_checkpoint_of_another_training_is_refused(
    pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    def kill(what: object) -> None:
        if isinstance(what, EpochRow) and what.epoch == 1:
            raise Killed

    state = tmp_path / "state"
    with pytest.raises(Killed):
        tuner(cache, checkpoint=state, watch=kill).fit(pictures)
    with pytest.raises(ModelFileError, match=r"of another training \(other lr\); remove it"):
        tuner(cache, checkpoint=state, lr=0.5).fit(pictures)
    other = FineTunedClassifier(
        CNNCodes("resnet18", weights="random", input_size=32, cache=cache, precision="float32"),
        epochs=2, batch_size=8, precision="float32", checkpoint=state,
    )  # fmt: skip
    with pytest.raises(ModelFileError, match="other network"):
        other.fit(pictures)
    pooled = FineTunedClassifier(
        codes(cache, pooling="flatten"),
        epochs=2,
        batch_size=8,
        precision="float32",
        checkpoint=state,
    )
    with pytest.raises(ModelFileError, match="other pooling"):
        pooled.fit(pictures)
    state.write_bytes(b"no checkpoint")
    with pytest.raises(ModelFileError, match="is not a tlfeatures model"):
        tuner(cache, checkpoint=state).fit(pictures)
    for facts in ({}, {"identity": None}, {"identity": {}, "is_done": True}):
        write_model_file(state, {}, {"kind": "checkpoint of a fine-tuning", **facts})
        if "is_done" in facts:  # of another training, which is over
            tuner(cache, checkpoint=state).fit(pictures)
            continue
        with pytest.raises(ModelFileError, match=r"lacks what one has; remove it"):
            tuner(cache, checkpoint=state).fit(pictures)
    tuner(cache).fit(pictures).save(state)
    with pytest.raises(ModelFileError, match="no checkpoint of a fine-tuning"):
        tuner(cache, checkpoint=state).fit(pictures)


def test_short_memory_takes_the_batch_in_parts_with_the_same_gradients(
    pictures: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"batch_norms": "frozen", "epochs": 1, "augment": "none", "recipe": "teh-B", "lr": 1e-2}
    whole = tuner(cache, **words).fit(pictures)
    infer, sizes = net_module.TuningNet.infer, []

    def short(self: Any, X: torch.Tensor, **more: Any) -> Any:
        sizes.append(len(X))
        if self.module_.training and len(X) > 3:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")
        return infer(self, X, **more)

    monkeypatch.setattr(net_module.TuningNet, "infer", short)
    parts = tuner(cache, **words).fit(pictures)
    assert {1, 2} & set(sizes)
    given = load_network(BackboneRequest("embedded")).module.state_dict()
    moved = 0.0
    for name, tensor in whole.tuned_.codes_.tensors_.items():
        np.testing.assert_allclose(
            parts.tuned_.codes_.tensors_[name], tensor, atol=2e-4, err_msg=name
        )
        moved = max(moved, float(np.abs(tensor - given[name].numpy()).max()))
    assert moved > 50 * 2e-4  # other gradients would have gone elsewhere


def test_memory_too_short_for_one_picture_is_one_line(
    pictures: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Any, X: torch.Tensor, **more: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(net_module.TuningNet, "infer", never)
    with pytest.raises(ExtractionError, match="does not hold"):
        tuner(cache).fit(pictures)


def test_it_stops_when_nothing_improves(
    pictures: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = train_module._run_epoch

    def stuck(net: Any, training: Any, phase: Any, number: int) -> EpochRow:
        row = epoch(net, training, phase, number)
        return EpochRow(**{**vars(row), "valid_accuracy": 0.5, "valid_loss": float(number)})

    monkeypatch.setattr(train_module, "_run_epoch", stuck)
    model = tuner(cache, epochs=9, patience=2).fit(pictures)
    assert (len(model.history_) - 1, model.best_epoch_) == (3, 1)
    backwards = tuner(cache, recipe="backwards", epochs=10).fit(pictures)
    assert {row.phase for row in backwards.history_} == {"start", "new layer", "from layer4"}


def test_a_recipe_goes_by_other_names_and_by_itself(pictures: Pictures, cache: Path) -> None:
    for given in ("soft-sharing", "soft_sharing", RECIPES["l2sp"]):
        assert make_recipe(given) is RECIPES["l2sp"]
    model = tuner(cache, recipe=RECIPES["head"], head="softmax", epochs=1).fit(pictures)
    assert (model.plan_.recipe, model.baseline_.head_name_) == ("head", "logistic")
    with pytest.raises(UsageError, match="recipe is a Phase; give a name: head, classifier"):
        tuner(cache, recipe=Phase("a", 1, {})).fit(pictures)
    with pytest.raises(UsageError, match="the recipe is 'l2sp'"):
        tuner(cache, recipe=RECIPES["l2sp"]).fit(pictures, shared_with=pictures)


def test_two_tasks_share_one_network(pictures: Pictures, cache: Path) -> None:
    other = Pictures(pictures.items, [str(len(label)) for label in pictures.labels])
    model = tuner(cache, recipe="hard-sharing", epochs=2, lr=1e-3)
    model.fit(pictures, shared_with=other)
    assert list(model.classes_) == sorted(set(pictures.labels))
    assert (model.tuned_.predict(pictures) == pictures.labels).mean() > 0.9
    assert "second's is left aside" in model.plan_.to_json()["note"]
    assert any("second's is left aside" in line for line in plan_lines(model.plan_))
    with pytest.raises(UsageError, match="needs a second task's pictures"):
        tuner(cache, recipe="hard-sharing").fit(pictures)
    with pytest.raises(UsageError, match="no other recipe takes it"):
        tuner(cache).fit(pictures, shared_with=other)


def test_losses_of_two_tasks_do_not_mix() -> None:
    scores, y = torch.randn(6, 5), torch.tensor([0, 1, 1, 2, 3, 4])
    first = torch.nn.functional.cross_entropy(scores[:3, :2], y[:3], reduction="sum")
    second = torch.nn.functional.cross_entropy(scores[3:, 2:], y[3:] - 2, reduction="sum")
    assert float(TaskLoss((2, 3))(scores, y)) == pytest.approx(float(first + second) / 6)
    scores = torch.tensor([[1.0, 0.0, 9.0, 0.0, 0.0], [9.0, 9.0, 0.0, 1.0, 0.0]])
    assert task_hits(scores, torch.tensor([0, 3]), (2, 3)) == 2


def test_staying_near_the_given_weights(pictures: Pictures, cache: Path) -> None:
    """The penalty is alpha/2 |w - w0|^2 + beta/2 |head|^2, and its pull shows."""
    model = tuner(cache, recipe="l2sp")
    recipe, tasks, _ = model._begin(pictures, None, None, None)
    net, training = model._prepare(recipe, tasks, None)
    net.begin(training.phases[0], 1)
    head = float((net.module_.head.weight.detach() ** 2).sum())
    assert float(net._penalty(0.1, 0.01).detach()) == pytest.approx(0.005 * head)
    weight = net.module_.network.conv1.weight
    with torch.no_grad():
        weight += 0.5
    expected = 0.005 * head + 0.05 * 0.25 * weight.numel()
    assert float(net._penalty(0.1, 0.01).detach()) == pytest.approx(expected, rel=1e-5)


def test_scikit_learn_can_clone_and_cross_validate(pictures: Pictures, cache: Path) -> None:
    model = tuner(cache, epochs=1, recipe="head")
    assert clone(model).get_params()["recipe"] == "head"
    scores = cross_val_score(model, pictures, pictures.labels, cv=2)
    assert scores.shape == (2,)
    assert scores.min() > 0.6


def test_labels_may_be_numbers_and_pictures_in_memory(cache: Path) -> None:
    rng = np.random.default_rng(0)
    X = [Image.fromarray(rng.integers(0, 90, (40, 40, 3), dtype=np.uint8)) for _ in range(8)]
    X += [Image.fromarray(rng.integers(160, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(8)]
    y = np.repeat([3, 7], 8)
    model = tuner(cache, epochs=1).fit(X, y)
    assert model.score(X, y) == model.tuned_.score(X, y) == 1.0
    assert model.predict(X).dtype.kind == "i"


@pytest.fixture
def divided(pictures: Pictures) -> Pictures:
    """Every third picture is held out, by a column of its own."""
    split = ["test" if i % 3 == 0 else "train" for i in range(len(pictures))]
    return Pictures(pictures.items, pictures.labels, split=split, names=pictures.paths)


def test_the_whole_protocol(divided: Pictures, cache: Path) -> None:
    result = evaluate_finetuning(divided, tuner(cache, epochs=1, recipe="teh-B", lr=1e-3))
    assert result.n_train + result.n_valid + result.n_test == len(divided)
    held_out, model = divided[divided.split == "test"], result.classifier
    truth = held_out.labels
    right = {
        name: each.predict(held_out) == truth
        for name, each in (("baseline", model.baseline_), ("tuned", model.tuned_))
    }
    assert result.n_test == len(truth)
    assert result.baseline.accuracy == pytest.approx(right["baseline"].mean())
    assert result.tuned.accuracy == pytest.approx(right["tuned"].mean())
    assert result.final.accuracy == pytest.approx((model.predict(held_out) == truth).mean())
    only = [int((right[a] & ~right[b]).sum()) for a, b in (("baseline", "tuned"),
                                                           ("tuned", "baseline"))]  # fmt: skip
    assert result.p_value == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    data = result.to_json()
    assert data["plan"]["phases"][0]["groups"][-1]["name"] == "head"
    assert [row["epoch"] for row in data["epochs"]] == [0, 1]
    assert "classifier" not in data


def test_the_rate_finder_ends_where_the_loss_explodes(
    pictures: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, real = iter([1.0, 1.0, 0.2, 0.2, 0.2, 30.0]), net_module.TuningNet.train_step

    def step(net: Any, batch: Any) -> dict[str, Any]:
        loss = next(losses, None)
        return real(net, batch) if loss is None else {"loss": loss}

    monkeypatch.setattr(net_module.TuningNet, "train_step", step)
    found = tuner(cache, recipe="teh-B", lr="find", epochs=1).fit(pictures).rate_search_
    assert found is not None
    assert len(found.rates) == len(found.losses) == 6  # the first above four times the lowest
    np.testing.assert_allclose(found.rates, 10.0 ** (-6 + np.arange(6) / 10))
    assert found.suggested == pytest.approx(found.rates[4] / 10)


def test_the_rate_finder_learns_and_ends_by_itself(pictures: Pictures, cache: Path) -> None:
    found = tuner(cache, recipe="full", lr="find", epochs=1).fit(pictures).rate_search_
    assert found is not None
    assert found.rates[0] == pytest.approx(1e-6)
    assert min(found.losses) < found.losses[0]
    assert len(found.losses) < 60
    assert 1e-4 < found.suggested < 0.1


def test_where_no_rate_will_do_a_line_says_so(
    pictures: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        net_module.TuningNet, "train_step", lambda self, batch: {"loss": float("nan")}
    )
    with pytest.raises(UsageError, match=r"no learning rate can be found.*is no number"):
        tuner(cache, lr="find").fit(pictures)


@pytest.mark.parametrize("end", [0.001, 0.1])
def test_where_the_loss_never_rises_no_rate_is_taken(
    pictures: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch, end: float
) -> None:
    once = [*np.linspace(1.0, 0.1, 50), *[end] * 9, 1.2 * end]
    losses = iter(once)
    monkeypatch.setattr(
        net_module.TuningNet, "train_step", lambda self, batch: {"loss": next(losses)}
    )
    model = tuner(cache, lr="find")
    recipe, tasks, _ = model._begin(pictures, None, None, None)
    with pytest.warns(UserWarning, match="does not fall and rise again.*recipe's rates"):
        assert model._find_lr(recipe, tasks) is None
    assert np.isnan(model.rate_search_.suggested)


@pytest.mark.parametrize(
    ("losses", "is_seen"),
    [
        ([1.0, 0.5, 0.1, 2.0], True),
        ([1.0, 0.5, 0.1, float("inf")], True),
        ([1.0, 0.5, 0.1, 0.0], False),
        ([1.0, 0.2, 0.001, 0.0015], False),  # learned by heart
        ([1.0, 1.02, 0.98, 1.01], False),  # nothing but noise
        ([1.0, 2.0, 3.0, 9.0], False),
        ([float("nan")] * 4, False),
    ],
)
def test_a_rate_is_suggested_where_the_loss_falls_and_rises_again(
    losses: list[float], is_seen: bool
) -> None:
    found = _suggest([1e-3, 1e-2, 1e-1, 1.0], losses)
    assert found == pytest.approx(1e-2) if is_seen else np.isnan(found)


def test_a_rate_is_found_without_a_look_at_what_is_held_out(
    divided: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def look(net: Any, training: Any, plan: TrainingPlan) -> RateSearch:
        seen.extend([*training.train.items, *training.valid.items])
        return RateSearch((1e-4,), (1.0,), 2e-4, plan)

    monkeypatch.setattr(classifier_module, "search_rate", look)
    told: list[object] = []
    model = tuner(cache, lr="find", epochs=1, watch=told.append)
    result = evaluate_finetuning(divided, model)
    known = divided[divided.split == "train"]
    assert sorted(seen) == sorted(known.items)
    assert max(group.rate for group in result.plan.phases[0].groups) == pytest.approx(2e-4)
    assert isinstance(told[0], RateSearch)


def test_the_rate_that_is_found_means_the_recipes_highest(
    pictures: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last phase is tried; here its own highest rate is a tenth of the first one's."""
    model = tuner(cache, recipe="head")
    recipe, tasks, _ = model._begin(pictures, None, None, None)
    net, training = model._prepare(recipe, tasks, None)
    phases = [Phase("a", 1, {HEAD: 1e-2}), Phase("b", 1, {HEAD: 1e-3})]
    used: list[float] = []

    def note(self: Any, batch: Any) -> dict[str, float]:
        used.append(phases[1].rates[HEAD] * self.factor_(len(used) / 5))
        return {"loss": 1.0}

    monkeypatch.setattr(net_module.TuningNet, "train_step", note)
    plan: Any = None
    found = search_rate(net, replace(training, phases=phases), plan, n_steps=5)
    np.testing.assert_allclose(found.rates, np.multiply(used, 10))


def test_bad_pictures_of_the_second_task_are_listed(
    pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    items, labels = [*pictures.items, str(bad)], [*(str(x)[:1] for x in pictures.labels), "b"]
    model = tuner(cache, recipe="hard-sharing", epochs=1, lr="find")
    result = evaluate_finetuning(pictures, model, shared_with=Pictures(items, labels))
    assert [path for path, _ in result.bad] == [str(bad)]
    assert model.rate_search_ is not None


def test_weights_that_a_model_carries_are_where_the_next_training_starts(
    pictures: Pictures, cache: Path, tmp_path: Path
) -> None:
    first = tuner(cache, epochs=1, recipe="teh-B", lr=1e-3).fit(pictures)
    second = FineTunedClassifier(
        first.tuned_.codes_, recipe="head", epochs=1, precision="float32"
    ).fit(pictures)
    for model in (second.baseline_, second.model_, second.tuned_):
        np.testing.assert_array_equal(
            model.codes_.tensors_["conv1.weight"], first.tuned_.codes_.tensors_["conv1.weight"]
        )
    np.testing.assert_allclose(
        second.baseline_.codes_.transform(pictures[:3]),
        first.tuned_.codes_.transform(pictures[:3]),
        rtol=1e-5,
    )
    loaded = TransferClassifier.load(second.baseline_.save(tmp_path / "m"), cache=cache)
    np.testing.assert_array_equal(loaded.predict(pictures), second.baseline_.predict(pictures))


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"recipe": "best"}, UsageError, "recipe 'best' is unknown; choose one of"),
        ({"recipe": "guide-vgg"}, UsageError, "those that do: .*head"),
        (
            {"head": "knn"},
            UsageError,
            "head 'knn' is not a linear one; choose one of logistic, svm",
        ),
        ({"valid": 1.5}, UsageError, "`valid` is 1.5"),
        ({"batch_size": 1}, UsageError, "batch_size is 1; it must be at least 2"),
        ({"augment": "wild"}, UsageError, "wild"),
        ({"precision": "fp16"}, UsageError, "precision 'fp16' is unknown"),
        ({"recipe": "last-blocks", "n_blocks": 9}, UsageError, "has 4 blocks, 9 were asked"),
    ],
)
def test_impossible_words_are_refused_in_one_line(
    words: dict[str, Any], error: type[Exception], message: str, pictures: Pictures, cache: Path
) -> None:
    with pytest.raises(error, match=message) as caught:
        tuner(cache, **words).fit(pictures)
    assert "\n" not in str(caught.value)


def test_too_few_classes_or_pictures_are_refused(pictures: Pictures, cache: Path) -> None:
    with pytest.raises(LabelsError, match="only class checks"):
        tuner(cache).fit(pictures[:12])
    with pytest.raises(LabelsError, match="one picture"):
        tuner(cache).fit(pictures[[0, 12]])
    with pytest.raises(LabelsError, match="no labels"):
        tuner(cache).fit(pictures.items)


REAL = {
    "resnet18": {"weights": "resnet18-imagenet-pqf", "preprocess": "imagenet"},
    "mobilenet_v2": {"weights": "mobilenet_v2-imagenet-tf", "preprocess": "tf", "input_size": 225},
    "squeezenet1_0": {
        "weights": "squeezenet1_0-imagenet-caffe", "preprocess": "caffe", "input_size": 227,
    },
    "vgg16": {"weights": "random", "input_size": 64},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(REAL))
@pytest.mark.parametrize("head", ["logistic", "svm"])
def test_real_networks_begin_with_the_baselines_decisions(
    name: str, head: str, shared: Path, shared_weights: Path, cache: Path
) -> None:
    """On every picture of hymenoptera/val, in float32."""
    words: dict[str, Any] = dict(REAL[name])
    if words["weights"] != "random":
        words["weights"] = shared_weights / f"{words['weights']}.safetensors"
    codes_of = CNNCodes(name, cache=cache, precision="float32", **words)
    known = load_pictures(shared / "data/hymenoptera/train")[10:240:3]
    model = FineTunedClassifier(codes_of, head=head, precision="float32")
    recipe, tasks, _ = model._begin(known, None, None, None)
    net, training = model._prepare(recipe, tasks, None)
    judged = load_pictures(shared / "data/hymenoptera/val")
    prepared = LabelledPictures(
        judged.items, tasks[0].encode(judged.labels), net.module_.preprocessing, DecodeOptions()
    )
    net.module_.eval()
    with torch.no_grad(), net._computing():
        scores = torch.cat([net.infer(X) for X, _ in DataLoader(prepared, 16)])
    assert len(judged) == 153
    np.testing.assert_array_equal(
        tasks[0].classes[scores.argmax(1).numpy()], tasks[0].baseline.predict(judged)
    )
    assert training.phases[0].n_epochs == 20


@pytest.mark.parametrize(("n_more", "kept"), [(0, "baseline"), (1, "baseline"), (3, "fine-tuned")])
def test_one_picture_more_does_not_replace_the_baseline(
    n_more: int,
    kept: str,
    pictures: Pictures,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict = TransferClassifier.predict

    def planted(self: TransferClassifier, X: Any) -> Any:
        """The baseline is wrong on the first three pictures, what was tuned on fewer of them."""
        found = np.array(X.labels)
        is_tuned = hasattr(self.codes_, "tensors_")
        found[: 3 - (n_more if is_tuned else 0)] = "wrong"
        return found if len(X) < len(pictures) else predict(self, X)

    monkeypatch.setattr(TransferClassifier, "predict", planted)
    model = tuner(cache, epochs=1, recipe="head", valid=0.4).fit(pictures)
    assert model.kept_ == kept


def test_the_carved_split_keeps_groups_with_gaps_whole(
    pictures: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups given to fit, in an iterator of mixed types; a gap is a group of its own."""
    units = [i // 4 if i % 2 else None for i in range(36)]
    model = tuner(cache)
    given = (
        unit if unit is None else [int, float, str][i % 3](unit) for i, unit in enumerate(units)
    )
    _, (task,), _ = model._begin(iter(pictures.items), iter(pictures.labels), given, None)
    row_of = {path: i for i, path in enumerate(pictures.paths)}
    train, carved = ([units[row_of[p]] for p in side.paths] for side in (task.train, task.valid))
    assert not (set(train) & set(carved)) - {None}
    assert None in train
    assert None in carved


def test_a_missing_label_is_refused_by_its_row(pictures: Pictures, cache: Path) -> None:
    assert pictures.labels is not None
    y = [*pictures.labels.tolist()[:-1], None]
    with pytest.raises(LabelsError, match=r"labels\[35\] is None"):
        tuner(cache).fit(pictures, y)
