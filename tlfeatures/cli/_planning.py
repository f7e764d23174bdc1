"""What `finetune` asks before it trains: the advice, the plan, a sheet; or that it keeps codes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tlfeatures._targets import expand
from tlfeatures.cli._echo import echo
from tlfeatures.cli._output import (
    baseline_table,
    exit_code,
    model_line,
    print_json,
    say_bad,
    say_baseline,
    say_cache,
    say_plan,
)
from tlfeatures.cli._targets import then_write, to
from tlfeatures.cli._tuning import plan_lines
from tlfeatures.cli._wording import with_typed

if TYPE_CHECKING:
    from tlfeatures.advice import Advice
    from tlfeatures.cli._options import Words
    from tlfeatures.finetuning import AugmentationSheet, FineTunedClassifier, TrainingPlan
    from tlfeatures.pictures import Pictures

AUTO = "auto"


def ask(pictures: Pictures, words: Words, given: dict[str, Any]) -> Advice:
    """Measure size and similarity and apply the rules."""
    from tlfeatures.advice import advise

    return with_typed(
        advise(
            pictures,
            words.make_codes(),
            random_state=given["seed"],
            say=words.progress.say,
            begin=lambda pictures, resolved: say_plan(pictures, words, resolved),
        )
    )


def show_plan(
    pictures: Pictures,
    words: Words,
    given: dict[str, Any],
    make_classifier: Callable[[Words, dict[str, Any]], FineTunedClassifier],
) -> int:
    """Print the advice and what would be trained; nothing is."""
    from tlfeatures.advice import recipe_of
    from tlfeatures.finetuning import plan_training
    from tlfeatures.pictures import save_png

    advice = ask(pictures, words, given)
    asked = given["recipe"]
    recipe = recipe_of(advice.choice.strategy) if asked == AUTO else asked
    plan = None
    if recipe is not None:
        classifier = make_classifier(words, {**given, "recipe": recipe})
        plan = plan_training(classifier, len(pictures.classes))
    sheet = _draw(pictures, words, given) if given["sheet"] else None
    with then_write(to(given["sheet"], partial(save_png, sheet.picture)) if sheet else None):
        if given["as_json"]:
            print_json(
                {
                    **advice.to_json(),
                    "recipe": recipe,
                    "plan": None if plan is None else plan.to_json(),
                    "phases": [] if plan is None else _phases(plan),
                    "sheet": None if sheet is None else _sheet_json(sheet, given["sheet"]),
                }
            )
        else:
            echo(advice.to_text())
            echo("")
            lines = ["no training is recommended; --recipe NAME shows what a recipe would train"]
            echo("\n".join(lines if plan is None else plan_lines(plan)))
            if sheet is not None:
                echo(f"augmentation {sheet.augmentation}: {expand(given['sheet'])}")
        for note in advice.warnings:
            words.progress.say(f"note: {note}")
        say_bad(advice.bad, words.progress)
        say_cache(words.run.cache_dir, words.progress)
    return exit_code(advice.bad, given["strict"])


def keep_codes(pictures: Pictures, words: Words, given: dict[str, Any], advice: Advice) -> int:
    """The classifier on codes, where the rules call for no training."""
    from tlfeatures.classification import evaluate_baseline
    from tlfeatures.report import make_baseline_page, save_page

    model, report = given["out"], given["report"]
    result = with_typed(
        evaluate_baseline(
            pictures,
            words.make_codes(),
            heads=[given["head"]],
            test=given["test"],
            random_state=given["seed"],
            refit=model is not None,
            say=words.progress.say,
        )
    )
    best = result.heads[result.chosen]
    scores = {
        "accuracy": best.accuracy,
        "ci95": best.ci95,
        "mean_recall": best.mean_recall,
        "mean_recall_ci95": best.mean_recall_ci95,
    }
    with then_write(
        to(model, result.classifier.save),
        to(report, partial(save_page, make_baseline_page(result))),
    ):
        if given["as_json"]:
            print_json(
                {
                    **result.to_json(),
                    "recommendation": advice.choice.strategy,
                    "rule": advice.choice.rule,
                    "baseline": scores,
                    "final": scores,
                    "epochs": [],
                    "kept": "baseline",
                    "model": model and expand(model),
                }
            )
        else:
            echo("nothing was trained: the rules call for a classifier on codes")
            echo(baseline_table(result))
            if model:
                echo(model_line(result))
        say_baseline(result, words.progress)
        say_cache(words.run.cache_dir, words.progress)
    return exit_code(result.bad, given["strict"])


def _draw(pictures: Pictures, words: Words, given: dict[str, Any]) -> AugmentationSheet:
    from tlfeatures.backbones import load_preprocessing
    from tlfeatures.finetuning import draw_augmentation, parse_augmentation

    return draw_augmentation(
        pictures,
        parse_augmentation(given["augment"]),
        load_preprocessing(words.request),
        random_state=given["seed"],
        decode_options=words.run.decode_options,
    )


def _phases(plan: TrainingPlan) -> list[dict[str, Any]]:
    """Each phase with the rate of each group of layers."""
    return [
        {
            "name": phase.name,
            "n_epochs": phase.n_epochs,
            "rates": {group.name: group.rate for group in phase.groups},
        }
        for phase in plan.phases
    ]


def _sheet_json(sheet: AugmentationSheet, path: str) -> dict[str, Any]:
    return {**sheet.to_json(), "file": str(expand(path))}
