"""The plan of a training, from the shape of the network alone: no weights, no pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tlfeatures.backbones import Backbone, load_network
from tlfeatures.extraction import as_codes
from tlfeatures.finetuning._options import augmentation_of
from tlfeatures.finetuning._structure import find_structure
from tlfeatures.finetuning.recipes._plan import make_plan
from tlfeatures.finetuning.recipes._recipes import make_recipe

if TYPE_CHECKING:
    from tlfeatures.finetuning._classifier import FineTunedClassifier
    from tlfeatures.finetuning._result import TrainingPlan


def plan_training(classifier: FineTunedClassifier, n_classes: int) -> TrainingPlan:
    """Say which parts would be trained, when and how fast; nothing is downloaded.

    Parameters
    ----------
    classifier : FineTunedClassifier
        Its settings are used; it is not fitted by this.
    n_classes : int

    Returns
    -------
    TrainingPlan
        Without expected seconds.

    Raises
    ------
    UsageError
        If the recipe does not suit the network, or an option is impossible.
    """
    request = as_codes(classifier.backbone).request()
    if not request.is_own:  # to draw an own network's weights would be to lose them
        request = replace(request, weights="random")
    network = load_network(request)
    structure = find_structure(Backbone(network, (request.layer,), request.pooling), n_classes)
    lr = None if isinstance(classifier.lr, str) else classifier.lr
    recipe = make_recipe(classifier.recipe)
    phases = recipe.phases(structure, n_blocks=classifier.n_blocks, epochs=classifier.epochs, lr=lr)
    asked = classifier.batch_norms
    return make_plan(
        recipe,
        phases,
        structure,
        batch_norms=recipe.batch_norms if asked == "recipe" else asked,
        augmentation=augmentation_of(classifier.augment).words,
    )
