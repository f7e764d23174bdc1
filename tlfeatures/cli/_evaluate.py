"""tlfeatures evaluate."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tlfeatures.cli._echo import echo
from tlfeatures.cli._options import (
    MAX_PIXELS_OPTION,
    OUTPUT_OPTIONS,
    RUN_OPTIONS,
    STRICT_OPTION,
    TRUST_OPTION,
    options,
    take_words,
)
from tlfeatures.cli._output import (
    counted,
    exit_code,
    interval,
    percent,
    print_json,
    say_bad,
)
from tlfeatures.cli._targets import PAGE, check_targets, then_write, to
from tlfeatures.cli._wording import with_typed

if TYPE_CHECKING:
    from tlfeatures.classification import ModelScore


@click.command("evaluate")
@click.argument("model")
@click.argument("images")
@click.option("--report", metavar="FILE", help="Write the result as one HTML page.")
@click.option("--weights", metavar="FILE", help="Where the network's weights are now.")
@options(TRUST_OPTION, RUN_OPTIONS, MAX_PIXELS_OPTION, OUTPUT_OPTIONS, STRICT_OPTION)
def command(model: str, images: str, report: str | None, **given: Any) -> int:
    """Score a saved MODEL on labelled IMAGES; those that it was trained on are left out."""
    from tlfeatures.classification import evaluate_model, load_model
    from tlfeatures.pictures import labelled_pictures, load_pictures
    from tlfeatures.report import make_model_page, save_page

    weights = given.pop("weights")
    check_targets({"--report": (report, PAGE)}, [model, weights, images])
    words = take_words(given)
    pictures = labelled_pictures(load_pictures(images))
    classifier = load_model(
        model, weights=weights, trust_code=given["trust_code"], **words.code_options()
    )
    result = with_typed(evaluate_model(classifier, pictures))
    page = make_model_page(result, classifier, model)
    with then_write(to(report, partial(save_page, page))):
        if given["as_json"]:
            print_json(result.to_json())
        else:
            echo(score_lines(result))
        for warning in result.warnings:
            words.progress.say(f"note: {warning}")
        say_bad(result.bad, words.progress)
    return exit_code(result.bad, given["strict"])


def score_lines(result: ModelScore) -> str:
    """The accuracy on new pictures, and beside it what it would be with those trained on."""
    lines = []
    if result.accuracy is not None and result.mean_recall is not None:
        lines.append(
            f"accuracy {percent(result.accuracy)} % {interval(result.ci95)}, mean recall "
            f"{percent(result.mean_recall)} % {interval(result.mean_recall_ci95)}, "
            f"{counted(result.n_test, 'picture')}"
        )
    if result.n_copies:
        lines.append(
            f"no test, with the {counted(result.n_copies, 'picture')} that the model was trained "
            f"on: {percent(result.accuracy_all)} % {interval(result.ci95_all)}, "
            f"{counted(result.n_test + result.n_copies, 'picture')}"
        )
    return "\n".join(lines)
