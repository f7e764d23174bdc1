"""What each strategy costs here, and the cheapest experiment that would settle the matter."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
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
CODE_OPTIONS = ("device", "precision", "decode", "max_pixels")  # that change codes, or what is bad
GIVEN_IN_PYTHON = (
    "the network was given in Python and no option names it: give it to FineTunedClassifier or "
    "evaluate_baseline there"
)


def minutes_of(
    per_picture: Mapping[str, float], n: int, n_unseen: int, seconds: float
) -> dict[str, float | None]:
    """What each strategy costs here; None: could not be timed.

    Parameters
    ----------
    per_picture : dict of str to float
        Seconds of `seconds_per_picture`; empty: could not be timed.
    n : int
        Training pictures.
    n_unseen : int
        Of these, pictures whose earlier layers were not extracted.
    seconds : float
        What extraction and learning curve took just now.
    """
    found: dict[str, float | None] = dict.fromkeys(STRATEGIES)
    found[CODES] = seconds / 60
    if per_picture:
        found[EARLIER] = (seconds + n_unseen * per_picture[CODES]) / 60
        for strategy, epochs in EPOCHS.items():
            each = per_picture[LAST_BLOCKS if strategy == LAST_BLOCKS else FULL]
            found[strategy] = each * epochs * n / 60
    return found


def pooling_of_earlier(pooling: str) -> str:
    """How earlier layers are pooled: flattened, they would be hundreds of thousands wide."""
    return "avg" if pooling == "flatten" else pooling


def experiment_of(
    choice: Recommendation,
    minutes: Mapping[str, float | None],
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
    trained = [each for each in (choice.strategy, choice.rival) if each in TRAINED]
    if trained:
        cost = sum(minutes[strategy] or 0 for strategy in trained)
        words = f", {minutes_words(cost)} here" if cost else ""
        beside = "; it prints the score of the codes beside its own" if len(trained) == 1 else ""
        recipes = " and --recipe ".join(trained)
        line = f"tlfeatures finetune IMAGES{_said(options)} --recipe {recipes}{words}{beside}"
    else:
        earlier = {**options, "layer": choice.layer or choice.rival_layer}
        if codes.pooling != pooling_of_earlier(codes.pooling):
            earlier["pooling"] = pooling_of_earlier(codes.pooling)
        fit = "tlfeatures fit IMAGES"
        line = f"{fit}{_said(earlier)}, beside {fit}{_said(options)}"
    return line if _is_sayable(codes) else f"{line}; {GIVEN_IN_PYTHON}"


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
    return request.is_words and request.weights_id is None and not hasattr(codes, "tensors_")


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
