"""The public names of every room with what they take and hold, as `names.json` keeps them.

python tests/compat/public_names.py          # writes names.json anew: list changes in CHANGELOG
"""

from __future__ import annotations

import inspect
import json
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

PLACE = Path(__file__).resolve().parent / "names.json"
ROOMS = (
    "", "advice", "backbones", "classification", "cli", "demo", "evaluation", "extraction",
    "finetuning", "heads", "neighbors", "pictures", "report", "search", "store",
)  # fmt: skip


def describe(thing: Any) -> dict[str, list[str]]:
    """What a name takes, its parameters in order, and what it holds: fields, methods, keys."""
    if inspect.isclass(thing):
        held = {name for name in dir(thing) if not name.startswith("_")}
        held |= {each.name for each in fields(thing)} if is_dataclass(thing) else set()
        return {"takes": _parameters(thing), "holds": sorted(held)}
    if callable(thing):
        return {"takes": _parameters(thing), "holds": []}
    held = sorted(map(str, thing)) if isinstance(thing, (dict, list, tuple, frozenset)) else []
    return {"takes": [], "holds": held}


def _parameters(thing: Any) -> list[str]:
    try:
        found = inspect.signature(thing).parameters.values()
    except ValueError:  # a builtin's constructor
        return []
    return [each.name for each in found if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]


def collect() -> dict[str, dict[str, dict[str, list[str]]]]:
    """Every room's public names."""
    found = {}
    for room in ROOMS:
        module = import_module(f"tlfeatures.{room}".rstrip("."))
        found[room] = {name: describe(getattr(module, name)) for name in module.__all__}
    return found


if __name__ == "__main__":
    PLACE.write_text(json.dumps(collect(), indent=1) + "\n")
