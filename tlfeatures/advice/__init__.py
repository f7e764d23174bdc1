"""Which strategy suits these pictures: the rules of the field on measured size and similarity.

Promises: every signal is shown with its threshold and the threshold's reason; a source that says
something else is named, with why it is not followed. Must not know: pages, the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures.advice._advice import Advice
from tlfeatures.advice._evidence import CurvePoint, Evidence, ProbedLayer, Similarity, Size
from tlfeatures.advice._recipe import recipe_of
from tlfeatures.advice._rules import STRATEGIES, Disagreement, Recommendation, choose

if TYPE_CHECKING:
    from tlfeatures.advice._advise import advise
else:
    __getattr__, __dir__ = load_later(__name__, {"advise": "_advise"})


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
]
