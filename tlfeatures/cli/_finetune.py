"""tlfeatures finetune."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlfeatures._targets import expand
from tlfeatures.advice import recipe_of
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
from tlfeatures.cli._output import exit_code, print_json, say_bad, say_cache, say_plan
from tlfeatures.cli._planning import ask, keep_codes, show_plan
from tlfeatures.cli._targets import (
    CHECKPOINT,
    MODEL,
    PAGE,
    SHEET,
    Kind,
    check_pictures,
    check_targets,
    then_write,
    to,
)
from tlfeatures.cli._tuning import EpochLines, finetuning_table
from tlfeatures.cli._wording import with_typed
from tlfeatures.errors import UsageError
from tlfeatures.finetuning import DEFAULT_AUGMENTATION, RECIPES, make_recipe, parse_augmentation

if TYPE_CHECKING:
    from tlfeatures.cli._options import Words
    from tlfeatures.finetuning import FineTunedClassifier, FineTuning
    from tlfeatures.pictures import Pictures

NAMES = ", ".join(RECIPES)
AUTO, ANY, FIND = "auto", "head", "find"
STOPPED = "stopped; the same command goes on after the last epoch that was done."
STOPPED_UNKEPT = (
    "stopped; the codes are in the cache, the training is lost: with --out or --checkpoint the "
    "same command would go on."
)


@click.command(
    "finetune",
    cls=Verb,
    everyday=("plan", "recipe", "out", "report", "backbone", "weights", "as_json", "quiet"),
    example="tlfeatures finetune my_pictures --plan",
)
@click.argument("images")
@click.option("--plan", is_flag=True, help="Only ask: measure, recommend, and show what would be "
              "trained, how fast and at what cost.")  # fmt: skip
@click.option("--recipe", default=AUTO, show_default=True, metavar="NAME",
              help="What to train: auto trains where the measured rules call for it, and keeps the "
              f"classifier on codes otherwise. Others: {NAMES}.")  # fmt: skip
@click.option("-o", "--out", metavar="MODEL", help="Save what is kept to one file.")
@click.option("--report", metavar="FILE", help="Write the result as one HTML page.")
@click.option("--sheet", metavar="FILE.png", help="With --plan: draw what --augment makes of some "
              "pictures; the first of each row, framed, as evaluation sees it.")  # fmt: skip
@click.option("--blocks", "n_blocks", type=click.IntRange(1), default=1, show_default=True,
              metavar="N", help="Blocks that the recipe last-blocks trains.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), metavar="N",
              help="Epochs per phase at most; default: the recipe's.")  # fmt: skip
@click.option("--lr", metavar="RATE|find", help="The highest learning rate; find searches for "
              "one. Default: the recipe's.")  # fmt: skip
@click.option("--train-batch-size", type=click.IntRange(2), default=32, show_default=True,
              metavar="N", help="Pictures per training step.")  # fmt: skip
@click.option("--augment", default=DEFAULT_AUGMENTATION, show_default=True, metavar="WORDS",
              help="A preset (none, flip, light, standard, strong); parts, as in "
              "flip,rotation=15,zoom=0.7:1,shear=10,jitter=0.2; or a preset and changes, as in "
              "standard,flip=off.")  # fmt: skip
@click.option("--batch-norms", type=click.Choice(["recipe", "moving", "frozen"]), default="recipe",
              show_default=True, help="Whether the statistics of trained parts move.")  # fmt: skip
@click.option("--head", type=click.Choice(["logistic", "softmax", "svm"]), default="logistic",
              show_default=True, help="The baseline's classifier, from which the new layer starts; "
              "softmax is another name for logistic.")  # fmt: skip
@click.option("--valid", type=float, default=0.2, show_default=True, metavar="SHARE",
              help="Share of the training pictures carved out to stop and to choose.")  # fmt: skip
@click.option("--patience", metavar="N|none", help="Epochs without improvement before a phase "
              "ends; default: the recipe's.")  # fmt: skip
@click.option("--train-precision", type=click.Choice(["auto", "float32", "bf16"]), default=AUTO,
              show_default=True, help="Precision of the training steps.")  # fmt: skip
@click.option("--test", type=float, metavar="SHARE", help="Share to hold out for the result.")
@click.option("--shared-with", metavar="FOLDER", help="A second task, for hard-sharing.")
@click.option("--checkpoint", metavar="FILE", help="Where the training is kept until it is done; "
              "default: MODEL.checkpoint.")  # fmt: skip
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
    """Train the network further on IMAGES where that helps, and keep the better classifier.

    Measures first how many the pictures are and how similar to what the network was trained on, and
    applies the rules of the field. The training starts where the classifier on codes ended; the
    result compares both on held-out pictures.
    """
    _check_plan(given)
    check_targets(_targets(given), [images, given["weights"], given["shared_with"]])
    words, pictures = take_both(given, images)
    check_pictures([given["out"], given["checkpoint"], given["sheet"]], pictures)
    _check_training(pictures, words, given)
    if given["plan"]:
        return show_plan(pictures, words, given, make_classifier)
    if given["recipe"] == AUTO:
        advice = ask(pictures, words, given)
        recipe = recipe_of(advice.choice.strategy)
        words.progress.say(advice.choice.sentence)
        if recipe is None:
            return keep_codes(pictures, words, given, advice)
        given = {**given, "recipe": recipe}
    return _train(pictures, words, given)


def _check_plan(given: dict[str, Any]) -> None:
    """Refuse what does not go together, and what is unknown, before anything is measured."""
    if given["sheet"] and not given["plan"]:
        raise UsageError("--sheet goes with --plan; add it, or leave the sheet out.")
    for name in ("out", "report") if given["plan"] else ():
        if given[name]:
            raise UsageError(f"--plan trains nothing, so there is no --{name}; leave one of them.")
    if given["recipe"] == AUTO and given["shared_with"]:
        raise UsageError("--shared-with is for --recipe hard-sharing; name that recipe.")
    if given["recipe"] != AUTO:
        make_recipe(given["recipe"])
    parse_augmentation(given["augment"])


def _check_training(pictures: Pictures, words: Words, given: dict[str, Any]) -> None:
    """Look at the options of a training before anything is measured; "head" suits any network."""
    recipe = ANY if given["recipe"] == AUTO else given["recipe"]
    classifier = make_classifier(words, {**given, "recipe": recipe})
    other = labelled(given["shared_with"])
    classifier.check(pictures, test=given["test"], shared_with=other)


def labelled(folder: str | None) -> Pictures | None:
    """The pictures of a second task, if one is named."""
    from tlfeatures.pictures import load_pictures

    return None if folder is None else load_pictures(folder)


def _train(pictures: Pictures, words: Words, given: dict[str, Any]) -> int:
    from tlfeatures.finetuning import evaluate_finetuning

    model, report = given["out"], given["report"]
    classifier = make_classifier(words, given)
    other = labelled(given["shared_with"])
    if classifier.checkpoint and expand(classifier.checkpoint).exists():
        words.progress.say(f"note: going on from {classifier.checkpoint}")
    try:
        result = evaluate_finetuning(
            pictures,
            classifier,
            test=given["test"],
            shared_with=other,
            begin=lambda pictures, resolved: say_plan(pictures, words, resolved),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(STOPPED if classifier.checkpoint else STOPPED_UNKEPT) from None
    result = with_typed(result)
    with then_write(to(model, classifier.save), to(report, partial(_save_pages, result, words))):
        if given["as_json"]:
            print_json({**result.to_json(), "model": model and expand(model)})
        else:
            echo(finetuning_table(result))
            if model:
                echo(
                    f"model: {result.kept}, of the {result.n_train + result.n_valid} pictures of "
                    f"the training side alone; the {result.n_test} held-out ones are new to it"
                )
        for warning in result.warnings:
            words.progress.say(f"note: {warning}")
        say_bad(result.bad, words.progress)
        say_cache(words.run.cache_dir, words.progress)
    return exit_code(result.bad, given["strict"])


def _targets(given: dict[str, Any]) -> dict[str, tuple[str | Path | None, Kind]]:
    """All files that are written, the checkpoint and the page of a search for a rate too."""
    report, search = given["report"], given["lr"] == FIND
    return {
        "--out": (given["out"], MODEL),
        "--checkpoint": (_checkpoint(given), CHECKPOINT),
        "--report": (report, PAGE),
        "--sheet": (given["sheet"], SHEET),
        "--lr find": (_beside(report) if report and search else None, PAGE),
    }


def _checkpoint(given: dict[str, Any]) -> str | None:
    beside = None if given["out"] is None else f"{given['out']}.checkpoint"
    return beside if given["checkpoint"] is None else given["checkpoint"]


def _beside(report: str) -> Path:
    """The page of the search for a rate."""
    path = expand(report)
    return path.with_name(f"{path.stem}-rates{path.suffix}")


def make_classifier(words: Words, given: dict[str, Any]) -> FineTunedClassifier:
    """The classifier of these options."""
    from tlfeatures.finetuning import FineTunedClassifier

    names = ("recipe", "head", "n_blocks", "epochs", "augment", "batch_norms", "valid")
    return FineTunedClassifier(
        words.make_codes(),
        **{name: given[name] for name in names},
        lr=given["lr"] if given["lr"] in (None, FIND) else _positive("--lr", given["lr"]),
        batch_size=given["train_batch_size"],
        patience=_patience(given["patience"]),
        precision=given["train_precision"],
        checkpoint=_checkpoint(given),
        random_state=given["seed"],
        watch=EpochLines(words.progress),
    )


def _save_pages(result: FineTuning, words: Words, report: str) -> None:
    """The course of the training; beside it that of the search for a rate, if there was one."""
    from tlfeatures.report import make_finetuning_page, make_rates_page, save_page

    save_page(make_finetuning_page(result), report)
    search = result.classifier.rate_search_
    if search is not None:
        beside = _beside(report)
        save_page(make_rates_page(search), beside)
        words.progress.say(f"the search for a rate: {beside}")


def _patience(word: str | None) -> int | str | None:
    if word is None:
        return "recipe"
    return None if word == "none" else round(_positive("--patience", word))


def _positive(name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{name} {word!r}: write a number above 0.")
    return value
