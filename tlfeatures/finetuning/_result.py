"""What a fine-tuning is going to do, and what it did: plain data. No torch in here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

FINE_TUNED, BASELINE = "fine-tuned", "baseline"


@dataclass(frozen=True)
class GroupPlan:
    """One group of layers in one phase.

    Attributes
    ----------
    name : str
        As "layer4" or "head"; groups stand in the order of execution.
    n_parameters : int
    rate : float
        Learning rate at the peak of the schedule; 0: `requires_grad` is False.
    rate_of_first : float
        Of its first layer, where rates fall within the group; else equal to `rate`.
    batch_norms : {"none", "frozen", "moving"}
        Whether the statistics of its batch norms move; "none": it has no batch norms.
    note : str
        What else is to be known, as parameters that the recipe leaves out.
    """

    name: str
    n_parameters: int
    rate: float
    rate_of_first: float
    batch_norms: str
    note: str = ""


@dataclass(frozen=True)
class PhasePlan:
    """Some epochs with the same parameters trained.

    Attributes
    ----------
    name : str
    n_epochs : int
        At most; early stopping may end it earlier.
    schedule : {"constant", "cosine", "one-cycle", "slanted-triangle"}
    groups : tuple of GroupPlan
        In the order of execution.
    """

    name: str
    n_epochs: int
    schedule: str
    groups: tuple[GroupPlan, ...]

    @property
    def n_trained(self) -> int:
        """Parameters whose rate is above 0."""
        return sum(group.n_parameters for group in self.groups if group.rate > 0)


@dataclass(frozen=True)
class TrainingPlan:
    """What a recipe means for one network and these pictures.

    Attributes
    ----------
    recipe, source : str
        Its name and the source it comes from.
    backbone : str
    head_start : {"probe", "random"}
        Whether the new layer is the baseline's linear head or random numbers.
    is_scratch : bool
        Whether all weights are random at the start.
    optimizer : str
        In words, with momentum and weight decay.
    n_parameters : int
        Of the network with its new layer.
    phases : tuple of PhasePlan
    augmentation : str
        In the words of `parse_augmentation`.
    seconds : float or None
        Expected on this machine; None: not estimated.
    note : str
        What else is to be known of the result, as a second task's layer that is left aside.
    """

    recipe: str
    source: str
    backbone: str
    head_start: str
    is_scratch: bool
    optimizer: str
    n_parameters: int
    phases: tuple[PhasePlan, ...]
    augmentation: str = "none"
    seconds: float | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class EpochRow:
    """One epoch; losses are mean cross-entropies in nats, accuracies 0..1.

    Attributes
    ----------
    epoch : int
        0: before the first step.
    phase : str
        Name of the plan's phase it belongs to; "start" for epoch 0.
    train_loss, train_accuracy : float or None
        Over the epoch, on augmented pictures; None at epoch 0.
    valid_loss, valid_accuracy : float
        On the split carved out of the training data, without augmentation.
    rates : dict of str to float
        Peak learning rate of the epoch for each group of the plan's phase, 0 where it is frozen.
    seconds : float
    """

    epoch: int
    phase: str
    train_loss: float | None
    train_accuracy: float | None
    valid_loss: float
    valid_accuracy: float
    rates: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class RateSearch:
    """What a learning-rate finder tried: the rate rises from step to step.

    Attributes
    ----------
    rates : tuple of float
        Ascending; the highest rate of all phases, as `lr` takes it. All others keep their
        proportions to it.
    losses : tuple of float
        At these rates, as smoothed by the finder; nan or inf where training diverged.
    suggested : float
        nan if no rate can be suggested.
    plan : TrainingPlan
        What the rates were tried for.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float
    plan: TrainingPlan

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class HeldOut:
    """A score on the reported split, fractions in 0..1."""

    accuracy: float
    ci95: tuple[float, float]
    mean_recall: float
    mean_recall_ci95: tuple[float, float]


@dataclass(frozen=True)
class FineTuning:
    """The result of `evaluate_finetuning`; the keys of `tlfeatures finetune --json`.

    Attributes
    ----------
    protocol : str
        How the pictures were split, in words.
    n_train, n_valid, n_test : int
        Pictures that gradients, the choice, and the report used.
    plan : TrainingPlan
    epochs : tuple of EpochRow
        Epoch 0 first.
    best_epoch : int
        The one whose weights were kept, judged on the carved split; 0 if no other has a finite
        loss.
    baseline, tuned, final : HeldOut
        The baseline's score, that of the fine-tuned network, and that of what was kept.
    p_value : float
        Of the exact McNemar test between `baseline` and `tuned` on the same pictures.
    kept : {"fine-tuned", "baseline"}
    valid_accuracy : dict of str to float
        Of "baseline" and "fine-tuned" on the carved split, which decided.
    """

    classes: list[str]
    protocol: str
    n_train: int
    n_valid: int
    n_test: int
    bad: list[tuple[str, str]]
    backbone: str
    weights_id: str
    layer: str
    plan: TrainingPlan
    epochs: tuple[EpochRow, ...]
    best_epoch: int
    baseline: HeldOut
    tuned: HeldOut
    final: HeldOut
    p_value: float
    kept: str
    warnings: list[str]
    seconds: dict[str, float]
    valid_accuracy: dict[str, float] = field(default_factory=dict)
    classifier: Any = field(repr=False, default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        plain = {k: v for k, v in vars(self).items() if k not in ("classifier", "bad")}
        nested = asdict(FineTuning(**plain, bad=[]))
        del nested["classifier"]
        return {**nested, "bad": [{"path": path, "reason": reason} for path, reason in self.bad]}
