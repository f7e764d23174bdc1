"""tlfeatures cache."""

from __future__ import annotations

from pathlib import Path

import click

from tlfeatures.cli._output import print_json
from tlfeatures.store import cache_info, cache_totals, default_cache_dir

CACHE = click.option("--cache", metavar="DIR", help="Default: $TLFEATURES_CACHE, else the user's.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group("cache")
def command() -> None:
    """Where the cache is and what is in it."""


@command.command("where")
@CACHE
@JSON
def where(cache: str | None, as_json: bool) -> None:
    """Print the cache folder."""
    root = Path(cache) if cache else default_cache_dir()
    if as_json:
        print_json({"cache": str(root), "exists": root.is_dir()})
    else:
        click.echo(str(root))


@command.command("info")
@CACHE
@JSON
def info(cache: str | None, as_json: bool) -> None:
    """List the codes that are kept, each spec in words."""
    root = Path(cache) if cache else default_cache_dir()
    folders = cache_info(root)
    rows, size = cache_totals(folders)
    if as_json:
        print_json(
            {
                "cache": str(root),
                "rows": rows,
                "bytes": size,
                "folders": [
                    {
                        "folder": f.folder.name,
                        "rows": f.rows,
                        "shards": f.shards,
                        "bytes": f.bytes,
                        "key": f.spec.key if f.spec else None,
                        "spec": f.spec.to_json() if f.spec else None,
                    }
                    for f in folders
                ],
            }
        )
        return
    for f in folders:
        click.echo(f"{f.folder.name}: {f.rows} rows, {f.shards} shards, {f.bytes / 1e6:.1f} MB")
        click.echo(f"  {f.spec.describe() if f.spec else 'spec cannot be read'}")
    click.echo(f"{root}: {rows} rows, {size / 1e6:.1f} MB")
