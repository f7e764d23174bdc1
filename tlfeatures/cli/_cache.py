"""tlfeatures cache."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlfeatures.cli._echo import echo
from tlfeatures.cli._output import print_json
from tlfeatures.errors import UsageError
from tlfeatures.extraction import RunOptions
from tlfeatures.store import (
    cache_info,
    cache_totals,
    compiled_totals,
    gc_cache,
    list_compiled,
    merge_caches,
    repair_cache,
    verify_cache,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tlfeatures.store import CacheFolder, Problem

CACHE = click.option("--cache", metavar="DIR", help="Default: $TLFEATURES_CACHE, else the user's.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@click.group("cache")
def command() -> None:
    """Look at the cache, check it, mend it, make room in it."""


@command.command("info")
@CACHE
@JSON
def info(cache: str | None, as_json: bool) -> None:
    """List the codes that are kept, each spec in words, and count what is compiled."""
    root = _root(cache)
    folders = cache_info(root)
    rows, size = cache_totals(folders)
    n_compiled, compiled_size = compiled_totals(list_compiled(root))
    if as_json:
        totals = {"rows": rows, "bytes": size + compiled_size}
        compiled = {"files": n_compiled, "bytes": compiled_size}
        entries = [_folder_json(entry) for entry in folders]
        print_json({"cache": str(root), **totals, "folders": entries, "compiled": compiled})
        return
    for entry in folders:
        echo(_folder_line(entry))
        echo(f"  {entry.what}")
        echo(f"  {entry.spec.describe() if entry.spec else 'spec cannot be read'}")
    if n_compiled:
        echo(f"compiled: {n_compiled} files, {compiled_size / 1e6:.1f} MB")
    echo(f"{root}: {rows} rows, {(size + compiled_size) / 1e6:.1f} MB")


@command.command("verify")
@click.option(
    "--repair",
    is_flag=True,
    help="Move what is broken aside, keep every whole row, and say what must be computed again.",
)
@CACHE
@JSON
def verify(repair: bool, cache: str | None, as_json: bool) -> int:
    """Read everything and check it; exit 1 if anything is not as it was written."""
    root = _root(cache)
    return _repair(root, as_json) if repair else _verify(root, as_json)


def _verify(root: Path, as_json: bool) -> int:
    found = verify_cache(root)
    if as_json:
        print_json({"cache": str(root), **asdict(found), "problems": _problems(found.problems)})
    else:
        _say_problems(found.problems)
        echo(
            f"{root}: {found.rows} whole rows in {found.shards} shards of {found.folders} folders, "
            f"{found.bytes / 1e6:.1f} MB read, {len(found.problems)} problems"
        )
        if found.problems:
            echo(
                "'tlfeatures cache verify --repair' moves what is broken aside and keeps the rest."
            )
    return 1 if found.problems else 0


def _repair(root: Path, as_json: bool) -> int:
    done = repair_cache(root)
    if as_json:
        print_json({"cache": str(root), **asdict(done), "moved": _problems(done.moved)})
        return 0
    _say_problems(done.moved)
    echo(
        f"{root}: {len(done.moved)} broken files moved into folders 'broken', {done.rescued} of "
        f"their rows kept, {done.lost} must be computed again: run the same extraction."
    )
    return 0


@command.command("gc")
@click.option(
    "--keep-days", type=click.FloatRange(0), metavar="N", help="Keep what was used in N days."
)
@click.option("--max-size", metavar="SIZE", help="Keep the last used ones up to, say, 20G.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@CACHE
@JSON
def gc(
    keep_days: float | None, max_size: str | None, dry_run: bool, cache: str | None, as_json: bool
) -> None:
    """Make room: take away codes and compiled files that were not used for long.

    Compiled networks that earlier versions left go too.
    """
    if keep_days is None and max_size is None:
        raise UsageError("say what may go: --keep-days N, or --max-size SIZE, or both.")
    root = _root(cache)
    size = None if max_size is None else parse_size(max_size)
    done = gc_cache(root, keep_days=keep_days, max_bytes=size, dry_run=dry_run)
    if as_json:
        groups = {name: getattr(done, name) for name in ("removed", "kept", "in_use")}
        lists = {name: [_folder_json(entry) for entry in group] for name, group in groups.items()}
        files = [{"file": f.path.name, "bytes": f.bytes} for f in done.compiled_removed]
        print_json({"cache": str(root), "dry_run": dry_run, **lists, "compiled": files})
        return
    gone = "would go" if dry_run else "gone"
    for entry in done.removed:
        echo(f"{gone}: {_folder_line(entry)}")
    for file in done.compiled_removed:
        echo(f"{gone}: compiled {file.path.name}, {file.bytes / 1e6:.1f} MB")
    for entry in done.in_use:
        echo(f"kept, used within the last hour: {entry.folder.name}")
    freed = cache_totals(done.removed)[1] + compiled_totals(done.compiled_removed)[1]
    left = cache_totals(done.kept)[1] + compiled_totals(done.compiled_kept)[1]
    echo(
        f"{root}: {freed / 1e6:.1f} MB {'would be ' if dry_run else ''}freed, "
        f"{left / 1e6:.1f} MB left"
    )


@command.command("merge")
@click.argument("other")
@CACHE
@JSON
def merge(other: str, cache: str | None, as_json: bool) -> int:
    """Take the codes of OTHER, another cache folder, which is not changed."""
    root = _root(cache)
    done = merge_caches(root, other)
    if as_json:
        print_json({"cache": str(root), **asdict(done), "refused": _problems(done.refused)})
    else:
        _say_problems(done.refused)
        echo(
            f"{root}: {done.shards} shards with {done.rows} rows taken, {done.present} were here "
            f"already, {len(done.refused)} refused"
        )
    return 1 if done.refused else 0


def parse_size(text: str) -> int:
    """Bytes of 20G, 500M, 1.5T or a plain number.

    Raises
    ------
    UsageError
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise UsageError(f"--max-size {text!r}: write a size such as 500M, 20G or 1T.")
    return int(float(found[1]) * UNITS[found[2].upper()])


def _root(cache: str | None) -> Path:
    return RunOptions(cache=cache).cache_dir


def _folder_line(entry: CacheFolder) -> str:
    size = f"{entry.bytes / 1e6:.1f} MB"
    return f"{entry.folder.name}: {entry.rows} rows, {entry.shards} shards, {size}"


def _folder_json(entry: CacheFolder) -> dict[str, Any]:
    return {
        "folder": entry.folder.name,
        "rows": entry.rows,
        "shards": entry.shards,
        "bytes": entry.bytes,
        "what": entry.what,
        "key": entry.spec.key if entry.spec else None,
        "spec": entry.spec.to_json() if entry.spec else None,
    }


def _problems(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [{"path": str(problem.path), "reason": problem.reason} for problem in problems]


def _say_problems(problems: Iterable[Problem]) -> None:
    for problem in problems:
        echo(f"{problem.path}: {problem.reason}", err=True)
