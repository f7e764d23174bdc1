"""From a recommended strategy to the recipe that carries it out."""

from __future__ import annotations

from tlfeatures.advice._rules import FULL, LAST_BLOCKS, SCRATCH

RECIPES = {LAST_BLOCKS: "last-blocks", FULL: "full", SCRATCH: "scratch"}


def recipe_of(strategy: str) -> str | None:
    """The recipe of a strategy; None where the network is not trained.

    Parameters
    ----------
    strategy : str
        Of `STRATEGIES`.

    Examples
    --------
    >>> recipe_of("codes") is None
    True
    """
    return RECIPES.get(strategy)
