"""tlfeatures fit."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from tlfeatures._targets import expand
from tlfeatures.cli._echo import echo
from tlfeatures.cli._options import (
    LAYER_OPTION,
    LIMIT_OPTION,
    NETWORK_OPTIONS,
    OUTPUT_OPTIONS,
    RUN_OPTIONS,
    SEED_OPTION,
    STRICT_OPTION,
    options,
    take_both,
)
from tlfeatures.cli._output import (
    baseline_table,
    exit_code,
    print_json,
    say_baseline,
    say_cache,
    say_plan,
)
from tlfeatures.cli._targets import MODEL, PAGE, check_pictures, check_targets, then_write, to
from tlfeatures.cli._wording import with_typed


@click.command("fit")
@click.argument("images")
@click.option("--head", "heads", default="svm,logistic,knn", show_default=True, metavar="NAMES")
@click.option("--test", metavar="FOLDER|FRACTION", help="Other pictures to test on, or a share.")
@click.option("--train-per-class", type=click.IntRange(1), metavar="N")
@click.option("--out", metavar="MODEL", help="Save the chosen head as one file.")
@click.option("--with-weights", is_flag=True, help="Put the network into the model file.")
@click.option("--report", metavar="FILE", help="Write the result as one HTML page.")
@options(
    LIMIT_OPTION,
    LAYER_OPTION,
    NETWORK_OPTIONS,
    RUN_OPTIONS,
    SEED_OPTION,
    OUTPUT_OPTIONS,
    STRICT_OPTION,
)
def command(images: str, **given: Any) -> int:
    """Train and score classifiers on the codes of IMAGES, beside controls.

    IMAGES is a folder of class folders, train/val/test folders of them, or a CSV manifest with
    the columns path, label, split, group.
    """
    from tlfeatures.classification import evaluate_baseline
    from tlfeatures.report import make_baseline_page, save_page

    model, report = given["out"], given["report"]
    reads = [images, given["weights"], given["test"]]
    check_targets({"--out": (model, MODEL), "--report": (report, PAGE)}, reads)
    words, pictures = take_both(given, images)
    check_pictures([model], pictures)
    result = evaluate_baseline(
        pictures,
        words.make_codes(),
        heads=[name.strip() for name in given["heads"].split(",")],
        test=_test(given["test"]),
        train_per_class=given["train_per_class"],
        random_state=given["seed"],
        say=words.progress.say,
        begin=lambda pictures: say_plan(pictures, words),
    )
    result = with_typed(result)
    with then_write(
        to(model, partial(result.classifier.save, with_weights=given["with_weights"])),
        to(report, partial(save_page, make_baseline_page(result))),
    ):
        if given["as_json"]:
            print_json({**result.to_json(), "model": model and expand(model)})
        else:
            echo(baseline_table(result))
        say_baseline(result, words.progress)
        say_cache(words.run.cache_dir, words.progress)
    return exit_code(result.bad, given["strict"])


def _test(word: str | None) -> str | float | None:
    """A share of pictures if it is a number, else a folder."""
    from tlfeatures.classification._baseline import check_share

    try:
        return None if word is None else check_share(float(word))
    except ValueError as error:
        if type(error) is ValueError:
            return word
        raise
