"""Where a training starts: the network with its new layer, and what is needed beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from tlfeatures._targets import expand
from tlfeatures.backbones import (
    Backbone,
    Preprocessing,
    check_before_weights,
    load_network,
)
from tlfeatures.extraction import CNNCodes, Progress
from tlfeatures.finetuning._data import LabelledPictures, seeded
from tlfeatures.finetuning._options import augmentation_of, count_workers, precision_on
from tlfeatures.finetuning._result import EpochRow
from tlfeatures.finetuning._structure import find_structure
from tlfeatures.finetuning._tasks import Task, digest_of
from tlfeatures.finetuning.augmentation._augment import NONE
from tlfeatures.finetuning.augmentation._distort import make_transform
from tlfeatures.finetuning.recipes._phases import Phase
from tlfeatures.finetuning.recipes._recipes import Recipe
from tlfeatures.finetuning.training._checkpoint import Checkpoint
from tlfeatures.finetuning.training._head import as_layer
from tlfeatures.finetuning.training._net import TuningNet, make_net
from tlfeatures.finetuning.training._network import FineTuneNet, usual_length
from tlfeatures.finetuning.training._train import Training
from tlfeatures.heads import head_name
from tlfeatures.machine import resolve_device
from tlfeatures.pictures import Pictures

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What is settled before a network is loaded.

    Attributes
    ----------
    recipe : Recipe
    tasks : list of Task
        The first one is carved and scored.
    words : mapping of str to object
        The parameters of a `FineTunedClassifier`.
    codes : CNNCodes
        The network as it is given.
    seed : int
    watch : callable
        See `Training`.
    """

    recipe: Recipe
    tasks: list[Task]
    words: Mapping[str, Any]
    codes: CNNCodes
    seed: int
    watch: Callable[[EpochRow | Progress], None]

    def prepare(self, lr: float | None) -> tuple[TuningNet, Training]:
        """The network at its start, and what the training needs beside it.

        Parameters
        ----------
        lr : float or None
            The highest rate; None: the recipe's.
        """
        words, device = self.words, resolve_device(self.codes.device)
        backbone = self._load(device)
        sizes = tuple(len(task.classes) for task in self.tasks)
        structure = find_structure(backbone, sum(sizes))
        epochs = None if words["epochs"] is None else int(words["epochs"])
        n_blocks = int(words["n_blocks"])
        phases = self.recipe.phases(structure, n_blocks=n_blocks, epochs=epochs, lr=lr)
        module = self._with_new_layer(backbone, sizes)
        training = self._training(phases, backbone, self._checkpoint(lr))
        n_workers, moving = count_workers(words["n_jobs"]), words["batch_norms"]
        n_over = len(training.train) % training.batch_size
        net = make_net(
            module,
            self.recipe,
            structure,
            sizes,
            training.valid,
            precision=precision_on(device, words["precision"]),
            batch_norms=self.recipe.batch_norms if moving == "recipe" else moving,
            device=device,
            batch_size=training.batch_size,
            iterator_train__shuffle=True,
            # a batch of one picture has no variance for a batch norm
            iterator_train__drop_last=n_over == 1 and len(training.train) > training.batch_size,
            iterator_train__num_workers=n_workers,
            iterator_valid__num_workers=n_workers,
        )
        return net, training

    def _load(self, device: str) -> Backbone:
        """The network, to be trained; not one that others use."""
        request = self.codes.request()
        if self.recipe.is_scratch:
            request = replace(request, weights=f"random:{self.seed}")
        tensors = None if self.recipe.is_scratch else self.codes._tensors()
        as_torch = tensors and {k: torch.from_numpy(v.copy()) for k, v in tensors.items()}
        check_before_weights(request, (request.layer,))
        network = load_network(request, as_torch)
        network.module.to(device).to(memory_format=torch.channels_last)
        return Backbone(network, (request.layer,), request.pooling)

    def _with_new_layer(self, backbone: Backbone, sizes: tuple[int, ...]) -> FineTuneNet:
        codes = self.tasks[0].baseline.codes_
        if self.recipe.is_scratch:
            codes = clone(codes).set_params(weights=f"random:{self.seed}", weights_id=None)
        some: Pictures = self.tasks[0].train[:64]
        with seeded(self.seed):
            module = FineTuneNet(backbone, sizes, usual_length(codes.query(some)))
        if self.recipe.head_start == "probe":
            first = 0
            for task, size in zip(self.tasks, sizes, strict=True):
                module.start_from(*as_layer(task.baseline.head_), first)
                first += size
        return module

    def _training(
        self, phases: list[Phase], backbone: Backbone, checkpoint: Checkpoint | None
    ) -> Training:
        options, preprocessing = self.codes.decode_options(), backbone.preprocessing
        augmentation, transform = augmentation_of(self.words["augment"]), None
        if isinstance(preprocessing, Preprocessing) and augmentation != NONE:
            transform = make_transform(augmentation, preprocessing.input_size)
        elif augmentation != NONE:
            _log.info("an own preprocess function leaves no room for augmentation: none is done")
        items = [item for task in self.tasks for item in task.train.items]
        firsts = np.cumsum([0, *(len(task.classes) for task in self.tasks)])
        y = np.concatenate(
            [
                task.encode(task.train.labels, first)
                for task, first in zip(self.tasks, firsts, strict=False)
            ]
        )
        carved, patience = self.tasks[0].valid, self.words["patience"]
        truth = self.tasks[0].encode(carved.labels)
        return Training(
            phases,
            LabelledPictures(items, y, preprocessing, options, transform),
            LabelledPictures(carved.items, truth, preprocessing, options),
            int(self.words["batch_size"]),
            self.recipe.patience if patience == "recipe" else patience,
            self.recipe.stops_unfreezing,
            self.seed,
            checkpoint,
            self.watch,
        )

    def _checkpoint(self, lr: float | None) -> Checkpoint | None:
        words = self.words
        if words["checkpoint"] is None:
            return None
        spec = self.tasks[0].baseline.spec_
        hidden = ("backbone", "watch", "checkpoint", "n_jobs")
        identity: dict[str, Any] = {
            "network": spec.backbone,
            "weights": spec.weights_id,
            "layer": spec.layer,
            "pooling": spec.pooling,
            "decoding": self.codes.decode_options().to_json(),
            "preprocessing": spec.to_json()["preprocessing"],
            "pictures": digest_of(self.tasks, self.codes),
            **{name: _plain(value) for name, value in words.items() if name not in hidden},
            "recipe": self.recipe.name,
            "head": head_name(words["head"]),
            "random_state": self.seed,
            "lr": lr,
        }
        return Checkpoint(expand(words["checkpoint"]), identity)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else repr(value)
