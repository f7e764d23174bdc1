"""tlfeatures search."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tlfeatures.cli._echo import echo
from tlfeatures.cli._help import Verb
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
    say_notes,
    say_plan,
)
from tlfeatures.cli._targets import SHEET, check_pictures, check_targets, then_write, to
from tlfeatures.errors import ImageReadError, few

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlfeatures.pictures import Pictures
    from tlfeatures.search import Neighbour

COPIES = {"file": "\ta copy of the file", "pixels": "\tthe same pixels"}


@click.command(
    "search",
    cls=Verb,
    everyday=("queries", "k", "sheet", "backbone", "weights", "cache", "as_json", "quiet"),
    example="tlfeatures search my_pictures --query photo.jpg --sheet neighbours.png",
)
@click.argument("images")
@click.option(
    "--query",
    "queries",
    multiple=True,
    required=True,
    metavar="PICTURE",
    help="A picture to search for; repeatable.",
)
@click.option("-k", "k", type=click.IntRange(1), default=5, show_default=True,
              help="Neighbours per query.")  # fmt: skip
@click.option("--sheet", metavar="FILE.png", help="Also draw the queries and their neighbours.")
@options(LIMIT_OPTION, LAYER_OPTION, NETWORK_OPTIONS, RUN_OPTIONS, OUTPUT_OPTIONS, STRICT_OPTION)
def command(
    images: str,
    queries: tuple[str, ...],
    k: int,
    sheet: str | None,
    **given: Any,
) -> int:
    """Find the pictures of IMAGES nearest to each query.

    The query's own file is left out. Copies of it come first, beside the K neighbours: files of the
    same bytes, or of the same pixels.
    """
    from tlfeatures.search import ImageIndex, save_sheet

    check_targets({"--sheet": (sheet, SHEET)}, [images, given["weights"], *queries])
    asked = check_queries(queries)
    words, pictures = take_both(given, images, layout="any")
    check_pictures([sheet], pictures)
    codes = words.make_codes()
    say_plan(pictures, words, codes.resolve(len(pictures)))
    say_notes(pictures, words.progress)
    index = ImageIndex(codes).fit(pictures)
    answers = index.answer(asked, k)
    paths, bad = answers.queries.paths, [*answers.bad, *index.bad_]
    found = list(zip(paths, answers.neighbours, strict=True))
    with then_write(to(sheet, partial(save_sheet, queries=paths, found=answers.neighbours))):
        if given["as_json"]:
            rows = [{"path": path, "neighbours": _as_json(hits)} for path, hits in found]
            print_json({"queries": rows, "bad": as_bad(bad)})
        else:
            for path, hits in found:
                echo("\n".join([path, *map(_line, hits)]))
        say_bad(bad, words.progress)
        say_cache(words.run.cache_dir, words.progress)
    return exit_code(bad, given["strict"] or not found)


def check_queries(queries: tuple[str, ...]) -> Pictures:
    """The queries, of which one at least is there.

    Raises
    ------
    ImageReadError
    """
    from tlfeatures.pictures import Pictures, all_unreadable

    asked = Pictures(list(queries))
    if bad := all_unreadable(asked):
        listed = few([f"{path}: {reason}" for path, reason in bad], "; ")
        raise ImageReadError(f"no query can be read ({listed}); give other pictures.", bad)
    return asked


def _as_json(hits: Sequence[Neighbour]) -> list[dict[str, Any]]:
    return [{k: v for k, v in asdict(hit).items() if k != "row"} for hit in hits]


def _line(hit: Neighbour) -> str:
    mark = COPIES[hit.copy] if hit.copy else ""
    return f"  {hit.distance:.4f}  {hit.label or ''}\t{hit.path}{mark}"
