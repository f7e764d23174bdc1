"""tlfeatures advise."""

from __future__ import annotations

from typing import Any

import click

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
from tlfeatures.cli._output import exit_code, print_json, say_bad, say_cache, say_plan
from tlfeatures.cli._wording import with_typed


@click.command("advise")
@click.argument("images")
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
    """Say which strategy suits IMAGES: codes, earlier codes, fine-tuning a part or all.

    Measures how many the pictures are and how similar to what the network was trained on, and
    applies the rules of the field; docs/advice.md says how.
    """
    from tlfeatures.advice import advise

    words, pictures = take_both(given, images)
    found = advise(
        pictures,
        words.make_codes(),
        random_state=given["seed"],
        say=words.progress.say,
        begin=lambda pictures: say_plan(pictures, words),
    )
    advice = with_typed(found)
    if given["as_json"]:
        print_json(advice.to_json())
    else:
        echo(advice.to_text())
    for note in advice.warnings:
        words.progress.say(f"note: {note}")
    say_bad(advice.bad, words.progress)
    say_cache(words.run.cache_dir, words.progress)
    return exit_code(advice.bad, given["strict"])
