"""What is used of Pillow that it does not document, with a plain way where that has gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image


def as_own_rgb(picture: Image.Image) -> Image.Image:
    """The same pixels in a picture without metadata; not a copy of them, if Pillow allows.

    Parameters
    ----------
    picture : PIL.Image.Image
        In mode RGB, loaded, and used by nobody else.
    """
    make, pixels = getattr(picture, "_new", None), getattr(picture, "im", None)
    if make is None or pixels is None:
        return picture.convert("RGB")
    own: Image.Image = make(pixels)
    return own


def arguments_of(picture: Any) -> list[tuple[str, Any]] | None:
    """Codec and arguments for each tile of a file that is open but not loaded.

    Returns
    -------
    list of (codec, arguments) or None
        The first argument is the raw mode. None: this Pillow has other tiles.
    """
    tiles = getattr(picture, "tile", None)
    if not isinstance(tiles, list):
        return None
    if not all(isinstance(tile, tuple) and len(tile) == 4 for tile in tiles):
        return None
    return [(tile[0], tile[3]) for tile in tiles]


def set_arguments(picture: Any, arguments: Sequence[Any]) -> None:
    """Have the tiles decoded with other arguments, where `arguments_of` knows them."""
    pairs = zip(picture.tile, arguments, strict=True)
    picture.tile = [_make_tile(tile, given) for tile, given in pairs]


def _make_tile(tile: Any, arguments: Any) -> Any:
    made = (*tile[:3], arguments)
    return tile._make(made) if hasattr(tile, "_make") else made  # before Pillow 11 a plain tuple
