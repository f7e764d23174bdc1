"""tlfeatures backbones."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from tlfeatures.cli._output import print_json


@click.group("backbones")
def command() -> None:
    """List the networks."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def list_(as_json: bool) -> None:
    """Name every network, with its default weights and what they cost."""
    from tlfeatures.backbones import list_backbones

    rows = list_backbones()
    if as_json:
        print_json({"backbones": [asdict(row) for row in rows]})
        return
    click.echo(
        f"{'name':<20}{'weights':<24}{'side':>5}{'M param':>9}{'GFLOP':>8}{'top-1 %':>9}  on disk"
    )
    for row in rows:
        share = None if row.top1 is None else 100 * row.top1
        parameters = None if row.parameters is None else row.parameters / 1e6
        click.echo(
            f"{row.name:<20}{row.weights:<24}{row.input_size:>5}{_cell(parameters):>9}"
            f"{_cell(row.gflop):>8}{_cell(share):>9}  {_place(row)}"
        )
    click.echo(
        "ImageNet weights: whether they may be used commercially is unclear; 'embedded' is MIT."
    )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _place(row: Any) -> str:
    return "yes" if row.on_disk else f"{row.size_mb:.0f} MB to fetch"
