"""tlfeatures backbones."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tlfeatures.cli._echo import echo
from tlfeatures.cli._help import Verb
from tlfeatures.cli._options import (
    DEVICE_OPTION,
    LIMIT_OPTION,
    NETWORK_OPTIONS,
    OUTPUT_OPTIONS,
    STRICT_OPTION,
    options,
    take_both,
)
from tlfeatures.cli._output import counted, doctor_table, exit_code, print_json, say_bad
from tlfeatures.cli._wording import with_typed
from tlfeatures.errors import UsageError

if TYPE_CHECKING:
    from tlfeatures.backbones import BackboneFacts, Description, WeightsFacts

LICENCE_WORDS = {"own": "MIT", "imagenet": "ImageNet", "swag": "non-commercial"}
HEAVY_WORDS = {
    "values": "activations",
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
}


@click.group("backbones")
def command() -> None:
    """List, describe and examine the networks."""


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Every weights entry, not the default alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def list_(every: bool, as_json: bool) -> None:
    """Name every network, with its weights and what they cost.

    More by name: timm:NAME (extra 'timm'), and package.module:function of your own.
    """
    from tlfeatures.backbones import LICENCES, list_backbones

    rows = list_backbones()
    if as_json:
        print_json({"backbones": [_facts_json(row) for row in rows], "licences": LICENCES})
        return
    echo(
        f"{'name':<20}{'weights':<27}{'code':>6}{'side':>5}{'M param':>9}{'GFLOP':>8}"
        f"{'top-1 %':>9}  {'on disk':<18}licence"
    )
    for row in rows:
        for entry in row.entries if every else row.entries[:1]:
            echo(_list_line(row, entry))
    for licence, words in LICENCES.items():
        echo(f"{LICENCE_WORDS[licence]}: {words}.")


@command.command("describe")
@click.argument("name")
@click.option("--weights", metavar="NAME", help="An entry, where its picture size differs.")
@click.option("--input-size", type=click.IntRange(1), metavar="N", help="Side, in pixels.")
@click.option("--layers", is_flag=True, help="Only the names of all layers, one a line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def describe(
    name: str, weights: str | None, input_size: int | None, layers: bool, as_json: bool
) -> None:
    """Show what the network NAME is made of: layers, sums, aliases, classification head.

    NAME is one of 'backbones list', timm:NAME, or package.module:function of your own.
    """
    from tlfeatures.backbones import BackboneRequest, describe_backbone

    request = BackboneRequest(name, weights, input_size=input_size)
    made = describe_backbone(request)
    if as_json:
        aliases = {k: {"layer": v[0], "dim": v[1]} for k, v in made.aliases.items()}
        print_json({**asdict(made), "aliases": aliases})
    elif layers:
        echo("\n".join(made.names))
    else:
        echo("\n".join(_describe_lines(made)))


@command.command(
    "doctor",
    cls=Verb,
    everyday=("backbone", "weights", "preprocess", "input_size", "limit", "as_json", "quiet"),
    example="tlfeatures backbones doctor my_pictures --backbone resnet18 --weights my.pth",
)
@click.argument("images")
@options(LIMIT_OPTION, NETWORK_OPTIONS, DEVICE_OPTION, OUTPUT_OPTIONS, STRICT_OPTION)
def doctor(images: str, **given: Any) -> int:
    """Find out on some of IMAGES whether these weights expect this preprocessing.

    Several others are tried: the inputs of the first batch norms are compared with the stored
    statistics, and the network's own classifier with itself on mirrored and zoomed pictures.
    """
    from tlfeatures.doctor import diagnose

    words, pictures = take_both(given, images, layout="any")
    words.progress.say(f"{counted(len(pictures), 'picture')}; looking at some of them")
    if words.tensors is not None:
        raise UsageError(
            "the doctor looks at weights of a file: name the network, and the file in --weights."
        )
    made = with_typed(diagnose(pictures, words.request, words.run))
    if given["as_json"]:
        print_json(made.to_json())
    else:
        echo(doctor_table(made))
    say_bad(made.bad, words.progress)
    return exit_code(made.bad, given["strict"])


def _facts_json(row: BackboneFacts) -> dict[str, Any]:
    """The facts of the default entry, and all entries."""
    entries = [{**asdict(entry), "on_disk": entry.is_on_disk} for entry in row.entries]
    default = {("weights" if k == "name" else k): v for k, v in entries[0].items()}
    return {"name": row.name, "layer": row.layer, "dim": row.dim, **default, "entries": entries}


def _list_line(row: BackboneFacts, entry: WeightsFacts) -> str:
    share = "-" if entry.top1 is None else f"{100 * entry.top1:.1f}"
    place = "yes" if entry.is_on_disk else f"{entry.size_mb:.0f} MB to fetch"
    return (
        f"{row.name:<20}{entry.name:<27}{row.dim:>6}{entry.input_size:>5}"
        f"{entry.parameters / 1e6:>9.1f}{entry.gflop:>8.2f}{share:>9}  {place:<18}"
        f"{LICENCE_WORDS[entry.licence]}"
    )


def _describe_lines(made: Description) -> list[str]:
    width = max(len(step.name) for step in made.layers) + 2
    lines = [
        f"{made.name}, pictures {'x'.join(map(str, made.input_shape))}",
        f"{'layer':<{width}}{'kind':<24}{'output':>16}{'values':>12}{'memory':>10}"
        f"{'parameters':>13}{'MMAC':>10}",
    ]
    lines += [
        f"{step.name:<{width}}{step.kind:<24}{'x'.join(map(str, step.shape)):>16}"
        f"{_number(step.values):>12}{_bytes(4 * step.values):>10}"
        f"{_number(step.parameters):>13}{_number(step.multiply_adds / 1e6, 1):>10}"
        for step in made.layers
    ]
    totals = made.totals
    lines += [
        f"{'total':<{width}}{'':<24}{'':>16}{totals.values:>12,}{_bytes(totals.memory_bytes):>10}"
        f"{totals.parameters:>13,}{totals.multiply_adds / 1e6:>10,.1f}",
        f"{totals.memory_bytes:,} bytes of activations a picture in float32 (values x 4); "
        f"{totals.weights:,} of the parameters are weights, the others biases and norms.",
        "Values that a layer changes in place (activation, norm, addition) are counted once.",
    ]
    if made.unused:
        lines.append(
            f"{made.unused:,} parameters belong to parts that evaluation does not compute."
        )
    for what, rows in made.heavy.items():
        shown = ", ".join(f"{name} {share:.0%}" for name, share in rows)
        lines.append(f"most {HEAVY_WORDS[what]}: {shown}")
    lines += [f"default layer: {made.default_layer}, {made.dim}-D", "classification head:"]
    lines += [f"  {part}" for part in made.head]
    lines.append("aliases (width with average pooling):")
    lines += [f"  {alias:<12}{dim:>6}  {layer}" for alias, (layer, dim) in made.aliases.items()]
    return lines


def _number(value: float, digits: int = 0) -> str:
    return f"{value:,.{digits}f}" if value else "-"


def _bytes(size: int) -> str:
    return f"{size / 2**20:,.2f} MiB" if size else "-"
