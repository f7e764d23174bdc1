"""Help in two lengths: the everyday options with an example, or all of them in groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

MOST_EVERYDAY = 8
OTHERS = "Other options"
GROUPS = {  # of the options that several verbs share, by the names of their parameters
    "Network": (
        "backbone", "weights", "layer", "layers", "pooling", "preprocess", "input_size", "resize",
        "crop", "interpolation", "trust_code",
    ),
    "Pictures": ("exif", "range_", "max_pixels", "limit", "strict"),
    "Speed": ("device", "precision", "decode", "kernels", "batch_size", "jobs"),
    "Cache": ("cache", "store_dtype", "retry_bad", "new_contract"),
}  # fmt: skip
CODES = (
    "Codes are the numbers that a network computes of a picture at one of its layers. They are "
    "computed once and kept in the cache."
)


class Verb(click.Command):
    """A command whose --help shows its everyday options, and --help-all the others in groups.

    Parameters
    ----------
    everyday : sequence of str
        The parameters whose options --help shows, at most eight, in this order.
    example : str
        A line that works, as a person would type it.
    """

    def __init__(
        self, *args: Any, everyday: Sequence[str] = (), example: str = "", **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.everyday, self.example = tuple(everyday), example
        self.params.append(
            click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_all,
                help="Show all options.",
            )
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The everyday options; with --help-all every option, by groups."""
        by_name = {each.name: each for each in self.get_params(ctx)}
        everyday = [by_name[name] for name in self.everyday]
        _write("Everyday options", everyday, ctx, formatter)
        rest = [
            each
            for each in by_name.values()
            if each not in everyday and isinstance(each, click.Option)
        ]
        if not ctx.meta.get("all_options"):
            n_more = sum(each in self.params for each in rest) - 1  # --help-all itself
            self._write_example(formatter, n_more)
            return
        grouped = {name: group for group, names in GROUPS.items() for name in names}
        for group in (OTHERS, *GROUPS):
            inside = [each for each in rest if grouped.get(str(each.name), OTHERS) == group]
            _write(group, inside, ctx, formatter)
        self._write_example(formatter)

    def _write_example(self, formatter: click.HelpFormatter, n_more: int = 0) -> None:
        if self.example:
            with formatter.section("Example"):
                formatter.write_text(self.example)
        formatter.write_paragraph()
        if "code" in (self.help or ""):
            formatter.write_text(CODES)
        if n_more:
            formatter.write_text(f"--help-all shows {n_more} more options.")


def _show_all(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        ctx.meta["all_options"] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def _records(params: Sequence[click.Parameter], ctx: click.Context) -> list[tuple[str, str]]:
    found = (each.get_help_record(ctx) for each in params)
    return [record for record in found if record is not None]


def _write(
    title: str,
    params: Sequence[click.Parameter],
    ctx: click.Context,
    formatter: click.HelpFormatter,
) -> None:
    records = _records(params, ctx)
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
