"""What each strategy costs here, and the cheapest experiment that would settle the matter."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

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
from tlfeatures.extraction import CNNCodes

EPOCHS = {LAST_BLOCKS: 20, FULL: 20, SCRATCH: 30}  # of the recipes; early stopping may end before
LONG = 30  # minutes, after which a smaller experiment is named too
CODE_OPTIONS = ("device", "precision", "decode", "max_pixels")  # that change codes, or what is bad
GIVEN_IN_PYTHON = (
    "the network was given in Python and no option names it: give it to FineTunedClassifier or "
    "evaluate_baseline there"
)


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


def pooling_of_earlier(pooling: str) -> str:
    """How earlier layers are pooled: flattened, they would be hundreds of thousands wide."""
    return "avg" if pooling == "flatten" else pooling


def experiment_of(
    choice: Recommendation,
    minutes: dict[str, float | None],
    codes: CNNCodes,
    random_state: int,
) -> str:
    """The cheapest experiment that would settle the matter, as a line for the shell.

    Parameters
    ----------
    choice : Recommendation
    minutes : dict of str to float or None
        Of `minutes_of`.
    codes : CNNCodes
        That the advice is about; the line names its options.
    random_state : int
        Of the advice's split.
    """
    options = _options_of(codes, random_state)
    pair = (choice.strategy, choice.rival)
    trained = [strategy for strategy in pair if strategy in TRAINED]
    if trained:
        line = _training_line(trained, minutes, _said(options))
    else:
        earlier = {**options, "layer": choice.layer or choice.rival_layer}
        if codes.pooling != pooling_of_earlier(codes.pooling):
            earlier["pooling"] = pooling_of_earlier(codes.pooling)
        fit = "tlfeatures fit IMAGES"
        line = f"{fit}{_said(earlier)}, beside {fit}{_said(options)}"
    return line if _is_sayable(codes) else f"{line}; {GIVEN_IN_PYTHON}"


def _training_line(trained: Sequence[str], minutes: dict[str, float | None], options: str) -> str:
    recipes = " and --recipe ".join(trained)
    cost = sum(minutes[strategy] or 0 for strategy in trained)
    words = f", {minutes_words(cost)} here" if cost else ""
    beside = "; it prints the score of the codes beside its own" if len(trained) == 1 else ""
    first = f"tlfeatures advise IMAGES{options} --verify --limit 1000"
    look = f"; a first look: {first}" if cost > LONG else ""
    return f"tlfeatures finetune IMAGES{options} --recipe {recipes}{words}{beside}{look}"


def _options_of(codes: CNNCodes, random_state: int) -> dict[str, Any]:
    """What has to be said to get the same codes and the same split: all that is not usual.

    With another split, pictures that were looked at for the advice would be held out.
    """
    given = vars(codes.request()) | {name: getattr(codes, name) for name in CODE_OPTIONS}
    usual = CNNCodes()
    options = {
        name: value
        for name, value in given.items()
        if value != getattr(usual, name) and isinstance(value, str | int) and name != "weights_id"
    }
    if not codes.exif:
        options["exif"] = "off"
    if not isinstance(codes.range, str):
        low, high = codes.range
        options["range"] = f"{float(low)},{float(high)}"
    return {**options, "seed": random_state} if random_state else options


def _is_sayable(codes: CNNCodes) -> bool:
    """Whether options can name the network: not one given itself, nor a saved model's weights."""
    request = codes.request()
    return request.is_words and request.weights_id is None and codes._tensors() is None


def _said(options: Mapping[str, Any]) -> str:
    """Options as a shell takes them, a space before each."""
    return "".join(
        f" --{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in options.items()
    )


def minutes_words(minutes: float) -> str:
    """0.4 -> "under a minute"; 130 -> "about 2.2 h"."""
    if minutes < 1:
        return "under a minute"
    return f"about {minutes:.0f} min" if minutes < 90 else f"about {minutes / 60:.1f} h"
