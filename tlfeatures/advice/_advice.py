"""`Advice`: what was found, as a value, as plain data and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tlfeatures.advice._evidence import Similarity, Size
from tlfeatures.advice._rules import Recommendation


@dataclass(frozen=True)
class Advice:
    """What to do with these pictures, and everything it rests on.

    `to_json` is in `finetune --plan --json`.

    Attributes
    ----------
    choice : Recommendation
    size : Size
    similarity : Similarity
    minutes : dict of str to float or None
        By strategy, what it costs on this machine; None: could not be timed.
    experiment : str
        The cheapest one that would settle the matter, as lines for the shell.
    protocol : str
        How the pictures are split; only the training side was looked at.
    backbone, layer, key : str
        Of the codes.
    dim : int
        Width of the codes.
    n : int
        Pictures with codes.
    bad : list of (path, reason)
    warnings : list of str
    seconds : dict of str to float
        What the parts of the measurement took.
    """

    choice: Recommendation
    size: Size
    similarity: Similarity
    minutes: Mapping[str, float | None]
    experiment: str
    protocol: str
    backbone: str
    layer: str
    dim: int
    key: str
    n: int
    bad: list[tuple[str, str]]
    warnings: list[str]
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain data, the fields of the recommendation at the top."""
        found = {name: value for name, value in vars(self).items() if name != "choice"}
        choice, curve = asdict(self.choice), self.size.curve
        probes = {
            p.layer: {"accuracy": p.accuracy, "depth": p.depth} for p in self.similarity.probes
        }
        codes = {"codes": {"accuracy": curve[-1].accuracy, "n_train": curve[-1].n}} if curve else {}
        return {
            "recommendation": choice.pop("strategy"),
            "recommended_layer": choice.pop("layer"),
            "cell": {"size": choice.pop("size"), "similarity": choice.pop("similarity")},
            **choice,
            **found,
            "size": self.size.to_json(),
            "similarity": self.similarity.to_json(),
            "scores": {"probes": probes, **codes},
            "bad": [{"path": path, "reason": reason} for path, reason in self.bad],
        }

    def to_text(self) -> str:
        """The advice as a page of text, at most 100 columns wide."""
        from tlfeatures.advice import _text

        parts = (
            _text.choice_lines(self.choice, self.experiment),
            _text.row("measured on", f"the training side alone ({self.protocol})"),
            _text.size_lines(self.size),
            _text.similarity_lines(self.similarity),
            _text.cost_lines(self.minutes, self.choice.strategy),
            _text.threshold_lines(),
        )
        return "\n\n".join("\n".join(part) for part in parts)
