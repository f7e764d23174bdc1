"""Results of the classification room -> pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures.report._page import ReportControl, ReportPage, ReportRow

if TYPE_CHECKING:
    from tlfeatures.classification import Baseline, ModelScore

HEADS = {"svm": "linear SVM", "logistic": "logistic regression", "knn": "k nearest neighbours"}
CONTROLS = {
    "pixels": ("raw pixels", "logistic regression on the pictures shrunk to 16x16"),
    "histogram": ("colour histogram", "logistic regression on colours alone"),
    "random_weights": ("random weights", "the same network, untrained, with the chosen head"),
    "majority": ("majority class", "the most frequent training class for every picture"),
    "shuffled_labels": (
        "sanity check: shuffled labels",
        "mean of ridge classifiers on 20 random orders of the labels; the interval is theirs",
    ),
}


def make_baseline_page(
    result: Baseline, *, title: str = "tlfeatures: what the codes are worth", lead: str = ""
) -> ReportPage:
    """The page of `evaluate_baseline`'s result."""
    best = result.heads[result.chosen]
    return ReportPage(
        title=title,
        lead=lead
        or f"{HEADS[result.chosen]} on {result.backbone} codes reaches "
        f"{100 * best.accuracy:.1f} % on {result.n_test} held-out pictures.",
        facts=[
            ("Network", f"{result.backbone}, layer {result.layer}"),
            ("Weights", result.weights_id[:16]),
            ("Pictures", f"{result.n_train} for training, {result.n_test} for testing"),
            ("Figures", f"of the {result.n_test}, by heads fitted on the {result.n_train}"),
            ("Model", f"fitted on {result.fitted_on}, with head and C as found"),
            (
                "Classes",
                ", ".join(map(str, result.classes[:20]))
                + (" ..." if len(result.classes) > 20 else ""),
            ),
            ("Protocol", result.protocol),
            ("Codes", result.key[:12]),
        ],
        heads=[
            ReportRow(
                HEADS[name],
                head.accuracy,
                *head.ci95,
                head.mean_recall,
                *head.mean_recall_ci95,
                C=head.C,
                chosen=name == result.chosen,
            )
            for name, head in result.heads.items()
        ],
        controls=[
            ReportControl(*CONTROLS[name], control.accuracy, *(control.ci95 or (None, None)))
            for name, control in result.controls.items()
        ],
        warnings=result.warnings,
        bad=result.bad,
    )


def make_model_page(result: ModelScore, path: str) -> ReportPage:
    """The page of `evaluate_model`'s result; without figures where only copies were given."""
    facts = [("Network", result.backbone), ("Codes", result.key[:12])]
    if result.n_copies:
        low, high = result.ci95_all
        facts.append(
            (
                "With pictures it was trained on",
                f"{100 * result.accuracy_all:.1f} % ({100 * low:.1f} to {100 * high:.1f}) of "
                f"{result.n_test + result.n_copies}, {result.n_copies} of them trained on: no test",
            )
        )
    rows = _model_rows(result)
    return ReportPage(
        title="tlfeatures: a saved model on other pictures",
        lead=f"{path} reaches {100 * rows[0].accuracy:.1f} % on {result.n_test} pictures."
        if rows
        else f"{path} was trained on all of these pictures: they are no test of it.",
        facts=facts,
        heads=rows,
        warnings=result.warnings,
        bad=result.bad,
    )


def _model_rows(result: ModelScore) -> list[ReportRow]:
    """The figures on new pictures, if there are any."""
    if (
        result.accuracy is None
        or result.ci95 is None
        or result.mean_recall is None
        or result.mean_recall_ci95 is None
    ):
        return []
    return [
        ReportRow(
            HEADS[result.head],
            result.accuracy,
            *result.ci95,
            result.mean_recall,
            *result.mean_recall_ci95,
            C=result.C,
            chosen=True,
        )
    ]
