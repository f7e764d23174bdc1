"""The options of a fine-tuning: what is wrong whatever the pictures are, and what words mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import torch
from joblib import effective_n_jobs

from tlfeatures._parameters import check_jobs, check_share, check_whole
from tlfeatures.backbones import (
    Backbone,
    load_network,
)
from tlfeatures.errors import UsageError
from tlfeatures.extraction import as_codes
from tlfeatures.finetuning._structure import find_structure
from tlfeatures.finetuning.augmentation._augment import Augmentation, parse_augmentation
from tlfeatures.finetuning.recipes._recipes import Recipe, make_recipe
from tlfeatures.finetuning.training._checkpoint import check_checkpoint
from tlfeatures.heads import head_name
from tlfeatures.machine import has_bf16

LINEAR = ("logistic", "svm")
FIND = "find"


def check_options(words: Mapping[str, Any], *, is_shared: bool) -> Recipe:
    """The recipe, after a look at the options that are wrong whatever the pictures are.

    Parameters
    ----------
    words : mapping of str to object
        The parameters of a `FineTunedClassifier`.
    is_shared : bool
        Whether a second task is given.

    Raises
    ------
    UsageError
        If one is impossible.
    OutputError
        If the checkpoint cannot be written.
    """
    recipe = make_recipe(words["recipe"])
    if recipe.is_shared != is_shared:
        raise UsageError(
            "recipe 'hard-sharing' needs a second task's pictures, `shared_with`, and no other "
            f"recipe takes it; the recipe is {recipe.name!r}."
        )
    if words["checkpoint"] is not None:
        check_checkpoint(words["checkpoint"])
    choices = {
        "batch_norms": ("recipe", "moving", "frozen"),
        "precision": ("auto", "float32", "bf16"),
    }
    for name, known in choices.items():
        if words[name] not in known:
            raise UsageError(
                f"{name} {words[name]!r} is unknown; choose one of {', '.join(known)}."
            )
    if head_name(words["head"]) not in LINEAR:
        raise UsageError(
            f"head {words['head']!r} is not a linear one; choose one of {', '.join(LINEAR)}."
        )
    if isinstance(words["lr"], str) and words["lr"] != FIND:
        raise UsageError(f"`lr` {words['lr']!r} is unknown; give a number, 'find', or None.")
    if words["lr"] is not None and not isinstance(words["lr"], str | Real):
        raise UsageError(f"`lr` is {words['lr']!r}; give a number, 'find', or None.")
    check_share("valid", words["valid"])
    check_whole("batch_size", words["batch_size"], 2)
    check_whole("n_blocks", words["n_blocks"])
    if words["epochs"] is not None:
        check_whole("epochs", words["epochs"])
    if words["patience"] not in (None, "recipe"):
        check_whole("patience", words["patience"])
    if words["checkpoint"] is not None and words["random_state"] is None:
        raise UsageError(
            "with random_state None each training is another one, which no checkpoint can go "
            "on with; give a number."
        )
    count_workers(words["n_jobs"])
    augmentation_of(words["augment"])
    return recipe


def check_recipe(words: Mapping[str, Any], n_classes: int) -> None:
    """Whether the recipe suits the network, seen on one without its weights.

    Raises
    ------
    UsageError
    """
    request = as_codes(words["backbone"]).request()
    if request.is_own:  # to draw its weights would be to lose them
        return
    network = load_network(replace(request, weights="random"))
    structure = find_structure(Backbone(network, (request.layer,), request.pooling), n_classes)
    lr = None if isinstance(words["lr"], str) else words["lr"]
    recipe = make_recipe(words["recipe"])
    recipe.phases(structure, n_blocks=words["n_blocks"], epochs=words["epochs"], lr=lr)


def augmentation_of(given: Any) -> Augmentation:
    """The augmentation that words mean.

    Raises
    ------
    UsageError
        If they are no words, or unknown ones.
    """
    if isinstance(given, Augmentation):
        return given
    if not isinstance(given, str):
        raise UsageError(f"augment is {given!r:.80}; give words, as 'light', or Augmentation.")
    return parse_augmentation(given)


def count_workers(n_jobs: int | None) -> int:
    """Processes that decode beside this one; 0: none."""
    return effective_n_jobs(check_jobs(n_jobs)) if n_jobs else 0


def precision_on(device: str, precision: str) -> str:
    """The precision of the training's products on a device."""
    if precision != "auto":
        return precision
    if device == "cuda":
        is_there = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_there = device == "cpu" and has_bf16()
    return "bf16" if is_there else "float32"
