"""`FineTunedClassifier`: a network trained on one's own pictures, as a scikit-learn classifier."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from tlfeatures._parameters import seed_of
from tlfeatures._targets import expand
from tlfeatures.backbones import TUNED, CarriedWeights
from tlfeatures.classification import TransferClassifier, extract_good, load_model
from tlfeatures.engine import is_out_of_memory
from tlfeatures.errors import ExtractionError, UsageError
from tlfeatures.evaluation import make_split, paired_difference
from tlfeatures.extraction import CNNCodes, Progress, as_codes
from tlfeatures.finetuning._options import augmentation_of, check_options, check_recipe
from tlfeatures.finetuning._result import BASELINE, FINE_TUNED, EpochRow, RateSearch, TrainingPlan
from tlfeatures.finetuning._start import Start
from tlfeatures.finetuning._tasks import Task, carve, labels_of, trained_on
from tlfeatures.finetuning.recipes._plan import make_plan
from tlfeatures.finetuning.recipes._recipes import Recipe
from tlfeatures.finetuning.training._head import as_head
from tlfeatures.finetuning.training._net import TuningNet
from tlfeatures.finetuning.training._network import FineTuneNet
from tlfeatures.finetuning.training._rates import search_rate
from tlfeatures.finetuning.training._train import Training, estimate_seconds, train
from tlfeatures.heads import head_from_arrays
from tlfeatures.pictures import Pictures, labelled_pictures

EQUAL = 1e-9  # of floating-point numbers: one picture is exactly one standard error
NEVER_RISES = (
    "no learning rate was found: up to the highest one the loss does not fall and rise again, as "
    "on few pictures; the recipe's rates are used"
)
DIVERGED = (
    "the training diverged: no epoch has a finite loss, so the baseline is kept; try a lower `lr`"
)
Watch = Callable[[RateSearch | TrainingPlan | EpochRow | Progress], None]


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
    ) -> tuple[Recipe, list[Task], Pictures]:
        """Check the options, leave bad pictures aside, carve, fit the baselines."""
        recipe = check_options(self.get_params(deep=False), is_shared=shared_with is not None)
        self._seed = seed_of(self.random_state)
        pictures = labelled_pictures(X, y, groups, way=", or pass `y`")
        others = [] if shared_with is None else [labelled_pictures(shared_with)]
        self.codes_ = as_codes(self.backbone)
        every = [extract_good(self.codes_, each).pictures for each in (pictures, *others)]
        tasks = [carve(each, self.codes_, self.head, self.valid, self._seed) for each in every]
        return recipe, tasks, every[0]

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
        check_options(self.get_params(deep=False), is_shared=shared_with is not None)
        given, seed = labelled_pictures(pictures), seed_of(self.random_state)
        split = make_split(labels_of(given), given.split, given.groups, test, None, seed)
        others = [] if shared_with is None else [labelled_pictures(shared_with)]
        for task in (given[split.train], *others):
            make_split(labels_of(task), None, task.groups, self.valid, None, seed)
        check_recipe(
            self.get_params(deep=False),
            len(given.classes) + sum(len(each.classes) for each in others),
        )

    def _train(self, recipe: Recipe, tasks: list[Task]) -> None:
        lr = self._find_lr(recipe, tasks)
        net, training = self._prepare(recipe, tasks, lr)
        self.plan_ = self._plan(net, training, estimate_seconds(net, training))
        self._tell(self.plan_)
        done = train(net, training)
        self.history_, self.best_epoch_ = tuple(done.rows), done.best_epoch
        if not self.best_epoch_:
            warnings.warn(DIVERGED, UserWarning, stacklevel=3)
        self.tuned_ = self._as_transfer(net, tasks[0])
        self.tuned_.trained_on_ = trained_on(tasks)

    def _prepare(
        self, recipe: Recipe, tasks: list[Task], lr: float | None
    ) -> tuple[TuningNet, Training]:
        words = self.get_params(deep=False)
        return Start(recipe, tasks, words, self.codes_, self._seed, self._tell).prepare(lr)

    def _find_lr(self, recipe: Recipe, tasks: list[Task]) -> float | None:
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
            augmentation=augmentation_of(self.augment).words,
            seconds=seconds,
        )

    def _as_transfer(self, net: TuningNet, task: Task) -> TransferClassifier:
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

    def _keep(self, task: Task, pictures: Pictures) -> None:
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
