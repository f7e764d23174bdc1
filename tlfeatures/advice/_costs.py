"""What each strategy costs here, and the cheapest experiment that would settle the matter."""

from __future__ import annotations

from tlfeatures.advice._rules import (
    CODES,
    EARLIER,
    FULL,
    LAST_BLOCKS,
    SCRATCH,
    STRATEGIES,
    TRAINED,
    Recommendation,
)

EPOCHS = {LAST_BLOCKS: 20, FULL: 20, SCRATCH: 30}  # of the recipes; early stopping may end before
LONG = 30  # minutes, after which a smaller experiment is named too


def minutes_of(
    per_picture: dict[str, float], n: int, n_unseen: int, seconds: dict[str, float]
) -> dict[str, float | None]:
    """What each strategy costs here.

    Parameters
    ----------
    per_picture : dict of str to float
        Seconds of `seconds_a_picture`; empty: could not be timed.
    n : int
        Training pictures.
    n_unseen : int
        Of these, pictures whose earlier layers were not extracted.
    seconds : dict of str to float
        What extraction and learning curve took just now.
    """
    codes = seconds["extract"] + seconds["size"]
    found: dict[str, float | None] = dict.fromkeys(STRATEGIES)
    found[CODES] = codes / 60
    if per_picture:
        found[EARLIER] = (codes + max(0, n_unseen) * per_picture[CODES]) / 60
        for strategy, epochs in EPOCHS.items():
            each = per_picture[LAST_BLOCKS if strategy == LAST_BLOCKS else FULL]
            found[strategy] = each * epochs * n / 60
    return found


def experiment_of(choice: Recommendation, minutes: dict[str, float | None]) -> str:
    """The cheapest experiment that would settle the matter, as a line for the shell."""
    pair = (choice.strategy, choice.rival)
    trained = [strategy for strategy in pair if strategy in TRAINED]
    if not trained:
        layer = choice.layer or choice.rival_layer
        return f"tlfeatures fit IMAGES --layer {layer}, beside tlfeatures fit IMAGES"
    recipes = " and --recipe ".join(trained)
    cost = sum(minutes[strategy] or 0 for strategy in trained)
    words = f", {minutes_words(cost)} here" if cost else ""
    beside = "; it prints the score of the codes beside its own" if len(trained) == 1 else ""
    look = "; a first look: tlfeatures advise IMAGES --verify --limit 1000" if cost > LONG else ""
    return f"tlfeatures finetune IMAGES --recipe {recipes}{words}{beside}{look}"


def minutes_words(minutes: float) -> str:
    """0.4 -> "under a minute"; 130 -> "about 2.2 h"."""
    if minutes < 1:
        return "under a minute"
    return f"about {minutes:.0f} min" if minutes < 90 else f"about {minutes / 60:.1f} h"
