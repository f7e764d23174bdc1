"""Words of earlier versions, answered with those of today."""

from __future__ import annotations

from collections.abc import Sequence

VERBS = {
    ("evaluate",): "'tlfeatures predict MODEL IMAGES', which scores pictures that have labels",
    ("advise",): "'tlfeatures finetune IMAGES --plan'",
    ("look", "augment"): "'tlfeatures finetune IMAGES --plan --sheet FILE.png'",
    ("look", "range"): "'tlfeatures look FOLDER', which prints the range",
    ("cache", "where"): "'tlfeatures cache info'",
    ("cache", "diff"): "'tlfeatures cache info', which describes every folder",
    ("cache", "repair"): "'tlfeatures cache verify --repair'",
    ("cache", "export"): "'tlfeatures extract IMAGES --out FILE.h5'",
}
OPTIONS = {
    "--compile": "--kernels on or off",
    "--verify": "'tlfeatures finetune IMAGES', which measures on held-out pictures",
    "--with-weights": (
        "nothing: weights from a file are saved inside the model; --without-weights leaves them out"
    ),
    "--train-batch": "--train-batch-size",
    "--heads": "--head, once for each head",
}


def answer(arguments: Sequence[str]) -> str | None:
    """What to type today in place of an old verb; None if there is none among the words."""
    words = [word for word in arguments if not word.startswith("-")]
    for old, new in VERBS.items():
        n_more = 1 if old[0] == "look" else 0  # a folder may be called "augment"
        if tuple(words[: len(old)]) == old and len(words) >= len(old) + n_more:
            return f"{' '.join(old)} is now {new}."
    return None
