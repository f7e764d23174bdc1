"""tlfeatures look."""

from __future__ import annotations

import shlex
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from tlfeatures.cli._echo import echo
from tlfeatures.cli._help import Verb
from tlfeatures.cli._options import (
    BACKBONE_OPTIONS,
    CACHE_OPTION,
    OUTPUT_OPTIONS,
    options,
    take_words,
)
from tlfeatures.cli._output import as_bad, counted, print_json
from tlfeatures.errors import few

if TYPE_CHECKING:
    from tlfeatures.cli._options import Words
    from tlfeatures.extraction import Survey
    from tlfeatures.pictures import Copies, Pictures

SHOWN = 5
CONFLICTS = {
    "": "within one class and split",
    "labels": "under different labels",
    "split": "on both sides of the split",
    "both": "under different labels and on both sides of the split",
}


@click.command(
    "look",
    cls=Verb,
    everyday=("backbone", "weights", "cache", "as_json", "quiet"),
    example="tlfeatures look my_pictures",
)
@click.argument("folder")
@options(BACKBONE_OPTIONS, CACHE_OPTION, OUTPUT_OPTIONS)
def command(folder: str, **given: Any) -> int:
    """Say what is in FOLDER, or in a manifest, without any network.

    Counts pictures, classes, splits and groups, kinds and sizes of files, and byte-identical
    copies; names files whose header cannot be read; estimates what 'tlfeatures fit' will take here.
    """
    from tlfeatures.extraction import survey
    from tlfeatures.pictures import estimate_range, load_pictures

    words = take_words(given)
    pictures = load_pictures(folder, layout="any")
    found = survey(pictures, words.run.cache_dir)
    used = estimate_range(pictures) if found.n_deep else None
    estimate, following = _estimate(found, words), _next(folder, pictures, given)
    if given["as_json"]:
        print_json(
            {
                **found.to_json(),
                "bad": as_bad(found.bad),
                "range": used,
                "estimate": estimate,
                "next": following,
            }
        )
        return 0
    for line in [*_lines(found), *_range_lines(used), *_estimate_lines(estimate)]:
        echo(line)
    echo("next:")
    for line in following:
        echo(f"  {line}")
    return 0


def _lines(found: Survey) -> list[str]:
    lines = [f"{counted(found.pictures, 'picture')}, {found.bytes / 1e6:.1f} MB"]
    if found.classes:
        sizes = [f"{name} {n}" for name, n in found.classes.items()]
        lines.append(f"{counted(len(found.classes), 'class')}: {few(sizes)}")
    else:
        lines.append("classes: none, the pictures have no labels")
    sides = ", ".join(f"{side} {n}" for side, n in found.splits.items())
    lines.append(f"split: {sides or 'none; fit holds out a quarter of each class'}")
    if found.groups is not None:
        lines.append(f"groups: {found.groups}, each kept on one side of a split")
    lines += [f"note: {note}" for note in found.notes]
    kinds = ", ".join(f"{n} {kind}" for kind, n in found.kinds.items())
    if found.sides:
        small, middle, large = (f"{w} x {h}" for w, h in found.sides.values())
        lines.append(f"files: {kinds}; {small} to {large} pixels, median {middle}")
    if found.n_deep:
        lines.append(f"more than 8 bits per channel: {counted(found.n_deep, 'picture')}")
    lines += _copy_lines(found.copies)
    lines.append(f"bad by their header: {len(found.bad)}")
    lines += [f"  {path}: {reason}" for path, reason in found.bad[:SHOWN]]
    if len(found.bad) > SHOWN:
        lines.append(f"  and {len(found.bad) - SHOWN} more; --json lists all")
    if found.left_out:
        kinds_left = sorted(found.left_out.items(), key=lambda kind: (-kind[1], kind[0]))
        lines.append(f"left out, no pictures: {few([f'{n} {kind}' for kind, n in kinds_left])}")
    return lines


def _range_lines(used: tuple[float, float] | None) -> list[str]:
    """Of pictures deeper than 8 bits: the option that makes black and white what they use."""
    if used is None:
        return []
    low, high = used
    line = f"'tlfeatures fit IMAGES --range {low:g},{high:g}' makes them black and white"
    return [f"  0.1 % of their values lie below {low:g}, 0.1 % above {high:g}: {line}"]


def _copy_lines(copies: list[Copies]) -> list[str]:
    """How many sets of identical files there are, the harmful ones with their names."""
    if not copies:
        return ["identical files: none"]
    lines = []
    for conflict, words in CONFLICTS.items():
        sets = [each for each in copies if each.conflict == conflict]
        if sets:
            n = sum(len(each.paths) for each in sets)
            lines.append(f"identical files {words}: {n} in {counted(len(sets), 'set')}")
        if conflict:
            lines += [f"  {few(list(each.paths))}" for each in sets[:SHOWN]]
    return lines


def _estimate(found: Survey, words: Words) -> dict[str, Any]:
    """Seconds and bytes that `fit` will take; None what nothing was measured of here."""
    from tlfeatures.backbones import list_backbones
    from tlfeatures.extraction import pace_of

    n = found.pictures - len(found.bad)
    paces = [pace_of(step, words.request, words.run) for step in ("extract", "evaluate")]
    known = [pace.seconds for pace in paces if pace is not None]
    seconds = sum(known) * n if len(known) == len(paces) else None
    dim = next((b.dim for b in list_backbones() if b.name == words.request.backbone), None)
    return {
        "backbone": words.request.backbone,
        "seconds": seconds,
        "ends": None if seconds is None else _clock(seconds),
        "measured": bool(known) and all(p is not None and p.of_same_network for p in paces),
        "bytes": None if dim is None else n * dim * 4,
    }


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds).astimezone().isoformat(timespec="minutes")


def _estimate_lines(estimate: dict[str, Any]) -> list[str]:
    name = estimate["backbone"]
    if estimate["seconds"] is None:
        line = f"fit with {name}: time not known yet, as nothing was measured on this machine"
    else:
        ends = datetime.fromisoformat(estimate["ends"]).strftime("%H:%M")
        reckoned = "" if estimate["measured"] else ", reckoned from another network"
        line = f"fit with {name}: about {_duration(estimate['seconds'])}{reckoned}; ends at {ends}"
    size = estimate["bytes"]
    return [line if size is None else f"{line}; codes take {size / 1e6:.1f} MB at most"]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _next(folder: str, pictures: Pictures, given: dict[str, Any]) -> list[str]:
    """The two commands to type next, with the network that was asked for."""
    said = [word for name in ("backbone", "weights", "cache") for word in _said(name, given[name])]
    search = ["search", folder, "--query", pictures.paths[0], "--sheet", "neighbours.png"]
    ask = ["fit", folder, "--out", "my.model", "--report", "report.html"]
    if pictures.labels is None or len(pictures.classes) < 2:
        ask = ["extract", folder, "--out", "codes.h5"]
    return [shlex.join(["tlfeatures", *words, *said]) for words in (ask, search)]


def _said(name: str, value: str | None) -> list[str]:
    usual = {"backbone": "resnet50"}
    return [] if value is None or value == usual.get(name) else [f"--{name}", value]
