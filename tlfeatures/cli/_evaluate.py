"""tlfeatures evaluate."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from tlfeatures.cli._echo import echo
from tlfeatures.cli._options import (
    MAX_PIXELS_OPTION,
    OUTPUT_OPTIONS,
    RUN_OPTIONS,
    STRICT_OPTION,
    options,
    take_words,
)
from tlfeatures.cli._output import counted, exit_code, interval, percent, print_json, say_bad
from tlfeatures.cli._targets import PAGE, check_targets, then_write, to
from tlfeatures.cli._wording import with_typed


@click.command("evaluate")
@click.argument("model")
@click.argument("images")
@click.option("--report", metavar="FILE", help="Write the result as one HTML page.")
@click.option("--weights", metavar="FILE", help="Where the network's weights are now.")
@options(RUN_OPTIONS, MAX_PIXELS_OPTION, OUTPUT_OPTIONS, STRICT_OPTION)
def command(model: str, images: str, report: str | None, **given: Any) -> int:
    """Score a saved MODEL on labelled IMAGES that it was not trained on."""
    from tlfeatures.classification import TransferClassifier, check_labels, evaluate_model
    from tlfeatures.pictures import load_pictures
    from tlfeatures.report import make_model_page, save_page

    weights = given.pop("weights")
    check_targets({"--report": (report, PAGE)}, [model, weights, images])
    words = take_words(given)
    pictures = check_labels(load_pictures(images))
    classifier = TransferClassifier.load(model, weights=weights, **words.code_options())
    result = with_typed(evaluate_model(classifier, pictures))
    page = make_model_page(result, classifier, model)
    with then_write(to(report, partial(save_page, page))):
        if given["as_json"]:
            print_json(result.to_json())
        else:
            echo(
                f"accuracy {percent(result.accuracy)} % {interval(result.ci95)}, mean recall "
                f"{percent(result.mean_recall)} % {interval(result.mean_recall_ci95)}, "
                f"{counted(result.n_test, 'picture')}"
            )
        for warning in result.warnings:
            words.progress.say(f"note: {warning}")
        say_bad(result.bad, words.progress)
    return exit_code(result.bad, given["strict"])
