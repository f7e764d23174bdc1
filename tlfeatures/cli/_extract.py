"""tlfeatures extract."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlfeatures.cli._echo import echo
from tlfeatures.cli._help import Verb
from tlfeatures.cli._options import (
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
    counted,
    exit_code,
    print_json,
    say_bad,
    say_cache,
    say_notes,
    say_plan,
)
from tlfeatures.cli._targets import CODES, check_targets, then_write
from tlfeatures.cli._wording import as_typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlfeatures.cli._options import Words
    from tlfeatures.cli._progress import ProgressLine
    from tlfeatures.extraction import Extraction
    from tlfeatures.store import CodeSpec


@click.command(
    "extract",
    cls=Verb,
    everyday=("out", "backbone", "weights", "layers", "limit", "cache", "as_json", "quiet"),
    example="tlfeatures extract my_pictures --backbone vgg16 --layer fc7 --out codes.h5",
)
@click.argument("images")
@click.option(
    "-o", "--out", metavar="FILE.h5", help="Also write the codes to a plain HDF5 file per layer."
)
@options(LIMIT_OPTION, NETWORK_OPTIONS, RUN_OPTIONS, OUTPUT_OPTIONS, STRICT_OPTION)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="Repeatable: several layers in one pass. See 'backbones describe'.",
)
@click.option(
    "--new-contract",
    is_flag=True,
    help="Start a folder of its own: after versions have changed the numbers.",
)
def command(images: str, out: str | None, layers: tuple[str, ...], **given: Any) -> int:
    """Fill the cache with the codes of IMAGES: a folder or a manifest (CSV, Parquet)."""
    from tlfeatures.extraction import extract_layers, resolve
    from tlfeatures.store import export_codes

    began = time.perf_counter()
    check_targets({"--out": (out, CODES)}, [images, given["weights"]])
    words, pictures = take_both(given, images, layout="any")
    wanted = layers or (words.request.layer,)
    words = _with_contract(words, wanted, given)
    resolved = resolve(words.request, words.run, wanted, n=len(pictures), tensors=words.tensors)
    say_plan(pictures, words, resolved)
    if out is not None and len(wanted) > 1:  # only the network knows what they are called
        check_targets({path: (path, CODES) for path in _out_files(out, resolved.specs)})
    say_notes(pictures, words.progress)
    done = extract_layers(pictures, resolved, progress=words.progress, began=began)
    files = zip(done, _out_files(out, [each.codes.spec for each in done]), strict=False)
    with then_write(*(partial(export_codes, each.codes, path) for each, path in files)):
        if given["as_json"]:
            print_json(_as_json(done))
        else:
            for each in done:
                echo(_line(each))
        _say_how(done[0], words.progress)
        say_bad(done[0].bad, words.progress)
        say_cache(words.run.cache_dir, words.progress)
    return exit_code(done[0].bad, given["strict"])


def _with_contract(words: Words, layers: Sequence[str | None], given: dict[str, Any]) -> Words:
    from tlfeatures.extraction import next_contract

    run = words.run
    if given["new_contract"]:
        run = replace(run, contract=next_contract(words.request, layers, run))
        words.progress.say(f"contract {run.contract}: a folder of its own, used from now on")
    return replace(words, run=run)


def _out_files(out: str | None, specs: Sequence[CodeSpec]) -> list[str]:
    """codes.h5 for one layer; codes-LAYER.h5 for each of several."""
    if out is None or len(specs) == 1:
        return [] if out is None else [out]
    stem, suffix = os.path.splitext(out)
    return [f"{stem}-{Path(spec.layer).name}{suffix}" for spec in specs]


def _as_json(done: Sequence[Extraction]) -> dict[str, Any]:
    first, specs = done[0], [each.codes.spec for each in done]
    return {
        "pictures": first.given,
        "computed": max(each.computed for each in done),
        "cached": min(each.cached for each in done),
        "bad": as_bad(first.bad),
        "remembered": first.remembered,
        "notes": [{**asdict(note), "words": as_typed(note.words)} for note in first.notes],
        "specs": [{"layer": spec.layer, "dim": spec.dim, "key": spec.key} for spec in specs],
        "device": first.device,
        "precision": specs[0].precision,
        "kernels": list(first.kernels),
        "batch_size": first.batch_size,
        "jobs": first.n_jobs,
        "images_per_s": first.images_per_s,
        "seconds": first.seconds,
        "wait": first.wait,
        "chosen": [as_typed(each) for each in first.chosen],
    }


def _say_how(done: Extraction, line: ProgressLine) -> None:
    """What was chosen, how fast it went, and where the time went; nothing if all was cached."""
    if not done.batch_size:
        return
    line.say(f"{'; '.join(done.chosen)}; batches of {done.batch_size}")
    spent = max(sum(done.wait.values()), 1e-9)
    shares = {name: f"{seconds / spent:.0%}" for name, seconds in done.wait.items()}
    line.say(
        f"{done.images_per_s:.1f} pictures/s after {done.seconds['start']:.1f} s of starting; "
        f"decoding {shares['decode']}, network {shares['network']}, writing {shares['write']}"
    )


def _line(done: Extraction) -> str:
    spec = done.codes.spec
    return (
        f"{counted(done.given, 'picture')} = {done.computed} computed + {done.cached} cached + "
        f"{len(done.bad)} bad; {spec.backbone} {spec.layer}, {spec.dim}-D, "
        f"{done.seconds['total']:.1f} s"
    )
