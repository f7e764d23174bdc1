"""tlfeatures demo."""

from __future__ import annotations

from typing import Any

import click

from tlfeatures.cli._echo import echo
from tlfeatures.cli._help import Verb
from tlfeatures.cli._options import OUTPUT_OPTIONS, RUN_OPTIONS, SEED_OPTION, options, take_words
from tlfeatures.cli._output import baseline_table, model_line, print_json, say_baseline, say_cache
from tlfeatures.cli._targets import then_write


@click.command(
    "demo",
    cls=Verb,
    everyday=("out", "cache", "as_json", "quiet"),
    example="tlfeatures demo --out demo-output",
)
@click.option(
    "-o",
    "--out",
    default="demo-output",
    show_default=True,
    metavar="DIR",
    help="Folder for the report, the sheet and the model.",
)
@options(RUN_OPTIONS, SEED_OPTION, OUTPUT_OPTIONS)
def command(out: str, **given: Any) -> int:
    """The whole job on embedded data and the embedded network; needs no downloads."""
    from tlfeatures.demo import make_demo

    words = take_words({**given, "backbone": "embedded"})
    result = make_demo(out, words.make_codes(), seed=given["seed"], say=words.progress.say)
    with then_write(result.save):
        if given["as_json"]:
            print_json(result.to_json())
            return 0
        echo(baseline_table(result.baseline))
        echo(model_line(result.baseline))
        say_baseline(result.baseline, words.progress)
        echo("")
        for name, path in result.places.items():
            echo(f"{name:<14}{path}")
        say_cache(words.run.cache_dir, words.progress)
        echo("\nNext, on a folder of your own with one folder a class:")
        for line in result.next_steps:
            echo(f"  {line}")
    return 0
