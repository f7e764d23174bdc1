"""Contact sheets and thumbnails."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tlfeatures._targets import write_whole
from tlfeatures.errors import ImageReadError
from tlfeatures.pictures.decoding._decode import decode

MARGIN, GAP, QUERY_GAP, FONT_SIZE = 16, 8, 28, 11
INK, FRAME, PAPER, MISSING = "#333333", "#c0392b", "white", "#dddddd"


def thumbnail(item: Any, size: int) -> Image.Image:
    """The picture inside a white square of `size` pixels; a crossed grey one if it has none."""
    square = Image.new("RGB", (size, size), PAPER)
    try:
        picture = decode(item, check=False)
    except ImageReadError:
        pen = ImageDraw.Draw(square)
        pen.rectangle([0, 0, size - 1, size - 1], fill=MISSING)
        pen.line([0, 0, size, size], fill=INK)
        pen.line([0, size, size, 0], fill=INK)
        return square
    scale = size / max(picture.size)
    shape = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = picture.resize(shape, Image.Resampling.LANCZOS)
    square.paste(small, ((size - shape[0]) // 2, (size - shape[1]) // 2))
    return square


def contact_sheet(
    rows: Sequence[Sequence[Any]],
    *,
    captions: Sequence[Sequence[str]] | None = None,
    title: str | None = None,
    thumb: int = 96,
) -> Image.Image:
    """Draw rows of pictures; the first of each row, the query, is framed and set apart.

    Parameters
    ----------
    rows : sequence of sequences of pictures
        Paths, PIL pictures or uint8 arrays.
    captions : sequence of sequences of str, optional
        Under each picture; lines are separated by newlines, long ones shortened in the middle.
    title : str, optional
    thumb : int, default=96
        Side of a thumbnail, in pixels.
    """
    font = ImageFont.load_default(size=FONT_SIZE)
    lines = max((c.count("\n") + 1 for row in captions for c in row), default=0) if captions else 0
    cell = thumb + lines * (FONT_SIZE + 3) + 2 * GAP
    top = MARGIN + (FONT_SIZE + 14 if title else 0)
    longest = max((len(row) for row in rows), default=1)
    width = 2 * MARGIN + longest * (thumb + GAP) + QUERY_GAP
    sheet = Image.new("RGB", (width, top + len(rows) * cell + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    if title:
        large = ImageFont.load_default(size=FONT_SIZE + 3)
        shown = _fit(title, large, width - 2 * MARGIN)
        pen.text((MARGIN, MARGIN - 2), shown, fill=INK, font=large)
    for r, row in enumerate(rows):
        y = top + r * cell
        for c, item in enumerate(row):
            x = MARGIN + c * (thumb + GAP) + (QUERY_GAP if c else 0)
            sheet.paste(thumbnail(item, thumb), (x, y))
            if c == 0:
                pen.rectangle([x - 3, y - 3, x + thumb + 2, y + thumb + 2], outline=FRAME, width=2)
            if captions:
                for n, line in enumerate(_caption(captions, r, c).split("\n")):
                    place = (x, y + thumb + 5 + n * (FONT_SIZE + 3))
                    pen.text(place, _fit(line, font, thumb), fill=INK, font=font)
    return sheet


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as a PNG file's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def save_png(picture: Image.Image, path: str | os.PathLike[str]) -> Path:
    """Write the picture as a PNG file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    return write_whole(path, png_bytes(picture), "the sheet")


def data_uri(picture: Image.Image) -> str:
    """The picture as a JPEG file in a data URI, for pages that stand alone."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _caption(captions: Sequence[Sequence[str]], r: int, c: int) -> str:
    return captions[r][c] if r < len(captions) and c < len(captions[r]) else ""


def _fit(text: str, font: Any, width: int) -> str:
    text = text.encode("utf-8", "replace").decode()
    if font.getlength(text) <= width:
        return text
    for keep in range(len(text) - 1, 1, -1):
        short = text[: keep // 2] + "…" + text[-(keep - keep // 2) :]
        if font.getlength(short) <= width:
            return short
    return "…"
