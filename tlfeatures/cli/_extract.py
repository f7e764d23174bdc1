"""tlfeatures extract."""

from __future__ import annotations

from typing import Any

import click

from tlfeatures.cli._options import (
    LIMIT_OPTION,
    NETWORK_OPTIONS,
    OUTPUT_OPTIONS,
    RUN_OPTIONS,
    STRICT_OPTION,
    options,
    take_pictures,
    take_words,
)
from tlfeatures.cli._output import as_bad, exit_code, print_json, say_bad, say_cache, say_plan


@click.command("extract")
@click.argument("images")
@click.option("--out", metavar="FILE.h5", help="Also write one plain HDF5 file.")
@options(LIMIT_OPTION, NETWORK_OPTIONS, RUN_OPTIONS, OUTPUT_OPTIONS, STRICT_OPTION)
def command(images: str, out: str | None, limit: int | None, **given: Any) -> int:
    """Fill the cache with the codes of IMAGES: a folder or a CSV manifest."""
    from tlfeatures.extraction import extract
    from tlfeatures.store import export_codes

    words, pictures = take_words(given), take_pictures(images, limit)
    say_plan(pictures, words)
    done = extract(pictures, words.request, words.run, progress=words.progress)
    if out:
        export_codes(done.codes, out)
    spec = done.codes.spec
    if given["as_json"]:
        print_json(
            {
                "pictures": done.given,
                "computed": done.computed,
                "cached": done.cached,
                "bad": as_bad(done.bad),
                "specs": [{"layer": spec.layer, "dim": spec.dim, "key": spec.key}],
                "device": done.device,
                "precision": spec.precision,
                "compiled": False,
                "batch_size": done.batch_size,
                "jobs": done.n_jobs,
                "images_per_s": done.images_per_s,
                "wait": done.wait,
            }
        )
    else:
        click.echo(
            f"{done.given} pictures = {done.computed} computed + {done.cached} cached + "
            f"{len(done.bad)} bad; {spec.backbone} {spec.layer}, {spec.dim}-D, {done.seconds:.1f} s"
        )
    say_bad(done.bad, words.progress)
    say_cache(words.run.cache_dir, words.progress)
    return exit_code(done.bad, given["strict"])
