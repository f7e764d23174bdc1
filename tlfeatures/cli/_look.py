"""tlfeatures look."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from tlfeatures._targets import expand
from tlfeatures.cli._echo import echo
from tlfeatures.cli._options import (
    BACKBONE_OPTIONS,
    OUTPUT_OPTIONS,
    PIXEL_OPTIONS,
    SEED_OPTION,
    STRICT_OPTION,
    options,
    take_both,
)
from tlfeatures.cli._output import exit_code, print_json, say_bad
from tlfeatures.cli._targets import SHEET, check_pictures, check_targets, then_write, to
from tlfeatures.finetuning import DEFAULT_AUGMENTATION, parse_augmentation
from tlfeatures.pictures import estimate_range, load_pictures

AUGMENT_OPTION = click.option(
    "--augment",
    metavar="WORDS",
    default=DEFAULT_AUGMENTATION,
    show_default=True,
    help="A preset (none, flip, light, standard, strong); or parts, as flip,rotation=15,zoom=0.7:1 "
    "(and shear=10, jitter=0.2); or a preset and changes, as standard,flip=off.",
)


@click.group("look")
def command() -> None:
    """Look at the data: samples of augmented pictures, the range of deep ones."""


@command.command("range")
@click.argument("images")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def range_of(images: str, as_json: bool) -> None:
    """Print the values that IMAGES deeper than 8 bits use, as an option for the other verbs.

    Percentiles 0.1 and 99.9 of at most 64 pictures, spread evenly.
    """
    found = estimate_range(load_pictures(images, layout="any"))
    option = None if found is None else f"--range {found[0]:g},{found[1]:g}"
    if as_json:
        print_json({"range": found, "option": option})
    else:
        echo(option or "no picture here is deeper than 8 bits: there is no range to give.")


@command.command("augment")
@click.argument("images")
@options(AUGMENT_OPTION)
@click.option("--rows", type=click.IntRange(1, 100), default=6, show_default=True, help="Pictures.")
@click.option(
    "--columns", type=click.IntRange(1, 100), default=7, show_default=True, help="Samples of each."
)
@click.option("--out", metavar="FILE.png", default="augmentation.png", show_default=True)
@options(BACKBONE_OPTIONS, PIXEL_OPTIONS, SEED_OPTION, OUTPUT_OPTIONS, STRICT_OPTION)
def augment(
    images: str, augment: str, rows: int, columns: int, out: str, seed: int, **given: Any
) -> int:
    """Draw what augmentation makes of some IMAGES, spread over the classes.

    One row a picture: first, framed, as evaluation sees it, then as training may.
    """
    from tlfeatures.backbones import load_preprocessing
    from tlfeatures.finetuning import draw_augmentation
    from tlfeatures.pictures import save_png

    augmentation = parse_augmentation(augment)
    check_targets({"--out": (out, SHEET)}, [images, given["weights"]])
    words, pictures = take_both(given, images, layout="any")
    check_pictures([out], pictures)
    sheet = draw_augmentation(
        pictures,
        augmentation,
        load_preprocessing(words.request),
        n_rows=rows,
        n_columns=columns,
        random_state=seed,
        decode_options=words.run.decode_options,
    )
    with then_write(to(out, partial(save_png, sheet.picture))):
        if given["as_json"]:
            print_json({**sheet.to_json(), "sheet": expand(out)})
        else:
            echo(str(expand(out)))
        say_bad(sheet.bad, words.progress)
    return exit_code(sheet.bad, given["strict"])
