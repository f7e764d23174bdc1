"""The state of a training after an epoch, as one file, from which it goes on to the same end."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tlfeatures._targets import check_target
from tlfeatures.errors import ModelFileError
from tlfeatures.finetuning._result import EpochRow
from tlfeatures.modelfile import read_model_file, write_model_file

KIND = "checkpoint of a fine-tuning"
NETWORK, BEST, OPTIMIZER = "network.", "best.", "optimizer."
NOTHING = "\0"  # no tensor's name begins so
LOSSES = ("train_loss", "valid_loss")
State = dict[str, torch.Tensor]


@dataclass
class Progressed:
    """How far a training is.

    Attributes
    ----------
    phase, epoch_in_phase : int
        What comes next.
    rows : list of EpochRow
    best_epoch : int
        0: none yet.
    best : dict of str to Tensor
        The network's state after the best epoch.
    network : dict of str to Tensor
    optimizer : dict
        Its `state_dict()["state"]`.
    n_steps : int
        Of the optimiser in this phase.
    """

    phase: int = 0
    epoch_in_phase: int = 0
    rows: list[EpochRow] = field(default_factory=list)
    best_epoch: int = 0
    best: State = field(default_factory=dict)
    network: State = field(default_factory=dict)
    optimizer: dict[int, dict[str, Any]] = field(default_factory=dict)
    n_steps: int = 0


class Checkpoint:
    """One file, replaced after each epoch.

    Parameters
    ----------
    path : Path
    identity : mapping of str to JSON values
        What must be the same for a training to go on.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path, self._identity = path, dict(identity)

    def save(self, state: Progressed, *, is_done: bool = False) -> None:
        """Replace the file; one that is done gives way to another training.

        Raises
        ------
        ModelFileError
            If it cannot be written; the one before stays.
        """
        tensors = {f"{NETWORK}{name}": tensor for name, tensor in state.network.items()}
        tensors |= {f"{BEST}{name}": tensor for name, tensor in state.best.items()}
        for i, slots in state.optimizer.items():
            for name, value in slots.items():
                tensors[f"{OPTIMIZER}{i}.{name}"] = torch.as_tensor(value)
        facts = {
            "kind": KIND,
            "is_done": is_done,
            "identity": self._identity,
            "phase": state.phase,
            "epoch_in_phase": state.epoch_in_phase,
            "best_epoch": state.best_epoch,
            "n_steps": state.n_steps,
            "rows": [_to_json(row) for row in state.rows],
        }
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        write_model_file(self.path, arrays, facts)

    def load(self) -> Progressed | None:
        """The state that was saved; None if there is no file, or that of another that is done.

        Raises
        ------
        ModelFileError
            If the file is damaged, no checkpoint, or of another training that is not done.
        """
        if not self.path.exists():
            return None
        arrays, facts = read_model_file(self.path)
        _check_kind(self.path, facts)
        try:
            return self._from_file(arrays, facts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(
                f"the checkpoint {self.path} lacks what one has; remove it to train from the "
                f"beginning ({type(error).__name__}: {error})."
            ) from error

    def _from_file(self, arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> Progressed | None:
        found = facts["identity"]
        differing = [name for name in self._identity if self._identity[name] != found.get(name)]
        if differing and facts["is_done"]:
            return None
        if differing:
            raise ModelFileError(
                f"the checkpoint {self.path} is of another training (other "
                f"{', '.join(differing)}); remove it, or name another file in `checkpoint`."
            )
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        optimizer: dict[int, dict[str, Any]] = {}
        for name, tensor in _under(OPTIMIZER, tensors).items():
            i, _, slot = name.partition(".")
            optimizer.setdefault(int(i), {})[slot] = tensor
        return Progressed(
            facts["phase"],
            facts["epoch_in_phase"],
            [_from_json(row) for row in facts["rows"]],
            facts["best_epoch"],
            _under(BEST, tensors),
            _under(NETWORK, tensors),
            optimizer,
            facts["n_steps"],
        )


def check_checkpoint(path: str | os.PathLike[str]) -> None:
    """Look, before a training, whether its state can be kept there.

    Raises
    ------
    UsageError, OutputError
        If no file can be written there.
    ModelFileError
        If another file is there.
    """
    target = check_target(path, "the checkpoint")
    if target.exists():
        _check_kind(target, read_model_file(target, prefix=NOTHING)[1])


def _check_kind(path: Path, facts: Mapping[str, Any]) -> None:
    if facts.get("kind") != KIND:
        raise ModelFileError(
            f"{path} is no checkpoint of a fine-tuning; name another file in `checkpoint`."
        )


def _to_json(row: EpochRow) -> dict[str, Any]:
    """JSON has no nan: a loss that is none becomes null."""
    plain = asdict(row)
    for name in LOSSES:
        if plain[name] is not None and not math.isfinite(plain[name]):
            plain[name] = None
    return plain


def _from_json(plain: dict[str, Any]) -> EpochRow:
    missing = {name: math.nan for name in LOSSES if plain[name] is None and plain["epoch"]}
    return EpochRow(**{**plain, **missing})


def _under(prefix: str, tensors: State) -> State:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
