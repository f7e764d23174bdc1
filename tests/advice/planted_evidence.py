"""Evidence that was never measured: planted, so that each rule can be looked at alone."""

from __future__ import annotations

from tlfeatures.advice import CurvePoint, Evidence, ProbedLayer, Similarity, Size

COUNTS = {"small": 400, "medium": 5000, "large": 30_000}
CONFIDENCES = {"similar": 0.70, "in between": 0.45, "very different": 0.14}
PEAKS = {"similar": 1.0, "in between": 0.8, "very different": 0.4}
PUBLISHED = 0.7


def make_size(
    n: int, accuracy: float = 0.8, slope: float = 0.02, error: float = 0.001, per_class: int = 100
) -> Size:
    """By default 10 % of the errors go with a doubling: the size stays. Accuracy: in the middle."""
    low, high = accuracy - slope / 2, accuracy + slope / 2
    curve = (CurvePoint(n // 2, low, error), CurvePoint(n, high, error))
    return Size(n, max(2, n // per_class), per_class, curve, slope, error)


def make_probes(peak: float, ahead: float = 0.1, error: float = 0.01) -> tuple[ProbedLayer, ...]:
    """Five depths of accuracy 0.6, `ahead` more at the peak."""
    depths = (0.2, 0.4, 0.6, 0.8, 1.0)
    best = {depth: ahead * (depth == peak) for depth in depths}
    return tuple(
        ProbedLayer(f"layer{d}", d, 0.6 + best[d], best[d] - best[1.0], error if d < 1 else 0.0)
        for d in depths
    )


def make_similarity(confidence: str | None = "similar", peak: str | None = None) -> Similarity:
    """Signals that say these words; a peak not named says what the confidence says."""
    place = PEAKS[peak or confidence or "similar"]
    return Similarity(
        confidence=None if confidence is None else CONFIDENCES[confidence],
        published=PUBLISHED,
        probes=make_probes(place),
    )


def plant(size: str, similarity: str) -> Evidence:
    """Evidence for a cell of the table."""
    return Evidence(make_size(COUNTS[size]), make_similarity(similarity))
