"""The page of one evaluation: dataclass -> template -> file."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tlfeatures._targets import write_whole
from tlfeatures.report._drawing import make_drawing
from tlfeatures.report._scale import rate_text

__all__ = ["ReportControl", "ReportPage", "ReportRow", "Sheet", "render_page", "save_page"]


@dataclass(frozen=True)
class ReportRow:
    """One head's line of the table.

    Parameters
    ----------
    name : str
        The head.
    accuracy, mean_recall : float
        Fractions in 0..1.
    low, high, mean_recall_low, mean_recall_high : float or None
        Ends of the 95 % intervals, in 0..1; None where no interval is given.
    C : float or None
        The regularisation chosen inside the training data, where the head has one.
    chosen : bool
        Whether this is the head that was kept.
    """

    name: str
    accuracy: float
    low: float | None
    high: float | None
    mean_recall: float
    mean_recall_low: float | None = None
    mean_recall_high: float | None = None
    C: float | None = None
    chosen: bool = False


@dataclass(frozen=True)
class ReportControl:
    """What a trivial method reaches on the same split.

    Parameters
    ----------
    name : str
        The control.
    what : str
        What it is, in a few words.
    accuracy : float
        Fraction in 0..1.
    low, high : float or None
        Ends of the 95 % interval, in 0..1; None where no interval is given.
    """

    name: str
    what: str
    accuracy: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Sheet:
    """A picture on the page.

    Parameters
    ----------
    title, caption : str
        What stands above and below it.
    png : bytes
        A PNG file.
    """

    title: str
    caption: str
    png: bytes = field(repr=False)

    @property
    def data_uri(self) -> str:
        """The picture as a `data:` address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class ReportPage:
    """All that stands on the page; empty parts leave no heading behind.

    Parameters
    ----------
    title, lead : str
        The heading, and one sentence below it.
    facts : list of (name, value)
        For example backbone, weights, pictures, protocol, key, cache.
    heads : list of ReportRow
        The classifiers on codes.
    controls : list of ReportControl
        Trivial methods on the same split, drawn on the same axis.
    warnings : list of str
        What a reader must know before believing the figures.
    bad : list of (path, reason)
        Pictures that were left out.
    sheets : list of Sheet
        Pictures.
    next_steps : list of str
        Shell lines.

    Attributes
    ----------
    template : str
        The file of `templates/` that renders it; other kinds of pages have their own.
    """

    template: ClassVar[str] = "page.html"

    title: str
    lead: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    heads: list[ReportRow] = field(default_factory=list)
    controls: list[ReportControl] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    next_steps: list[str] = field(default_factory=list)


def render_page(page: ReportPage) -> str:
    """Render a page.

    Parameters
    ----------
    page : ReportPage
        The results.

    Returns
    -------
    str
        A whole HTML document that refers to nothing outside itself.

    Examples
    --------
    >>> html = render_page(ReportPage("Ants & bees", "153 pictures."))
    >>> "<h1>Ants &amp; bees</h1>" in html
    True
    """
    import jinja2  # only a report needs it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tlfeatures.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_to_percent, drawing=make_drawing, rate=rate_text)
    return environment.get_template(page.template).render(page=page)


def save_page(page: ReportPage, path: str | os.PathLike[str]) -> Path:
    """Render a page and write it: beside first, then renamed, so that it is whole or absent.

    Parameters
    ----------
    page : ReportPage
        The results.
    path : path
        The file; its folder is made, an older file is replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    data = render_page(page).encode("utf-8", errors="surrogateescape")
    return write_whole(path, data, "the page")


def _to_percent(fraction: float) -> str:
    """Print a fraction in percent with one decimal: 0.9412 -> '94.1'."""
    return f"{100 * fraction:.1f}"
