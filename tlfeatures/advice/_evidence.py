"""What the advice rests on: measured quantities and the thresholds that name them. Plain data.

The rules of the field never say what "small" or "similar" means. The thresholds are first guesses,
each with its reason, which is printed below the advice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, NamedTuple

SIZES = SMALL, MEDIUM, LARGE = ("small", "medium", "large")
SIMILARITIES = SIMILAR, BETWEEN, DIFFERENT = ("similar", "in between", "very different")
STEEP, RISES, FLAT = "still rises steeply", "still rises", "is flat"
UNCLEAR, UNMEASURED = "is unclear", "was not measured"
STANDARD_ERRORS = 2  # that a difference must exceed to count as one: about 95 %
HELD_OUT = 1 / 3  # as a share of the training side, where nothing else is said: a quarter of all
FITTED = 3  # points at the upper end that give the slope: what counts is what comes next
NOISE = 1e-12  # of the arithmetic: with no errors at all the slope may come out as 1e-17


class Threshold(NamedTuple):
    """A first guess: where it lies, what it separates, and why it lies there."""

    value: float
    words: str
    reason: str


SMALL_BELOW = Threshold(
    2000,
    "small: fewer than 2,000 training pictures",
    "rule of thumb: between 397 ants and bees, for which codes do, and the 9,144 of Caltech-101",
)
LARGE_FROM = Threshold(
    20_000,
    "large: 20,000 training pictures or more",
    "rule of thumb: between the 9,144 of Caltech-101 and the 50,000 of CIFAR-10",
)
FEW_PER_CLASS = Threshold(
    20,
    "small, whatever the sum: fewer than 20 in the median class",
    "with the 20 of Flowers-102 fine-tuning is ahead of codes in Kornblith et al. 2019",
)
STEEP_FROM = Threshold(
    0.20,
    "the curve still rises steeply (one size smaller): a doubling removes 20 % of the errors",
    "then eight times the pictures halve the errors, which is more than strategies differ by",
)
FLAT_BELOW = Threshold(
    0.05,
    "the curve is flat (one size larger): a doubling removes less than 5 % of the errors",
    "then more pictures do not help the classifier: what holds it back are the codes",
)
SIMILAR_FROM = Threshold(
    0.70,
    "similar: confidence of the original head at least 70 % of its published accuracy",
    "a network is about as confident as it is accurate; four sets of photographs gave 76 to 107 % "
    "with ResNet-18 and -50",
)
DIFFERENT_BELOW = Threshold(
    0.60,
    "very different: confidence below 60 % of the published accuracy",
    "drawn digits and pictures of 32 pixels gave 40 to 55 % with the same networks",
)
EARLY_BELOW = Threshold(
    0.60,
    "very different: probing peaks in the first 60 % of the layers",
    "later layers are specific to the network's own classes (Yosinski et al. 2014)",
)
ROOM = Threshold(
    6,
    "room to gain: 6 errors of the classifier on codes on the held-out side",
    "with fewer, even a flawless rival could not be told from it (exact McNemar, 5 %)",
)
SCRATCH_FROM = Threshold(
    50_000, "training from scratch is thinkable: 50,000 pictures", "rule of thumb"
)
THRESHOLDS = (
    SMALL_BELOW, LARGE_FROM, FEW_PER_CLASS, STEEP_FROM, FLAT_BELOW, SIMILAR_FROM, DIFFERENT_BELOW,
    EARLY_BELOW, ROOM, SCRATCH_FROM,
)  # fmt: skip


@dataclass(frozen=True)
class CurvePoint:
    """Held-out accuracy after training on n pictures, and its standard error over the splits."""

    n: int
    accuracy: float
    standard_error: float


@dataclass(frozen=True)
class Size:
    """How many pictures there are, and what the learning curve of a linear head says.

    Attributes
    ----------
    n, n_classes : int
        On the training side.
    per_class : int
        Of the median class.
    curve : tuple of CurvePoint
        Ascending; empty: not measured.
    slope, standard_error : float or None
        Accuracy gained by a doubling at the upper end of the curve, in 0..1.
    n_test : int or None
        Pictures held out, on which nothing was measured; None: a quarter of all.
    """

    n: int
    n_classes: int
    per_class: int
    curve: tuple[CurvePoint, ...] = ()
    slope: float | None = None
    standard_error: float | None = None
    n_test: int | None = None

    @property
    def by_count(self) -> str:
        """What the numbers of pictures alone say."""
        if self.n < SMALL_BELOW.value or self._has_few:
            return SMALL
        return LARGE if self.n >= LARGE_FROM.value else MEDIUM

    @property
    def errors_removed(self) -> float | None:
        """Share of the errors that a doubling removes, at the upper end of the curve."""
        if self.slope is None or not self._errors_at_end:
            return None
        return self.slope / self._errors_at_end

    @property
    def curve_says(self) -> str:
        """Whether accuracy still rises at full n, beyond the doubt of the measurement."""
        if self.slope is None or self.standard_error is None or not self.curve:
            return UNMEASURED
        doubt = STANDARD_ERRORS * self.standard_error
        if self.slope + doubt <= FLAT_BELOW.value * self._errors_at_end + NOISE:
            return FLAT
        if self.slope <= doubt:
            return UNCLEAR
        return STEEP if self.slope >= STEEP_FROM.value * self._errors_at_end else RISES

    @property
    def verdict(self) -> str:
        """small, medium or large: by count, moved one step where the curve is clear."""
        place = SIZES.index(self.by_count) + {STEEP: -1, FLAT: 1}.get(self.curve_says, 0)
        return SMALL if self._has_few else SIZES[min(max(place, 0), len(SIZES) - 1)]

    @property
    def errors_to_win(self) -> float | None:
        """Errors expected on the held-out side: the most that any other strategy can win."""
        n_test = self.n * HELD_OUT if self.n_test is None else self.n_test
        return (1 - self.curve[-1].accuracy) * n_test if self.curve else None

    @property
    def _has_few(self) -> bool:
        """Whether the median class has too few pictures for any larger size."""
        return self.per_class < FEW_PER_CLASS.value

    @property
    def _errors_at_end(self) -> float:
        """Mean over the points that the slope is fitted to: the last one may have no errors."""
        return fmean(1 - point.accuracy for point in self.curve[-FITTED:])

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the verdict and how it came about."""
        names = ("verdict", "by_count", "curve_says", "errors_removed", "errors_to_win")
        return {**{name: getattr(self, name) for name in names}, **asdict(self)}


