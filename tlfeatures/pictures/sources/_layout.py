"""What the folders of pictures say: the classes, and the sides of a split."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tlfeatures.errors import PicturesError, few

Parts = tuple[str, ...]

PLAIN_SIDES = ("train", "val", "valid", "validation", "test")
_TRAIN = "train(?:ing)?|trn"
_VAL = "val(?:id(?:ation)?)?|dev(?:el(?:opment)?)?|eval(?:uation)?"
_TEST = "test(?:ing)?|tst"
_FILLER = (  # what people write beside the side's name: seg_train, test_images, val2017
    r"(?:images?|imgs?|pictures?|pics?|photos?|data|sets?|seg|folders?|files?|split|jpe?gs?|pngs?"
    r"|labell?ed|resized|cropped|full|all|raw|\d)*"
)
_SIDES = {
    side: re.compile(f"{_FILLER}(?:{words}){_FILLER}")
    for side, words in {
        "train": f"(?:{_TRAIN})(?:and)?(?:{_VAL})?",  # train+val is what one trains on
        "val": _VAL,
        "test": _TEST,
    }.items()
}
_WRAPPER = re.compile(r"(?:images?|imgs?|pictures?|pics?|photos?|data|sets?|unknown|unlabell?ed)+")
_LEAST_SHARED = 2  # names of folders; one alone, as x/cat and y/cat, may well be chance


@dataclass(frozen=True)
class Layout:
    """Labels and sides of n pictures.

    Attributes
    ----------
    labels : list of str or None
    split : list of {"train", "val", "test"} or None
    notes : tuple of str
        What a person should know about how folders were read.
    """

    labels: list[str] | None
    split: list[str] | None
    notes: tuple[str, ...] = ()


def side_of(folder: str) -> str | None:
    """The side of a split that a folder's name means: "train", "val", "test" or None.

    Examples
    --------
    >>> [side_of(name) for name in ("Training", "seg_test", "val2017", "trains", "contest")]
    ['train', 'test', 'val', None, None]
    """
    compact = _compact(folder)
    return next((side for side, words in _SIDES.items() if words.fullmatch(compact)), None)


def _compact(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def read_layout(root: str, found: Sequence[str]) -> Layout:
    """Classes and sides of the pictures of a folder.

    Parameters
    ----------
    root : str
        For messages.
    found : sequence of str
        Relative POSIX paths.

    Raises
    ------
    PicturesError
        If some pictures have no class, or folders may be sides of a split but are not called so.
    """
    folders = [PurePosixPath(relative).parent.parts for relative in found]
    split, below, notes = _read_sides(root, folders)
    if not any(below):
        return Layout(None, split, tuple(notes))
    if not all(below):
        raise PicturesError(_without_class(root, found, folders, split, below))
    _ask_about_parts(root, below)
    notes += _notes_on_words(below) if split is None else []
    return Layout(["/".join(parts) for parts in below], split, tuple(notes))


def _read_sides(root: str, folders: list[Parts]) -> tuple[list[str] | None, list[Parts], list[str]]:
    """Each picture's side, and its folders below that; no sides and all folders if there are none.

    Looked for at the top, and inside a folder that wraps everything, as unpacked archives have it.
    """
    below, wrappers = folders, [root]
    while True:
        sides = _sides_of_tops({parts[0] if parts else "" for parts in below})
        if None not in sides.values():
            split = [str(sides[parts[0]]) for parts in below]
            return split, _unwrap(below, sides), _notes_on_sides(sides)
        _refuse_some_sides("/".join(wrappers), below, sides)
        if _has_sides_in_classes(below):
            split = [str(side_of(parts[1])) for parts in below]
            rest = [(parts[0], *parts[2:]) for parts in below]
            return split, rest, ["each class folder holds the sides of a split; they are followed"]
        if len(sides) > 1 or not below[0]:
            return None, folders, []
        wrappers.append(below[0][0])
        below = [parts[1:] for parts in below]


def _sides_of_tops(tops: set[str]) -> dict[str, str | None]:
    """What each name means; of dogs_train and dogs_test, the word that they share is left aside."""
    sides = {top: side_of(top) for top in tops}
    if None not in sides.values() or len(tops) == 1 or "" in tops:
        return sides
    words = [re.findall(r"[^\W_]+", top) for top in tops]
    n = 0
    while all(len(each) > n + 1 and each[n] == words[0][n] for each in words):
        n += 1
    bare = {top: side_of(" ".join(each[n:])) for top, each in zip(tops, words, strict=True)}
    return sides if None in bare.values() else bare


def _refuse_some_sides(root: str, folders: list[Parts], sides: dict[str, str | None]) -> None:
    """Folders of classes, of which only some are the sides of a split, are ambiguous."""
    others = sorted(top for top, side in sides.items() if side is None)
    nested = sorted({p[0] for p in folders if len(p) > 1 and sides[p[0]] is not None})
    if nested and any(others):
        raise PicturesError(
            f"{root}/{others[-1]} lies beside {nested[0]!r}, which holds class folders; "
            "keep only train, val and test folders there, or only class folders."
        )


def _has_sides_in_classes(folders: list[Parts]) -> bool:
    """Whether each class folder holds train and test folders of its own."""
    if len({parts[0] for parts in folders if len(parts) > 1}) < 2 or min(map(len, folders)) < 2:
        return False
    sides = {side_of(parts[1]) for parts in folders}
    return None not in sides and len(sides) > 1


def _unwrap(folders: list[Parts], sides: dict[str, str | None]) -> list[Parts]:
    """What is below the sides, without a folder that holds all of one and says nothing more.

    Such as seg_train/seg_train/forest, test/images/1.jpg, or test/unknown/1.jpg.
    """
    below = {top: [parts[1:] for parts in folders if parts[0] == top] for top in sides}
    for top, side in sides.items():
        inside = below[top]
        while len({parts[:1] for parts in inside}) == 1 and inside[0]:
            name = inside[0][0]
            if side_of(name) != side and not _WRAPPER.fullmatch(_compact(name)):
                break
            inside = [parts[1:] for parts in inside]
        below[top] = inside
    each = {top: iter(inside) for top, inside in below.items()}
    return [next(each[parts[0]]) for parts in folders]


def _notes_on_sides(sides: dict[str, str | None]) -> list[str]:
    if all(top.casefold() in PLAIN_SIDES for top in sides):
        return []
    return [f"taken as a split: {few([f'{top} as {sides[top]}' for top in sorted(sides)])}"]


def _notes_on_words(folders: list[Parts]) -> list[str]:
    tops = {parts[0] for parts in folders}
    taken = sorted(top for top in tops if side_of(top) in ("val", "test"))  # train: a vehicle
    return [
        f"the folder {name!r} is taken as a class; for a split put class folders into train and "
        "test folders"
        for name in taken
    ]


def _without_class(
    root: str,
    found: Sequence[str],
    folders: list[Parts],
    split: list[str] | None,
    below: list[Parts],
) -> str:
    """Why pictures without a class folder cannot be used, by where they lie."""
    row = below.index(())
    if split is not None:
        alike = [b for b, s in zip(below, split, strict=True) if s == split[row]]
        if not any(alike):
            count = f"{len(alike):,} pictures" if len(alike) > 1 else "1 picture"
            return (
                f"{'/'.join((root, *folders[row]))} holds {count} without class folders, so their "
                "labels are not known; put them into class folders like those beside it, or move "
                "the folder out and label its pictures with 'predict'."
            )
    return f"{root}/{found[row]} lies beside class folders; move it into one, or out of {root}."


def _ask_about_parts(root: str, folders: list[Parts]) -> None:
    """Refuse where top folders hold folders of the same names: are they classes or sides?"""
    below: dict[str, set[str]] = defaultdict(set)
    for parts in folders:
        if len(parts) > 1:
            below[parts[0]].add(parts[1])
    holders: dict[str, list[str]] = defaultdict(list)
    for top in sorted(below):
        shared: Counter[str] = Counter()
        for name in below[top]:
            shared.update(holders[name])
            holders[name].append(top)
        for other, n in shared.most_common(1):
            if n >= _LEAST_SHARED and 2 * n >= min(len(below[top]), len(below[other])):
                raise PicturesError(_question(root, below, other, top))


def _question(root: str, below: dict[str, set[str]], one: str, other: str) -> str:
    common = sorted(below[one] & below[other])
    tops = [top for top in sorted(below) if len(below[top] & set(common)) >= _LEAST_SHARED]
    return (
        f"{root}: {few(tops)} each hold {few(common)}. If they are the sides of a split, name them "
        "train, val and test; if not, say what each picture is in a manifest: a CSV file with the "
        f"columns path,label (such as {one}/{common[0]}, or {common[0]})."
    )
