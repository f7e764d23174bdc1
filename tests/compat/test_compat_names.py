"""Public names stay, with what they take and hold; a script of them runs."""

from __future__ import annotations

import json
from pathlib import Path

from public_names import PLACE, collect
from use_public_names import main

KEPT = json.loads(PLACE.read_text())


def test_every_public_name_stays_with_what_it_takes_and_holds() -> None:
    found = collect()
    gone = [
        f"{room}.{name}{f' ({kind}: {word})' if word else ''}"
        for room, names in KEPT.items()
        for name, facts in names.items()
        for kind in facts
        for word in (facts[kind] if name in found[room] else [""])
        if name not in found[room] or word not in found[room][name][kind]
    ]
    assert gone == []


def test_no_public_name_is_missing_from_the_list() -> None:
    added = {room: sorted(set(names) - set(KEPT[room])) for room, names in collect().items()}
    assert {room: names for room, names in added.items() if names} == {}


def test_a_script_of_public_names_runs(tmp_path: Path) -> None:
    main(str(Path(__file__).resolve().parent / "pictures"), str(tmp_path))
