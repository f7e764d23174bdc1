"""Classes whose names a person would take for one."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

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
            alike[_STEPS[-1][1](str(name))].append(str(name))
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
    """In words, the steps at which names become equal."""
    kinds, left = [], len(set(names))
    for kind, step in _STEPS:
        now = len({step(name) for name in names})
        if now < left:
            kinds.append(kind)
        left = now
    return " and ".join(kinds)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _bare(name: str) -> str:
    return "".join(c for c in _composed(name) if unicodedata.category(c) not in _UNSEEN)


def _folded(name: str) -> str:
    return _bare(name).casefold()


_STEPS = (("Unicode form", _composed), ("blanks", _bare), ("case", _folded))