@dataclass(frozen=True)
class ProbedLayer:
    """A linear probe on the codes of one depth.

    Attributes
    ----------
    layer : str
    depth : float
        Share of the layers with weights up to here, in (0, 1]; 1: the default codes.
    accuracy : float
        Out of fold, in 0..1.
    ahead, standard_error : float
        Accuracy minus that of the last depth, on the same pictures.
    """

    layer: str
    depth: float
    accuracy: float
    ahead: float
    standard_error: float

    @property
    def is_ahead(self) -> bool:
        """Whether these codes are better than those of the last depth beyond doubt."""
        return self.ahead > STANDARD_ERRORS * self.standard_error

    @property
    def is_behind(self) -> bool:
        """Whether these codes are worse than those of the last depth beyond doubt."""
        return -self.ahead > STANDARD_ERRORS * self.standard_error


@dataclass(frozen=True)
class Similarity:
    """How much the pictures are like those the network was trained on, by two signals.

    Attributes
    ----------
    confidence : float or None
        Mean highest probability of the original head.
    published : float or None
        Top-1 accuracy published for these weights.
    probes : tuple of ProbedLayer
        By depth, the last one on the codes asked for; empty: not measured.
    missing : dict of str to str
        Why a signal could not be measured.
    n : int
        Pictures that were looked at.
    """

    confidence: float | None = None
    published: float | None = None
    probes: tuple[ProbedLayer, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    n: int = 0

    @property
    def relative_confidence(self) -> float | None:
        """Confidence as a share of the published accuracy."""
        if self.confidence is None or not self.published:
            return None
        return self.confidence / self.published

    @property
    def confidence_says(self) -> str | None:
        """similar, in between or very different; None where it was not measured."""
        if self.relative_confidence is None:
            return None
        if self.relative_confidence >= SIMILAR_FROM.value:
            return SIMILAR
        return DIFFERENT if self.relative_confidence < DIFFERENT_BELOW.value else BETWEEN

    @property
    def best_earlier(self) -> ProbedLayer | None:
        """The best of the depths before the last."""
        return _best(self.probes[:-1])

    @property
    def early_peak(self) -> ProbedLayer | None:
        """The depth with the best codes, if it is an earlier one beyond doubt."""
        best = _best(self.probes)
        return best if best is not None and best.is_ahead else None

    @property
    def depth_says(self) -> str | None:
        """What an early peak says, in between or very different; None where the last is best.

        With most pictures it is, even with some that are nothing like photographs: that says
        nothing. An earlier peak does.
        """
        if self.early_peak is None:
            return None
        return DIFFERENT if self.early_peak.depth <= EARLY_BELOW.value else BETWEEN

    @property
    def votes(self) -> tuple[str, ...]:
        """What the signals say that say anything."""
        return tuple(says for says in (self.confidence_says, self.depth_says) if says is not None)

    @property
    def verdict(self) -> str:
        """What the votes come to; "in between" gives way to another vote.

        Similar and very different together are in between, and so is no vote at all.
        """
        place = sum(SIMILARITIES.index(vote) - 1 for vote in self.votes)
        if place == 0:
            return BETWEEN
        return SIMILAR if place < 0 else DIFFERENT

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the verdict and what each signal says."""
        names = ("verdict", "confidence_says", "depth_says", "relative_confidence")
        return {**{name: getattr(self, name) for name in names}, **asdict(self)}


def _best(probes: Sequence[ProbedLayer]) -> ProbedLayer | None:
    return max(probes, key=lambda probe: probe.accuracy, default=None)


@dataclass(frozen=True)
class Evidence:
    """Both sides of the rule table, measured."""

    size: Size
    similarity: Similarity
