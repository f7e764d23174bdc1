"""Classes whose names a person would take for one."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

from tlfeatures.errors import few

_UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")  # blanks; zero-width signs and marks of direction


def describe_alike(classes: Iterable[object]) -> list[str]:
    """One line for each kind of difference that names can have and hardly show.

    Parameters
    ----------
    classes : iterable of str
        Names that differ; numbers and the like are passed over.

    Returns
    -------
    list of str
        Empty where all names look different.

    Examples
    --------
    >>> describe_alike(["cat", "Cat", "dog"])[0][:52]
    "these classes differ only in case: 'cat' and 'Cat'. "
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        if isinstance(name, str):
            alike[_plain(str(name))].append(str(name))
    found: dict[str, list[str]] = defaultdict(list)
    for names in alike.values():
        if len(names) > 1:
            kind = _difference(names)
            show = ascii if "Unicode" in kind else repr  # repr shows what is unseen
            found[kind].append(" and ".join(show(name) for name in names))
    return [
        f"these classes differ only in {kind}: {few(groups, '; ')}. They are taken as classes of "
        "their own; give them one name if they are one."
        for kind, groups in sorted(found.items())
    ]


def _difference(names: list[str]) -> str:
    """In words what still differs when everything else is made equal."""
    kinds = [kind for kind in _STEPS if len({_plain(name, but=kind) for name in names}) > 1]
    return " and ".join(kinds)


def _plain(name: str, but: str = "") -> str:
    for kind, step in _STEPS.items():
        name = name if kind == but else step(name)
    return name


def _without_blanks(name: str) -> str:
    return "".join(c for c in name if unicodedata.category(c) not in _UNSEEN)


_STEPS: dict[str, Callable[[str], str]] = {
    "Unicode form": partial(unicodedata.normalize, "NFC"),
    "blanks": _without_blanks,
    "case": str.casefold,
}
