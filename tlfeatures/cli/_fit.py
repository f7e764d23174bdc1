"""tlfeatures fit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlfeatures._targets import expand
from tlfeatures.cli._echo import echo
from tlfeatures.cli._help import Verb
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
    model_line,
    print_json,
    say_baseline,
    say_cache,
    say_plan,
)
from tlfeatures.cli._targets import MODEL, PAGE, check_pictures, check_targets, then_write, to
from tlfeatures.cli._wording import with_typed
from tlfeatures.errors import UsageError

if TYPE_CHECKING:
    from tlfeatures.cli._progress import ProgressLine


@click.command(
    "fit",
    cls=Verb,
    everyday=("out", "report", "test", "heads", "backbone", "weights", "as_json", "quiet"),
    example="tlfeatures fit my_pictures --out my.model --report my.html",
)
@click.argument("images")
@click.option(
    "--head",
    "heads",
    multiple=True,
    default=("svm", "logistic", "knn"),
    show_default=True,
    metavar="NAME",
    help="Classifiers to compare, one per option: svm, logistic, knn.",
)
@click.option(
    "--test",
    metavar="FOLDER|FRACTION",
    help="Pictures to test on, or the share of IMAGES to hold out, such as 0.25. A folder of that "
    "name takes precedence. Default: the test folder if there is one, else a quarter.",
)
@click.option(
    "--train-per-class",
    type=click.IntRange(1),
    metavar="N",
    help="Train on N pictures per class and test on the others.",
)
@click.option(
    "-o",
    "--out",
    metavar="MODEL",
    help="Save the chosen classifier to one file, fitted on all pictures except a test folder's.",
)
@click.option(
    "--without-weights",
    is_flag=True,
    help="Leave weights that come from a file out of the model; it then needs that file.",
)
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
    test = _test(given["test"], words.progress)
    check_pictures([model], pictures)
    result = evaluate_baseline(
        pictures,
        words.make_codes(),
        heads=list(given["heads"]),
        test=test,
        train_per_class=given["train_per_class"],
        random_state=given["seed"],
        refit=given["out"] is not None,
        say=words.progress.say,
        begin=lambda pictures, resolved: say_plan(pictures, words, resolved),
    )
    result = with_typed(result)
    with_weights = False if given["without_weights"] else None
    with then_write(
        to(model, partial(result.classifier.save, with_weights=with_weights)),
        to(report, partial(save_page, make_baseline_page(result))),
    ):
        if given["as_json"]:
            print_json({**result.to_json(), "model": model and expand(model)})
        else:
            echo(baseline_table(result))
            if model:
                echo(model_line(result))
        say_baseline(result, words.progress)
        say_cache(words.run.cache_dir, words.progress)
    return exit_code(result.bad, given["strict"])


def _test(word: str | None, line: ProgressLine) -> str | float | None:
    """A folder or manifest where there is one of that name, else a share of pictures.

    Raises
    ------
    UsageError
        If it is a number that is neither.
    """
    number = None if word is None else _number(word)
    if word is None or number is None:
        return word
    if Path(word).exists():
        line.say(f"note: --test {word} is the folder of that name, not a share of the pictures")
        return word
    if not 0 < number < 1:
        raise UsageError(
            f"--test {word}: there is no folder or manifest of that name, and a share lies between "
            "0 and 1; name one that is there, or write a share such as 0.25."
        )
    return number


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
