"""tlfeatures search."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from tlfeatures.cli._echo import echo
from tlfeatures.cli._options import (
    LAYER_OPTION,
    LIMIT_OPTION,
    NETWORK_OPTIONS,
    OUTPUT_OPTIONS,
    RUN_OPTIONS,
    STRICT_OPTION,
    options,
    take_both,
)
from tlfeatures.cli._output import (
    as_bad,
    exit_code,
    print_json,
    say_bad,
    say_cache,
    say_plan,
)


@click.command("search")
@click.argument("images")
@click.option(
    "--query", "queries", multiple=True, required=True, metavar="PICTURE", help="Repeatable."
)
@click.option("-k", "k", type=click.IntRange(1), default=5, show_default=True, help="Neighbours.")
@click.option("--sheet", metavar="FILE.png", help="Also draw queries and neighbours.")
@options(LIMIT_OPTION, LAYER_OPTION, NETWORK_OPTIONS, RUN_OPTIONS, OUTPUT_OPTIONS, STRICT_OPTION)
def command(
    images: str,
    queries: tuple[str, ...],
    k: int,
    sheet: str | None,
    **given: Any,
) -> int:
    """Find the pictures of IMAGES nearest to each query; its own content is left out."""
    from tlfeatures.search import ImageIndex, save_sheet

    words, pictures = take_both(given, images)
    say_plan(pictures, words)
    index = ImageIndex(words.make_codes()).fit(pictures)
    found = index.search(list(queries), k)
    if sheet:
        save_sheet(sheet, queries, found)
    if given["as_json"]:
        rows = [
            [{k: v for k, v in asdict(hit).items() if k != "row"} for hit in hits] for hits in found
        ]
        both = zip(queries, rows, strict=True)
        found_of = [{"path": query, "neighbours": hits} for query, hits in both]
        print_json({"queries": found_of, "bad": as_bad(index.bad_)})
    else:
        for query, hits in zip(queries, found, strict=True):
            echo(query)
            for hit in hits:
                echo(f"  {hit.distance:.4f}  {hit.label or ''}\t{hit.path}")
    say_bad(index.bad_, words.progress)
    say_cache(words.run.cache_dir, words.progress)
    return exit_code(index.bad_, given["strict"])
