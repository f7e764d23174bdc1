"""tlfeatures predict."""

from __future__ import annotations

from typing import Any

import click

from tlfeatures._targets import expand_given
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
from tlfeatures.cli._output import as_bad, exit_code, percent, print_json, say_bad
from tlfeatures.cli._targets import TABLE, check_pictures, check_targets, then_write, to


@click.command("predict")
@click.argument("model")
@click.argument("images", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, metavar="K")
@click.option("--out", metavar="FILE.csv", help="Also write a table.")
@click.option("--weights", metavar="FILE", help="Where the network's weights are now.")
@options(TRUST_OPTION, RUN_OPTIONS, MAX_PIXELS_OPTION, OUTPUT_OPTIONS, STRICT_OPTION)
def command(model: str, images: tuple[str, ...], top: int, out: str | None, **given: Any) -> int:
    """Label IMAGES (a folder, a manifest, or pictures) with a saved MODEL."""
    from tlfeatures.classification import Predictions, SavedModel, predict_saved
    from tlfeatures.pictures import all_unreadable

    weights = given.pop("weights")
    check_targets({"--out": (out, TABLE)}, [model, weights, *images])
    saved = SavedModel.load(model, weights=weights, trust_code=given.pop("trust_code"))
    words = take_words(given)
    pictures = take_images(images)
    check_pictures([out], pictures)
    if bad := all_unreadable(pictures):  # no network need be had for that
        result = Predictions([], bad)
    else:
        result = predict_saved(saved, pictures, words.run, top=top, progress=words.progress)
    with then_write(to(out, result.save_csv)):
        if given["as_json"]:
            print_json({"predictions": result.to_json(), "bad": as_bad(result.bad)})
        else:
            for row in result.predictions:
                echo(f"{row.path}\t{row.label}\t{percent(row.probability)} %")
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
