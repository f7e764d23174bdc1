"""What a model file says of its codes, checked word by word before anything is made of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from tlfeatures.backbones import CROPS, INTERPOLATIONS, PREPROCESS_NAMES
from tlfeatures.machine import DECODERS, PRECISIONS
from tlfeatures.pictures import DecodeOptions
from tlfeatures.store import CodeSpec

Facts = Mapping[str, Any]

TEXT, NUMBER, NOTHING = str, int, type(None)
REQUEST = {
    "backbone": (TEXT,),
    "weights": (TEXT, NOTHING),
    "layer": (TEXT, NOTHING),
    "pooling": (TEXT,),
    "preprocess": (TEXT,),
    "input_size": (NUMBER, NOTHING),
    "resize": (NUMBER, NOTHING),
    "crop": (TEXT, NOTHING),
    "interpolation": (TEXT, NOTHING),
    "weights_id": (TEXT, NOTHING),
}
SPEC = {"dim": (NUMBER,), "contract": (NUMBER,), "preprocessing": (dict,)}
LONGEST_NAME = 4096  # of a path on Linux
NEWER = "it was written by a newer tlfeatures: update it"


def read_request(facts: Facts) -> dict[str, Any]:
    """The words about the network, as arguments of `BackboneRequest`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If one is unknown or of another kind.
    """
    words = read_table("request", facts)
    if strange := sorted(set(words) - set(REQUEST)):
        raise ValueError(f"it asks for {strange[0][:40]!r}, which is unknown; {NEWER}")
    _check_kinds(words, REQUEST)
    words["backbone"]  # the others have defaults
    for word in filter(lambda word: isinstance(word, str), words.values()):
        if "\0" in word or len(word) > LONGEST_NAME:
            raise ValueError(f"{word[:40]!r} is no name")
        os.fsencode(word)  # or it cannot be looked for
    for name, known in (("crop", CROPS), ("interpolation", INTERPOLATIONS)):
        _check_known(name, words.get(name), (None, *known))
    _check_known("preprocess", words.get("preprocess", PREPROCESS_NAMES[0]), PREPROCESS_NAMES)
    return words


def read_decode(facts: Facts) -> tuple[bool, tuple[float, float] | None]:
    """Whether pictures are turned by EXIF, and the range of deep ones.

    Raises
    ------
    KeyError, TypeError, ValueError
    """
    words = read_table("decode", facts)
    exif, found = words["exif"], words["range"]
    if type(exif) is not bool:
        raise TypeError(f"exif is {str(exif)[:40]!r}, expected true or false")
    if found is None:
        return exif, None
    if not isinstance(found, list) or [type(x) in (int, float) for x in found] != [True, True]:
        raise TypeError(f"range is {str(found)[:40]!r}, expected two numbers")
    low, high = map(float, found)
    DecodeOptions(range=(low, high))  # refuses what is none
    return exif, (low, high)


def read_spec(facts: Facts) -> CodeSpec:
    """Which codes it was fitted on.

    Raises
    ------
    KeyError, TypeError, ValueError
    StoreFormatError
        If a field is missing or unknown.
    """
    words = read_table("spec", facts)
    _check_kinds(words, SPEC)
    spec = CodeSpec.from_json(words)
    _check_known("precision", spec.precision, PRECISIONS)
    _check_known("decode", spec.decode, DECODERS)
    return spec


def read_text(name: str, facts: Facts) -> str:
    """A fact that is text.

    Raises
    ------
    KeyError, TypeError
    """
    word = facts[name]
    if not isinstance(word, str):
        raise TypeError(f"{name} is {str(word)[:40]!r}, expected text")
    return word


def read_table(name: str, facts: Facts) -> dict[str, Any]:
    """A fact that is a JSON object.

    Raises
    ------
    KeyError, TypeError
    """
    found = facts[name]
    if not isinstance(found, dict):
        raise TypeError(f"{name} is {str(found)[:40]!r}, expected a JSON object")
    return found


def _check_known(name: str, word: Any, known: Iterable[Any]) -> None:
    if word not in tuple(known):
        raise ValueError(f"its {name} {word[:40]!r} is unknown; {NEWER}")


def _check_kinds(words: Facts, kinds: Mapping[str, tuple[type, ...]]) -> None:
    for name, known in kinds.items():
        if name in words and type(words[name]) not in known:
            expected = " or ".join("null" if kind is NOTHING else kind.__name__ for kind in known)
            raise TypeError(f"{name} is {str(words[name])[:40]!r}, expected {expected}")
