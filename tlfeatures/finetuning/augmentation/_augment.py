"""How training pictures are varied: the words for it. No torch in here.

The variations are those that introductions to transfer learning name: horizontal flip, rotation,
zoom, shear, colour jitter. Evaluation never varies anything.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace
from typing import Any

from tlfeatures.errors import UsageError

MOST = {
    "rotation": 180.0,
    "shear": 60.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.5,
}
JITTERED = ("brightness", "contrast", "saturation")
JITTER_HUE = 0.1  # of the others; with a quarter, as SimCLR has it, yellow flowers turn green
WORDS = ("flip", "rotation", "zoom", "shear", "jitter", *JITTERED, "hue")
EXAMPLES = {"rotation": 15, "shear": 10, "hue": 0.05}  # of the others: 0.2
SWITCH = {"": True, "on": True, "off": False}


@dataclass(frozen=True)
class Augmentation:
    """How far each training picture may be varied, each time it is shown; all at random.

    Parameters
    ----------
    flip : bool, default=True
        Left and right are exchanged in half of the cases.
    rotation : float, default=0
        Up to so many degrees either way, 0..180.
    zoom : tuple of two float or None, default=None
        Smallest and largest share of the picture's area that is cut out, 0..1, anywhere in the
        picture, and stretched up to 4:3 either way. None: the centre crop of evaluation, which is
        0.77 of a square picture's area and 0.57 of a 4:3 one's, where 256 pixels are cut to 224.
    shear : float, default=0
        Up to so many degrees either way, 0..60.
    brightness, contrast, saturation : float, default=0
        Factors between 1 - value and 1 + value, 0..1.
    hue : float, default=0
        Turned by up to this share of the colour circle either way, 0..0.5.

    Raises
    ------
    UsageError
        If a number is out of its range.

    Examples
    --------
    >>> Augmentation(rotation=15, zoom=(0.7, 1)).words
    'flip,rotation=15,zoom=0.7:1'
    """

    flip: bool = True
    rotation: float = 0.0
    zoom: tuple[float, float] | None = None
    shear: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            value = getattr(self, name)
            if not 0 <= value <= most:  # also true of nan
                raise UsageError(
                    f"augmentation {name}={value:g} is out of range; give 0 to {most:g}."
                )
        if self.zoom is not None and not 0 < self.zoom[0] <= self.zoom[1] <= 1:
            low, high = self.zoom
            raise UsageError(
                f"augmentation zoom={low:g}:{high:g} is no range of shares; give LO:HI with "
                "0 < LO <= HI <= 1, as in zoom=0.7:1."
            )

    @property
    def words(self) -> str:
        """What `parse_augmentation` makes this of; "none" if nothing is varied."""
        parts = [_word(f.name, getattr(self, f.name)) for f in fields(self)]
        return ",".join(part for part in parts if part) or "none"


NONE = Augmentation(flip=False)
PRESETS = {
    "none": NONE,
    "flip": Augmentation(),
    "light": Augmentation(zoom=(0.6, 1.0)),
    "standard": Augmentation(
        rotation=15, zoom=(0.5, 1.0), shear=10, brightness=0.2, contrast=0.2, saturation=0.2,
        hue=0.02,
    ),
    "strong": Augmentation(
        rotation=30, zoom=(0.25, 1.0), shear=20, brightness=0.4, contrast=0.4, saturation=0.4,
        hue=0.04,
    ),
}  # fmt: skip
DEFAULT_AUGMENTATION = "light"


def parse_augmentation(words: str) -> Augmentation:
    """The `Augmentation` of a preset's name, of single variations, or of a preset and changes.

    Parameters
    ----------
    words : str
        As "light", "flip,rotation=15,zoom=0.7:1,shear=10,jitter=0.2" or "standard,flip=off".
        jitter is brightness, contrast and saturation together, with a tenth of it for the hue.

    Raises
    ------
    UsageError
        If a word is unknown, given twice, or its number impossible.

    Examples
    --------
    >>> parse_augmentation("standard,shear=0,jitter=0").words
    'flip,rotation=15,zoom=0.5:1'
    """
    first, *rest = (part.strip() for part in words.split(","))
    if first not in PRESETS:
        first, rest = "none", [first, *rest]
    changes: dict[str, Any] = {}
    for part in rest:
        for name, value in _changes(part).items():
            if name in changes:
                raise UsageError(f"augmentation {words!r} says {name} twice; once is enough.")
            changes[name] = value
    return replace(PRESETS[first], **changes)


def _changes(part: str) -> dict[str, Any]:
    """One word of the list, as fields."""
    name, _, value = part.partition("=")
    if name in PRESETS and name not in WORDS:
        raise UsageError(f"augmentation {name!r} is a preset; write it first, once.")
    if name not in WORDS:
        raise _unknown(name)
    if name == "flip":
        if value not in SWITCH:
            raise UsageError(f"augmentation flip={value}: write flip, flip=on or flip=off.")
        return {"flip": SWITCH[value]}
    if name == "zoom":
        return {"zoom": None if value == "off" else _range(value)}
    number = _number(name, value)
    if name == "jitter":
        if not 0 <= number <= 1:
            raise UsageError(f"augmentation jitter={number:g} is out of range; give 0 to 1.")
        return {**dict.fromkeys(JITTERED, number), "hue": JITTER_HUE * number}
    return {name: number}


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        given = f"{name}={value}" if value else name
        raise UsageError(
            f"augmentation {given!r} has no number; write it as {name}={EXAMPLES.get(name, 0.2):g}."
        ) from None


def _range(value: str) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in value.split(":"))
    except ValueError:
        raise UsageError(
            f"augmentation zoom={value}: write the smallest and the largest share of the picture's "
            "area, as in zoom=0.7:1, or zoom=off."
        ) from None
    return low, high


def _word(name: str, value: Any) -> str:
    """One field as it is typed; nothing where it varies nothing."""
    if not value:
        return ""
    if name == "flip":
        return "flip"
    if name == "zoom":
        return f"zoom={value[0]:g}:{value[1]:g}"
    return f"{name}={value:g}"


def _unknown(name: str) -> UsageError:
    known = list(dict.fromkeys([*PRESETS, *WORDS]))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? Write" if near else "write"
    return UsageError(
        f"augmentation {name!r} is unknown; {hint} a preset ({', '.join(PRESETS)}), or as in "
        "flip,rotation=15,zoom=0.7:1,shear=10,jitter=0.2 (brightness, contrast, saturation, hue)."
    )
