"""tlfeatures predict."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tlfeatures._targets import expand_given
from tlfeatures.cli._echo import echo
from tlfeatures.cli._help import Verb
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
    as_bad,
    counted,
    exit_code,
    interval,
    percent,
    print_json,
    say_bad,
)
from tlfeatures.cli._targets import PAGE, TABLE, check_pictures, check_targets, then_write, to
from tlfeatures.cli._wording import with_typed
from tlfeatures.errors import UsageError

if TYPE_CHECKING:
    from tlfeatures.classification import ModelScore


@click.command(
    "predict",
    cls=Verb,
    everyday=("out", "report", "top", "weights", "cache", "as_json", "quiet"),
    example="tlfeatures predict my.model new_pictures --out labels.csv",
)
@click.argument("model")
@click.argument("images", nargs=-1, required=True)
@click.option("-o", "--out", metavar="FILE.csv", help="Also write the predictions to a table.")
@click.option(
    "--report", metavar="FILE", help="Write the score on labelled pictures as one HTML page."
)
@click.option(
    "--top",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="K",
    help="Labels to list per picture in --json.",
)
@click.option(
    "--weights", metavar="FILE", help="The network's weights, if they have moved since the fit."
)
@options(TRUST_OPTION, RUN_OPTIONS, MAX_PIXELS_OPTION, OUTPUT_OPTIONS, STRICT_OPTION)
def command(model: str, images: tuple[str, ...], **given: Any) -> int:
    """Label IMAGES (a folder, a manifest, or pictures) with a saved MODEL.

    Where the pictures come with labels (class folders, a manifest), the predictions are scored too;
    pictures that the model was trained on are left out of the accuracy.
    """
    from tlfeatures.classification import Predictions, SavedModel, predict_saved
    from tlfeatures.pictures import all_unreadable
    from tlfeatures.report import make_model_page, save_page

    out, report, weights = given["out"], given["report"], given.pop("weights")
    check_targets({"--out": (out, TABLE), "--report": (report, PAGE)}, [model, weights, *images])
    saved = SavedModel.load(model, weights=weights, trust_code=given.pop("trust_code"))
    words = take_words(given)
    pictures = take_images(images)
    check_pictures([out, report], pictures)
    if report and pictures.labels is None:
        raise UsageError(
            "--report shows the score on labelled pictures, and these have no labels; give class "
            "folders or a manifest, or use --out for a table of the predictions."
        )
    if bad := all_unreadable(pictures):  # no network need be had for that
        result = Predictions([], bad)
    else:
        result = predict_saved(
            saved, pictures, words.run, top=given["top"], progress=words.progress
        )
    scored = None if result.score is None else with_typed(result.score)
    page = None if scored is None else partial(save_page, make_model_page(scored, model))
    with then_write(to(out, result.save_csv), to(report if page else None, page or str)):
        if given["as_json"]:
            of_labels = {} if scored is None else scored.to_json()
            print_json({**of_labels, "predictions": result.to_json(), "bad": as_bad(result.bad)})
        else:
            for row in result.predictions:
                echo(f"{row.path}\t{row.label}\t{percent(row.probability)} %")
            if scored is not None:
                echo(score_lines(scored))
        for note in [*([] if scored is None else scored.warnings), result.note]:
            if note:
                words.progress.say(f"note: {note}")
        if report and page is None:
            words.progress.say(f"note: {report} is not written: there is no score to show")
        say_bad(result.bad, words.progress)
    return exit_code(result.bad, given["strict"] or not result.predictions)


def take_images(images: tuple[str, ...]) -> Any:
    """Pictures of one folder or manifest, or of a list of files and folders."""
    from pathlib import Path

    from tlfeatures.pictures import Pictures, load_pictures

    if len(images) == 1 and (
        Path(expand_given(images[0])).is_dir() or images[0].lower().endswith((".csv", ".parquet"))
    ):
        return load_pictures(images[0], layout="any")
    found: list[str] = []
    for each in images:
        is_folder = Path(expand_given(each)).is_dir()
        found += load_pictures(each, layout="any").paths if is_folder else [each]
    return Pictures(found)


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
