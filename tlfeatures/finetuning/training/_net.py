"""The training step: skorch's net with a rate for each unit, mixed precision, short memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from skorch import NeuralNet
from skorch.helper import predefined_split
from torch import nn

from tlfeatures.engine import exact_products, is_out_of_memory
from tlfeatures.errors import ExtractionError
from tlfeatures.finetuning.recipes._parts import HEAD, Structure
from tlfeatures.finetuning.recipes._phases import Phase
from tlfeatures.finetuning.recipes._recipes import Recipe
from tlfeatures.finetuning.recipes._schedules import SCHEDULES
from tlfeatures.finetuning.training._network import FineTuneNet

DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}


class TaskLoss(nn.Module):
    """Cross-entropy among the classes of each picture's own task.

    Parameters
    ----------
    sizes : tuple of int
        Classes of each task; class numbers go on from task to task.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self._sizes = sizes

    def forward(self, scores: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The mean over pictures, of scores (n, n_scores) and class numbers (n,)."""
        total, first = scores.new_zeros(()), 0
        for size in self._sizes:
            rows = (y >= first) & (y < first + size)
            if bool(rows.any()):
                own = scores[rows, first : first + size]
                total = total + nn.functional.cross_entropy(own, y[rows] - first, reduction="sum")
            first += size
        return total / len(y)


class TuningNet(NeuralNet):
    """Trains a `FineTuneNet`, a phase at a time.

    Parameters
    ----------
    module : FineTuneNet
    recipe : Recipe
    structure : Structure
    precision : {"float32", "bf16"}
        Of convolutions and matrix products; weights and the new layer stay in float32.
    **more
        Of `skorch.NeuralNet`.
    """

    def __init__(
        self,
        module: FineTuneNet,
        recipe: Recipe,
        structure: Structure,
        *,
        precision: str = "float32",
        batch_norms: str = "moving",
        **more: Any,
    ) -> None:
        super().__init__(module, callbacks="disable", verbose=0, **more)
        self.recipe = recipe
        self.structure = structure
        self.precision = precision
        self.tell_: Callable[[int], None] | None = None  # told of each step's pictures
        self.given_: dict[int, torch.Tensor] = {}  # weights that L2-SP stays near, by parameter
        self.batch_norms = batch_norms

    def begin(self, phase: Phase, n_steps: int) -> None:
        """Train by this phase from now on: what is frozen, a new optimiser, its schedule."""
        trained = [unit for unit in self.structure.units if phase.rates.get(unit.name, 0) > 0]
        groups = [
            {"params": self.module_.parameters_of(unit.parameters), "peak": phase.rates[unit.name]}
            for unit in trained
        ]
        if phase.rates.get(HEAD, 0) > 0:
            groups.append(
                {"params": list(self.module_.head.parameters()), "peak": phase.rates[HEAD]}
            )
        moving: list[str] = []
        if self.batch_norms == "moving":
            names = {unit.name for unit in trained} | phase.left_out
            units = [unit for unit in self.structure.units if unit.name in names]
            moving = [path for unit in units for path in unit.batch_norms]
        self.module_.freeze_but([p for group in groups for p in group["params"]], moving)
        self.groups_, self.factor_ = groups, SCHEDULES[phase.schedule]
        self.step_, self.n_steps_ = 0, max(1, n_steps)
        self.initialize_optimizer()

    def initialize_optimizer(self, triggered_directly: Any = None) -> TuningNet:
        """The recipe's optimiser for the groups of the phase."""
        groups = [
            {**group, "lr": group["peak"]}
            for group in getattr(self, "groups_", [{"params": self.module_.head.parameters(),
                                                    "peak": 0.0}])
        ]  # fmt: skip
        self.optimizer_ = make_optimizer(self.recipe, groups)
        return self

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """One step of the optimiser."""
        step = self.gradients(batch)
        self.notify(
            "on_grad_computed", named_parameters=self.get_all_learnable_params(), batch=batch
        )
        factor = self.factor_(self.step_ / self.n_steps_)
        for group in self.optimizer_.param_groups:
            group["lr"] = group["peak"] * factor
        self.optimizer_.step()
        self.step_ += 1
        if self.tell_ is not None:
            self.tell_(len(batch[0]))
        return step

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Loss and hits without gradients."""
        self._train_mode(False)
        X, y = batch
        with torch.no_grad(), self._computing():
            scores = self.infer(X)
            loss = self.get_loss(scores, y, training=False)
        self._note("valid", scores, y)
        return {"loss": loss, "y_pred": scores}

    def gradients(self, batch: Any) -> dict[str, Any]:
        """Gradients of the whole batch, gathered over parts of it where memory is short.

        Raises
        ------
        ExtractionError
            If it does not hold one picture's.
        """
        while True:
            try:
                return self._gather(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._take_smaller_parts(len(batch[0]), error)

    def _gather(self, batch: Any) -> dict[str, Any]:
        self._train_mode(True)
        self.optimizer_.zero_grad(set_to_none=True)
        X, y = batch
        size = getattr(self, "part_size_", len(X))
        total, scores = 0.0, []
        for part_X, part_y in zip(X.split(size), y.split(size), strict=True):
            with self._computing():
                part_scores = self.infer(part_X)
                loss = self.get_loss(part_scores, part_y, training=True) * (len(part_y) / len(y))
            loss.backward()
            total += loss.detach()
            scores.append(part_scores.detach())
        if self.recipe.l2sp is not None:
            penalty = self._penalty(*self.recipe.l2sp)
            penalty.backward()
        answer = torch.cat(scores)
        self._note("train", answer, y)
        return {"loss": total, "y_pred": answer}

    def _train_mode(self, is_training: bool) -> None:
        self.module_.train(is_training)
        self.criterion_.train(is_training)

    def _penalty(self, alpha: float, beta: float) -> torch.Tensor:
        """L2-SP: half alpha times the squared way from the given weights, half beta the head's."""
        moved = [p for p in self.module_.network.parameters() if p.requires_grad]
        way = torch.stack([((p - self.given_[id(p)]) ** 2).sum() for p in moved]).sum()
        penalty: torch.Tensor = 0.5 * alpha * way + 0.5 * beta * (self.module_.head.weight**2).sum()
        return penalty

    def _note(self, prefix: str, scores: torch.Tensor, y: torch.Tensor) -> None:
        hits = task_hits(scores, y.to(scores.device), self.criterion_._sizes)
        self.history.record_batch(f"{prefix}_hits", hits)

    def _take_smaller_parts(self, n: int, error: BaseException) -> None:
        size = getattr(self, "part_size_", n)
        if size < 2:
            raise ExtractionError(
                "the memory does not hold one picture's gradients; use a smaller input size, a "
                "smaller network, or a recipe that trains less."
            ) from error
        self.part_size_ = (size + 1) // 2
        self.optimizer_.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        device = torch.device(self.device).type
        is_half = self.precision != "float32"
        with ExitStack() as stack:
            stack.enter_context(exact_products())
            stack.enter_context(torch.autocast(device, DTYPES[self.precision], enabled=is_half))
            yield


def make_net(
    module: FineTuneNet,
    recipe: Recipe,
    structure: Structure,
    sizes: tuple[int, ...],
    valid: Any,
    **more: Any,
) -> TuningNet:
    """An initialised `TuningNet`, judged on the data set `valid` after each epoch.

    Parameters
    ----------
    sizes : tuple of int
        Classes of each task.
    """
    net = TuningNet(
        module,
        recipe,
        structure,
        criterion=TaskLoss(sizes),
        train_split=predefined_split(valid),
        **more,
    )
    net.initialize()
    if recipe.l2sp is not None:  # now: a training that goes on begins with others
        net.given_ = {id(p): p.detach().clone() for p in module.network.parameters()}
    return net


def make_optimizer(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The recipe's optimiser."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=0.0,
            momentum=recipe.momentum,
            nesterov=recipe.is_nesterov,
            weight_decay=recipe.weight_decay,
        )
    kind: Callable[..., torch.optim.Optimizer] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }[recipe.optimizer]
    return kind(groups, lr=0.0, weight_decay=recipe.weight_decay)


def task_hits(scores: torch.Tensor, y: torch.Tensor, sizes: tuple[int, ...]) -> int:
    """Pictures whose own class has the highest score among those of its task."""
    hits, first = 0, 0
    for size in sizes:
        rows = (y >= first) & (y < first + size)
        found = scores[rows, first : first + size].argmax(1) + first
        hits += int((found == y[rows]).sum())
        first += size
    return hits
