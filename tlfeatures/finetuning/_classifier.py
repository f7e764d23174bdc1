"""`FineTunedClassifier`: a network trained on one's own pictures, as a scikit-learn classifier."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from tlfeatures._parameters import check_jobs, check_share, check_whole, seed_of
from tlfeatures._targets import expand
from tlfeatures.backbones import (
    TUNED,
    Backbone,
    CarriedWeights,
    Preprocessing,
    check_before_weights,
    load_network,
)
from tlfeatures.classification import TrainedOn, TransferClassifier, extract_good, load_model
from tlfeatures.engine import is_out_of_memory
from tlfeatures.errors import ExtractionError, UsageError
from tlfeatures.evaluation import make_split, paired_difference
from tlfeatures.extraction import CNNCodes, Progress, as_codes
from tlfeatures.finetuning._checkpoint import Checkpoint, check_checkpoint
from tlfeatures.finetuning._data import LabelledPictures, seeded
from tlfeatures.finetuning._net import TuningNet, make_net
from tlfeatures.finetuning._network import FineTuneNet, usual_length
from tlfeatures.finetuning._rates import search_rate
from tlfeatures.finetuning._result import (
    BASELINE,
    FINE_TUNED,
    EpochRow,
    RateSearch,
    TrainingPlan,
)
from tlfeatures.finetuning._structure import find_structure
from tlfeatures.finetuning._train import Training, estimate_seconds, train
from tlfeatures.finetuning.augmentation._augment import NONE, Augmentation, parse_augmentation
from tlfeatures.finetuning.augmentation._distort import make_transform
from tlfeatures.finetuning.recipes._phases import Phase
from tlfeatures.finetuning.recipes._plan import make_plan
from tlfeatures.finetuning.recipes._recipes import Recipe, make_recipe
from tlfeatures.heads import head_from_arrays, head_name
from tlfeatures.machine import has_bf16, resolve_device
from tlfeatures.pictures import Pictures, content_digest, labelled_pictures

_log = logging.getLogger(__name__)
LINEAR = ("logistic", "svm")
EQUAL = 1e-9  # of floating-point numbers: one picture is exactly one standard error
FIND = "find"
NEVER_RISES = (
    "no learning rate was found: up to the highest one the loss does not fall and rise again, as "
    "on few pictures; the recipe's rates are used"
)
DIVERGED = (
    "the training diverged: no epoch has a finite loss, so the baseline is kept; try a lower `lr`"
)
Watch = Callable[[RateSearch | TrainingPlan | EpochRow | Progress], None]


@dataclass(frozen=True)
class _Task:
    """Labelled pictures of one task, split, and the baseline fitted on the training part."""

    train: Pictures
    valid: Pictures
    baseline: TransferClassifier

    @property
    def classes(self) -> NDArray[Any]:
        found: NDArray[Any] = self.baseline.classes_
        return found

    def encode(self, labels: Any, first: int = 0) -> NDArray[np.intp]:
        """Class numbers, counted from `first`."""
        return np.searchsorted(self.classes, np.asarray(labels)) + first


class FineTunedClassifier(ClassifierMixin, BaseEstimator):
    """A classifier whose network is trained further, starting where the baseline ended.

    The linear head fitted on cached codes becomes the network's last layer (linear probe, then
    fine-tune: Kumar et al. 2022), so that before the first step the decisions are the baseline's.
    A split carved out of the training data stops the training, chooses the epoch, and decides
    whether the fine-tuned network is kept or the baseline, which stays within one standard error.

    Parameters
    ----------
    backbone : str or CNNCodes, default="resnet50"
        A network's name, or a `CNNCodes` for any other setting; one layer is the new one's input.
    recipe : str or Recipe, default="full"
        A name of `tlfeatures.finetuning.RECIPES`, or one of these.
    head : {"logistic", "svm"}, default="logistic"
        Of the baseline.
    n_blocks : int, default=1
        Blocks that the recipe "last-blocks" trains.
    epochs : int or None
        In all; None: the recipe's.
    lr : float, "find" or None
        The highest rate, the others in proportion; "find": by a short search on the pictures that
        are trained on, kept in `rate_search_`; None: the recipe's.
    batch_size : int, default=32
    augment : str or Augmentation, default="light"
        See `Augmentation`.
    batch_norms : {"recipe", "moving", "frozen"}, default="recipe"
        Whether the statistics of trained parts move; those of frozen parts never do.
    valid : float, default=0.2
        Share of the training pictures that is carved out.
    patience : int or None, default="recipe"
        Epochs without improvement after which a phase ends; None: never.
    precision : {"auto", "float32", "bf16"}, default="auto"
        Of the training's products; "auto": bf16 where the processor multiplies in it.
    checkpoint : path or None
        A file that keeps the state after each epoch; a `fit` that finds it there goes on. It stays
        until `save` has put the model elsewhere, or another training takes its place.
    n_jobs : int or None, default=0
        Processes that decode; 0 or None: this one, which keeps decoded pictures in memory; -1: one
        for every core, -2: for all but one.
    random_state : int, RandomState or None, default=0
    watch : callable or None
        Told the `RateSearch` if there is one, the `TrainingPlan` before the training, the
        `Progress` within each epoch, and each `EpochRow` as it is done.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    baseline_ : TransferClassifier
        Fitted on the pictures that the network was trained on.
    tuned_ : TransferClassifier
        The network after the best epoch, with its last layer as the head.
    model_ : TransferClassifier
        What `predict` uses: `tuned_`, or the baseline fitted on all pictures given.
    kept_ : {"fine-tuned", "baseline"}
    plan_ : TrainingPlan
    history_ : tuple of EpochRow
    best_epoch_ : int
        0 if no other epoch has a finite loss; then `tuned_` is the network at its start.
    rate_search_ : RateSearch or None
    n_trained_on_ : int
        Pictures that are not carved out.
    valid_accuracy_ : dict of str to float
        Of "baseline" and "fine-tuned" on the carved split.

    Examples
    --------
    >>> model = FineTunedClassifier("resnet18", recipe="last-blocks")
    >>> model.fit(pictures, pictures.labels).predict(["query.jpg"])  # doctest: +SKIP
    array(['bees'], dtype='<U4')
    """

    def __init__(
        self,
        backbone: str | CNNCodes = "resnet50",
        recipe: str | Recipe = "full",
        *,
        head: str = "logistic",
        n_blocks: int = 1,
        epochs: int | None = None,
        lr: float | str | None = None,
        batch_size: int = 32,
        augment: Any = "light",
        batch_norms: str = "recipe",
        valid: float = 0.2,
        patience: int | str | None = "recipe",
        precision: str = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        n_jobs: int | None = 0,
        random_state: int | np.random.RandomState | None = 0,
        watch: Watch | None = None,
    ) -> None:
        self.backbone = backbone
        self.recipe = recipe
        self.head = head
        self.n_blocks = n_blocks
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.augment = augment
        self.batch_norms = batch_norms
        self.valid = valid
        self.patience = patience
        self.precision = precision
        self.checkpoint = checkpoint
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.watch = watch

    def fit(
        self, X: Any, y: Any = None, groups: Any = None, *, shared_with: Any = None
    ) -> FineTunedClassifier:
        """Fit the baseline, train the network, keep the better one.

        Parameters
        ----------
        X : Pictures, folder, manifest, data frame, or iterable of pictures
        y : array-like of shape (n_images,), optional
            Labels; default: those of the Pictures.
        groups : array-like of shape (n_images,), optional
            Pictures that stay on one side of the carved split; default: those of the Pictures. A
            picture without one (None, NaN) is a group of its own.
        shared_with : Pictures, optional
            A second task with labels of its own, for the recipe "hard-sharing".

        Raises
        ------
        LabelsError
            If there are no labels, one is missing, there is one class only, or too few pictures to
            carve out any.
        UsageError
            If an option is impossible, the recipe does not fit the network, or no rate is found.
        ImageReadError
            If a picture is bad, and `on_bad` of the `CNNCodes` is "raise"; with "nan" bad ones are
            left out, with a warning.
        ModelFileError
            If the checkpoint is of another training.
        ExtractionError
            If the memory does not hold the training of one picture.
        """
        recipe, tasks, pictures = self._begin(X, y, groups, shared_with)
        task = tasks[0]
        self.classes_, self.baseline_ = task.classes, task.baseline
        self.n_trained_on_ = len(task.train)
        try:
            self._train(recipe, tasks)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ExtractionError(
                f"the memory does not hold the training ({str(error).splitlines()[0][:80]}); use "
                "a smaller input size or network, or a recipe that trains less."
            ) from error
        self._keep(task, pictures)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each picture, shape (n_images,)."""
        check_is_fitted(self)
        return self.model_.predict(X)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities of shape (n_images, n_classes), in the order of `classes_`."""
        check_is_fitted(self)
        return self.model_.predict_proba(X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The share of labels that are right, as `TransferClassifier.score` has it."""
        check_is_fitted(self)
        return self.model_.score(X, y, sample_weight)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> FineTunedClassifier:
        """Load what `save` wrote, to predict with.

        The file keeps the network and its last layer, not the training: parameters are those by
        default, and `baseline_`, `history_` and the like are not there. `tlfeatures.load_model`
        opens the same file as the `TransferClassifier` that it holds.

        Parameters
        ----------
        path : path
        **options
            As of `tlfeatures.load_model`.

        Raises
        ------
        ModelFileError
            If the file is missing, broken or from elsewhere.
        """
        model = load_model(path, **options)
        loaded = cls(model.codes_)
        loaded.model_, loaded.codes_, loaded.classes_ = model, model.codes_, model.classes_
        return loaded

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save what was kept as one file, the network inside; `load_model` opens it.

        The checkpoint, which is no longer needed, is taken away.

        Raises
        ------
        ModelFileError
            If it cannot be written.
        """
        check_is_fitted(self)
        saved = self.model_.save(path, with_weights=True)
        if self.checkpoint is not None:
            with contextlib.suppress(OSError):
                expand(self.checkpoint).unlink(missing_ok=True)
        return saved

    def _begin(
        self, X: Any, y: Any, groups: Any, shared_with: Any
    ) -> tuple[Recipe, list[_Task], Pictures]:
        """Check the options, leave bad pictures aside, carve, fit the baselines."""
        recipe = self._check(is_shared=shared_with is not None)
        self._seed = seed_of(self.random_state)
        pictures = labelled_pictures(X, y, groups, way=", or pass `y`")
        others = [] if shared_with is None else [labelled_pictures(shared_with)]
        self.codes_ = as_codes(self.backbone)
        every = [extract_good(self.codes_, each).pictures for each in (pictures, *others)]
        return recipe, [self._carve(each) for each in every], every[0]

    def check(
        self, pictures: Pictures, *, test: float | None = None, shared_with: Pictures | None = None
    ) -> None:
        """Look at options and pictures as `evaluate_finetuning` does, without any network.

        Raises
        ------
        LabelsError
            If there are no labels, one class only, or too few pictures to hold out and to carve.
        UsageError
            If an option is impossible.
        OutputError
            If the checkpoint cannot be written.
        """
        self._check(is_shared=shared_with is not None)
        given, seed = labelled_pictures(pictures), seed_of(self.random_state)
        split = make_split(labels_of(given), given.split, given.groups, test, None, seed)
        others = [] if shared_with is None else [labelled_pictures(shared_with)]
        for task in (given[split.train], *others):
            make_split(labels_of(task), None, task.groups, self.valid, None, seed)
        self._check_recipe(len(given.classes) + sum(len(each.classes) for each in others))

    def _check_recipe(self, n_classes: int) -> None:
        """Whether the recipe suits the network, seen on one without its weights.

        Raises
        ------
        UsageError
        """
        request = as_codes(self.backbone).request()
        if request.is_own:  # to draw its weights would be to lose them
            return
        network = load_network(replace(request, weights="random"))
        structure = find_structure(Backbone(network, (request.layer,), request.pooling), n_classes)
        lr = None if isinstance(self.lr, str) else self.lr
        recipe = make_recipe(self.recipe)
        recipe.phases(structure, n_blocks=self.n_blocks, epochs=self.epochs, lr=lr)

    def _check(self, *, is_shared: bool) -> Recipe:
        """The recipe, after a look at the options that are wrong whatever the pictures are."""
        recipe = make_recipe(self.recipe)
        if recipe.is_shared != is_shared:
            raise UsageError(
                "recipe 'hard-sharing' needs a second task's pictures, `shared_with`, and no other "
                f"recipe takes it; the recipe is {recipe.name!r}."
            )
        if self.checkpoint is not None:
            check_checkpoint(self.checkpoint)
        choices = {
            "batch_norms": ("recipe", "moving", "frozen"),
            "precision": ("auto", "float32", "bf16"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{name} {getattr(self, name)!r} is unknown; choose one of {', '.join(known)}."
                )
        if head_name(self.head) not in LINEAR:
            raise UsageError(
                f"head {self.head!r} is not a linear one; choose one of {', '.join(LINEAR)}."
            )
        if isinstance(self.lr, str) and self.lr != FIND:
            raise UsageError(f"`lr` {self.lr!r} is unknown; give a number, 'find', or None.")
        if self.lr is not None and not isinstance(self.lr, str | Real):
            raise UsageError(f"`lr` is {self.lr!r}; give a number, 'find', or None.")
        check_share("valid", self.valid)
        check_whole("batch_size", self.batch_size, 2)
        check_whole("n_blocks", self.n_blocks)
        if self.epochs is not None:
            check_whole("epochs", self.epochs)
        if self.patience not in (None, "recipe"):
            check_whole("patience", self.patience)
        if self.checkpoint is not None and self.random_state is None:
            raise UsageError(
                "with random_state None each training is another one, which no checkpoint can go "
                "on with; give a number."
            )
        self._n_workers()
        self._augmentation()
        return recipe

    def _carve(self, pictures: Pictures) -> _Task:
        split = make_split(labels_of(pictures), None, pictures.groups, self.valid, None, self._seed)
        training: Pictures = pictures[split.train]
        carved: Pictures = pictures[split.test]
        baseline = TransferClassifier(self.codes_, self.head, self._seed)
        return _Task(training, carved, baseline.fit(training))

    def _train(self, recipe: Recipe, tasks: list[_Task]) -> None:
        lr = self._find_lr(recipe, tasks)
        net, training = self._prepare(recipe, tasks, lr)
        self.plan_ = self._plan(net, training, estimate_seconds(net, training))
        self._tell(self.plan_)
        done = train(net, training)
        self.history_, self.best_epoch_ = tuple(done.rows), done.best_epoch
        if not self.best_epoch_:
            warnings.warn(DIVERGED, UserWarning, stacklevel=3)
        self.tuned_ = self._as_transfer(net, tasks[0])
        self.tuned_.trained_on_ = _trained_on(tasks)

    def _find_lr(self, recipe: Recipe, tasks: list[_Task]) -> float | None:
        """The highest rate; None: the recipe's. A search learns from what will be trained on."""
        self.rate_search_: RateSearch | None = None
        if not isinstance(self.lr, str):
            return None if self.lr is None else float(self.lr)
        net, training = self._prepare(recipe, tasks, None)
        self.rate_search_ = search_rate(net, training, self._plan(net, training))
        self._tell(self.rate_search_)
        if np.isfinite(self.rate_search_.suggested):
            return self.rate_search_.suggested
        if np.isfinite(self.rate_search_.losses).any():
            warnings.warn(NEVER_RISES, UserWarning, stacklevel=4)
            return None
        raise UsageError(
            "no learning rate can be found: the loss is no number even at the lowest one; give "
            "`lr` a number, or use another recipe."
        )

    def _tell(self, what: RateSearch | TrainingPlan | EpochRow | Progress) -> None:
        if self.watch is not None:
            self.watch(what)

    def _plan(
        self, net: TuningNet, training: Training, seconds: float | None = None
    ) -> TrainingPlan:
        return make_plan(
            net.recipe,
            training.phases,
            net.structure,
            batch_norms=net.batch_norms,
            augmentation=self._augmentation().words,
            seconds=seconds,
        )

    def _prepare(
        self, recipe: Recipe, tasks: list[_Task], lr: float | None
    ) -> tuple[TuningNet, Training]:
        """The network at its start, and what the training needs beside it."""
        backbone = self._load(recipe)
        sizes = tuple(len(task.classes) for task in tasks)
        structure = find_structure(backbone, sum(sizes))
        epochs = None if self.epochs is None else int(self.epochs)
        phases = recipe.phases(structure, n_blocks=int(self.n_blocks), epochs=epochs, lr=lr)
        module = self._start(recipe, backbone, tasks, sizes)
        training = self._training(recipe, phases, backbone, tasks, self._checkpoint(tasks, lr))
        batch_size, n_workers = int(self.batch_size), self._n_workers()
        n_over = len(training.train) % batch_size
        net = make_net(
            module,
            recipe,
            structure,
            sizes,
            training.valid,
            precision=self._precision(),
            batch_norms=recipe.batch_norms if self.batch_norms == "recipe" else self.batch_norms,
            device=resolve_device(self.codes_.device),
            batch_size=batch_size,
            iterator_train__shuffle=True,
            # a batch of one picture has no variance for a batch norm
            iterator_train__drop_last=n_over == 1 and len(training.train) > batch_size,
            iterator_train__num_workers=n_workers,
            iterator_valid__num_workers=n_workers,
        )
        return net, training

    def _load(self, recipe: Recipe) -> Backbone:
        """The network, to be trained; not one that others use."""
        request = self.codes_.request()
        if recipe.is_scratch:
            request = replace(request, weights=f"random:{self._seed}")
        tensors = None if recipe.is_scratch else self.codes_._tensors()
        as_torch = tensors and {k: torch.from_numpy(v.copy()) for k, v in tensors.items()}
        check_before_weights(request, (request.layer,))
        network = load_network(request, as_torch)
        network.module.to(resolve_device(self.codes_.device)).to(memory_format=torch.channels_last)
        return Backbone(network, (request.layer,), request.pooling)

    def _start(
        self, recipe: Recipe, backbone: Backbone, tasks: list[_Task], sizes: tuple[int, ...]
    ) -> FineTuneNet:
        codes = tasks[0].baseline.codes_
        if recipe.is_scratch:
            codes = clone(codes).set_params(weights=f"random:{self._seed}", weights_id=None)
        some: Pictures = tasks[0].train[:64]
        with seeded(self._seed):
            module = FineTuneNet(backbone, sizes, usual_length(codes.query(some)))
        if recipe.head_start == "probe":
            first = 0
            for task, size in zip(tasks, sizes, strict=True):
                module.start_from(*as_layer(task.baseline.head_), first)
                first += size
        return module

    def _training(
        self,
        recipe: Recipe,
        phases: list[Phase],
        backbone: Backbone,
        tasks: list[_Task],
        checkpoint: Checkpoint | None,
    ) -> Training:
        options, preprocessing = self.codes_.decode_options(), backbone.preprocessing
        augmentation, transform = self._augmentation(), None
        if isinstance(preprocessing, Preprocessing) and augmentation != NONE:
            transform = make_transform(augmentation, preprocessing.input_size)
        elif augmentation != NONE:
            _log.info("an own preprocess function leaves no room for augmentation: none is done")
        items = [item for task in tasks for item in task.train.items]
        firsts = np.cumsum([0, *(len(task.classes) for task in tasks)])
        y = np.concatenate(
            [
                task.encode(task.train.labels, first)
                for task, first in zip(tasks, firsts, strict=False)
            ]
        )
        carved = tasks[0].valid
        return Training(
            phases,
            LabelledPictures(items, y, preprocessing, options, transform),
            LabelledPictures(carved.items, tasks[0].encode(carved.labels), preprocessing, options),
            int(self.batch_size),
            recipe.patience if self.patience == "recipe" else self.patience,  # type: ignore[arg-type]
            recipe.stops_unfreezing,
            self._seed,
            checkpoint,
            self._tell,
        )

    def _checkpoint(self, tasks: list[_Task], lr: float | None) -> Checkpoint | None:
        if self.checkpoint is None:
            return None
        spec = tasks[0].baseline.spec_
        hidden = ("backbone", "watch", "checkpoint", "n_jobs")
        words = self.get_params(deep=False)
        identity: dict[str, Any] = {
            "network": spec.backbone,
            "weights": spec.weights_id,
            "layer": spec.layer,
            "pooling": spec.pooling,
            "decoding": self.codes_.decode_options().to_json(),
            "preprocessing": spec.to_json()["preprocessing"],
            "pictures": _digest(tasks, self.codes_),
            **{name: _plain(value) for name, value in words.items() if name not in hidden},
            "recipe": make_recipe(self.recipe).name,
            "head": head_name(self.head),
            "random_state": self._seed,
            "lr": lr,
        }
        return Checkpoint(expand(self.checkpoint), identity)

    def _augmentation(self) -> Augmentation:
        given = self.augment
        if isinstance(given, Augmentation):
            return given
        if not isinstance(given, str):
            raise UsageError(f"augment is {given!r:.80}; give words, as 'light', or Augmentation.")
        return parse_augmentation(given)

    def _n_workers(self) -> int:
        """Processes that decode beside this one; 0: none."""
        return effective_n_jobs(check_jobs(self.n_jobs)) if self.n_jobs else 0

    def _precision(self) -> str:
        if self.precision != "auto":
            return self.precision
        device = resolve_device(self.codes_.device)
        if device == "cuda":
            is_there = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            is_there = device == "cpu" and has_bf16()
        return "bf16" if is_there else "float32"

    def _as_transfer(self, net: TuningNet, task: _Task) -> TransferClassifier:
        """The trained network as a frozen one, its last layer as the head on its codes."""
        module: FineTuneNet = net.module_
        weights, biases = module.head_arrays(len(task.classes))
        facts = task.baseline.head_.to_arrays()[1]
        facts = {**facts, "kind": "logistic", "params": {}}
        codes = clone(task.baseline.codes_)
        state = module.network.state_dict()
        trained = {name: tensor.cpu().numpy() for name, tensor in state.items()}
        codes.tensors_ = CarriedWeights(trained, TUNED)
        model = TransferClassifier(codes, "logistic", self._seed)
        model.codes_, model.head_name_ = codes, "logistic"
        model.head_ = head_from_arrays(as_head(weights, biases), facts)
        model.classes_, model.spec_ = model.head_.classes_, codes.fit([]).spec_
        return model

    def _keep(self, task: _Task, pictures: Pictures) -> None:
        """The fine-tuned network if it wins on the carved split, else the baseline.

        Within one standard error of the paired difference the simpler one stays: on a few dozen
        pictures one more that is right means nothing.
        """
        labels = labels_of(task.valid)
        codes_alone = task.baseline.predict(task.valid) == labels
        tuned = self.tuned_.predict(task.valid) == labels
        self.valid_accuracy_ = {
            BASELINE: float(codes_alone.mean()),
            FINE_TUNED: float(tuned.mean()),
        }
        gain = paired_difference(tuned, codes_alone)
        is_better = gain.difference > gain.standard_error * (1 + EQUAL)
        self.kept_ = FINE_TUNED if is_better else BASELINE
        self.model_ = self.tuned_ if is_better else clone(task.baseline).fit(pictures)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def as_layer(head: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A linear head as a layer with a score a class, (n_classes, d) and (n_classes,).

    An SVM's scores are stretched by its sigmoid's slope, so that the softmax of the layer is about
    as sure as the head; decisions stay.
    """
    tensors, facts = head.to_arrays()
    scale = facts["sigmoid"][0] if "sigmoid" in facts else 1.0
    weights, biases = tensors["coef"] * scale, tensors["intercept"] * scale
    if len(weights) == 1:  # two classes: the score of the first one is 0
        weights, biases = np.vstack([0 * weights, weights]), np.concatenate([0 * biases, biases])
    return weights, biases


def as_head(
    weights: NDArray[np.float64], biases: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """The arrays of the logistic head that says the same as a layer."""
    if len(weights) == 2:
        weights, biases = weights[1:] - weights[:1], biases[1:] - biases[:1]
    return {"coef": weights, "intercept": biases}


def labels_of(pictures: Pictures) -> NDArray[Any]:
    """Their labels, which they have."""
    return np.asarray(pictures.labels)


def _trained_on(tasks: list[_Task]) -> TrainedOn:
    """Of all that the network has seen, what was carved out to choose the epoch included."""
    parts = [part for task in tasks for part in (task.train, task.valid)]
    return TrainedOn.of(content_digest(item) for part in parts for item in part.items)


def _digest(tasks: list[_Task], codes: CNNCodes) -> str:
    """Of the pictures' contents and labels, in order; what a file is called says nothing."""
    digest = hashlib.sha256()
    for task in tasks:
        for part in (task.train, task.valid):
            for key, label in zip(codes.codes(part).keys, labels_of(part), strict=True):
                digest.update(key + f"\0{label}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else repr(value)
