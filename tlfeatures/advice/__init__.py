"""Which strategy suits these pictures: the documents' rules on measured size and similarity.

Promises: every signal is shown with its threshold and the threshold's reason; a contradiction of
the documents is named, with why one was followed. Must not know: pages, the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures.advice._evidence import CurvePoint, Evidence, ProbedLayer, Similarity, Size
from tlfeatures.advice._recipe import recipe_of
from tlfeatures.advice._rules import STRATEGIES, Disagreement, Recommendation, choose

if TYPE_CHECKING:
    from tlfeatures.advice._advise import Advice, advise
    from tlfeatures.advice._verify import verify
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {"Advice": "_advise", "advise": "_advise", "verify": "_verify"},
    )


__all__ = [
    "STRATEGIES",
    "Advice",
    "CurvePoint",
    "Disagreement",
    "Evidence",
    "ProbedLayer",
    "Recommendation",
    "Similarity",
    "Size",
    "advise",
    "choose",
    "recipe_of",
    "verify",
]
