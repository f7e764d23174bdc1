"""Small HTML for notebooks: everything escaped, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

CELL = "text-align:left;padding:1px 12px 1px 0"


def block(title: str, *parts: str) -> str:
    """A title and parts that are HTML already."""
    return f"<div><strong>{text(title)}</strong>{''.join(parts)}</div>"


def facts(pairs: Mapping[str, object]) -> str:
    """Names and values; what is empty is left out."""
    return table((), [(name, value) for name, value in pairs.items() if value not in ("", None)])


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows of cells."""
    made = [_row("th", header)] if header else []
    made += [_row("td", row) for row in rows]
    return f"<table>{''.join(made)}</table>" if made else ""


def figures(pictures: Iterable[tuple[str, str]]) -> str:
    """Pictures in a row, each a data URI with its caption."""
    style = "display:inline-block;margin:4px;font-size:small;vertical-align:top;width:96px"
    cut = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
    made = [
        f'<div style="{style}" title="{text(caption)}"><img alt="" src="{escape(uri)}">'
        f'<div style="{cut}">{text(caption)}</div></div>'
        for uri, caption in pictures
    ]
    return f"<div>{''.join(made)}</div>"


def lines(words: Sequence[str], most: int = 5) -> str:
    """Some sentences, and how many more there are."""
    shown = [f"<li>{text(each)}</li>" for each in words[:most]]
    if len(words) > most:
        shown.append(f"<li>... and {len(words) - most:,} more</li>")
    return f"<ul>{''.join(shown)}</ul>" if shown else ""


def _row(tag: str, cells: Sequence[object]) -> str:
    made = [f'<{tag} style="{CELL}">{text(cell)}</{tag}>' for cell in cells]
    return f"<tr>{''.join(made)}</tr>"


def text(value: object) -> str:
    """Escaped; bytes of a file name that are not UTF-8 become question marks."""
    return escape(str(value).encode("utf-8", "replace").decode())
