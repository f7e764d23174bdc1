"""What `evaluate_baseline` gives: heads, controls and the baseline as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tlfeatures._notebook import block, lines, table
from tlfeatures.classification._classifier import TransferClassifier
from tlfeatures.evaluation import Score
from tlfeatures.pictures import Pictures


@dataclass(frozen=True)
class HeadResult:
    """One head's held-out score, fractions in 0..1; C is None where the head has none."""

    accuracy: float
    ci95: tuple[float, float]
    mean_recall: float
    mean_recall_ci95: tuple[float, float]
    C: float | None


@dataclass(frozen=True)
class Control:
    """What a trivial method reaches on the same split.

    `ci95` counts the test pictures; of shuffled labels it is where 95 % of the orders lie.
    """

    accuracy: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True, repr=False)
class Baseline:
    """The result of `evaluate_baseline`; field by field the keys of `tlfeatures fit --json`.

    Attributes
    ----------
    n_train, n_test : int
        Pictures of the two sides that every figure is of.
    n_fitted : int
        Pictures that `classifier` was fitted on, in the words of `fitted_on`.
    confounds, learning_curve : list
        Not examined by this version: always empty.
    classifier : TransferClassifier
        The chosen head with the C that was found; not part of the JSON.
    train, test : Pictures
        The two sides; not part of the JSON.
    """

    classes: list[str]
    protocol: str
    n_train: int
    n_test: int
    n_fitted: int
    fitted_on: str
    bad: list[tuple[str, str]]
    backbone: str
    weights_id: str
    layer: str
    key: str
    heads: dict[str, HeadResult]
    chosen: str
    controls: dict[str, Control]
    warnings: list[str]
    seconds: dict[str, float]
    classifier: TransferClassifier = field(repr=False)
    train: Pictures = field(repr=False)
    test: Pictures = field(repr=False)
    confounds: list[dict[str, Any]] = field(default_factory=list)
    learning_curve: list[dict[str, Any]] = field(default_factory=list)

    def __repr__(self) -> str:
        head = self.heads[self.chosen]
        score = f"{head.accuracy:.1%} ({_interval(head.ci95)}) of {self.n_test} test pictures"
        return f"<Baseline: {self.chosen} {score}; {self.backbone} {self.layer}>"

    def _repr_html_(self) -> str:
        """Heads and controls beside each other, for notebooks."""
        rows = [
            (f"{name} (chosen)" if name == self.chosen else name, f"{head.accuracy:.1%}",
             _interval(head.ci95), f"{head.mean_recall:.1%}")
            for name, head in self.heads.items()
        ]  # fmt: skip
        rows += [
            (name.replace("_", " "), f"{each.accuracy:.1%}", _interval(each.ci95), "")
            for name, each in self.controls.items()
        ]
        bad = [f"bad picture: {path}: {reason}" for path, reason in self.bad]
        title = f"{self.backbone} {self.layer}, {len(self.classes)} classes: {self.protocol}"
        header = ("", "accuracy", "95 % interval", "mean recall")
        return block(title, table(header, rows), lines(self.warnings), lines(bad))

    def to_json(self) -> dict[str, Any]:
        """Plain data, with exactly the key names of the command line."""
        hidden = ("classifier", "train", "test", "bad", "heads", "controls")
        plain = {k: v for k, v in vars(self).items() if k not in hidden}
        return {
            **plain,
            "bad": [{"path": path, "reason": reason} for path, reason in self.bad],
            "heads": {name: asdict(result) for name, result in self.heads.items()},
            "controls": {name: asdict(control) for name, control in self.controls.items()},
        }


def _interval(ci95: tuple[float, float] | None) -> str:
    return "" if ci95 is None else f"{ci95[0]:.1%} to {ci95[1]:.1%}"


def head_result(result: Score, head: Any) -> HeadResult:
    """The held-out score of a fitted head."""
    C = getattr(head, "C_", None)
    return HeadResult(
        result.accuracy,
        result.ci95,
        result.mean_recall,
        result.mean_recall_ci95,
        None if C is None else float(C),
    )
