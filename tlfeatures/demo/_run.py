"""Draw, extract, fit, search, write the sheet, the model and the page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlfeatures._targets import check_target, expand, write_whole
from tlfeatures.demo._digits import WHAT_WAS_DONE, write_digits
from tlfeatures.pictures import contact_sheet, load_pictures, png_bytes

if TYPE_CHECKING:
    from tlfeatures.classification import Baseline
    from tlfeatures.extraction import CNNCodes
    from tlfeatures.report import ReportPage

QUERIES, NEIGHBOURS = 3, 8
FILES = {
    "pictures": "pictures",
    "model": "digits.model",
    "sheet": "neighbours.png",
    "report": "report.html",
}
NEXT_STEPS = (
    "tlfeatures fit MY_PICTURES --backbone embedded --out my.model --report my.html",
    "tlfeatures fit MY_PICTURES --backbone resnet50 --out my.model --report my.html",
    "tlfeatures predict my.model NEW_PICTURES",
    "tlfeatures search MY_PICTURES --query ONE.jpg --sheet neighbours.png",
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes
    ----------
    baseline : Baseline
    places : dict of str to Path
        pictures, model, sheet, report.
    next_steps : tuple of str
        Shell lines for one's own folder.
    sheet : bytes
        Queries and neighbours, a PNG file.
    """

    baseline: Baseline
    places: dict[str, Path]
    next_steps: tuple[str, ...]
    sheet: bytes = field(repr=False)

    def save(self) -> None:
        """Write sheet, model and page, as far as one can be written whatever the others cannot.

        Raises
        ------
        ModelFileError, OutputError
            The first that cannot be written.
        """
        from tlfeatures.report import save_page

        with ExitStack() as all_are_tried:  # in the order model, sheet, report
            all_are_tried.callback(save_page, self.page(), self.places["report"])
            all_are_tried.callback(write_whole, self.places["sheet"], self.sheet, "the sheet")
            save = self.baseline.classifier.save
            all_are_tried.callback(save, self.places["model"], with_weights=True)

    def page(self) -> ReportPage:
        """The result as a page."""
        from tlfeatures.report import Sheet, make_baseline_page

        caption = "Label and cosine distance under each picture."
        title = "tlfeatures demo: handwritten digits"
        return replace(
            make_baseline_page(self.baseline, title=title, lead=WHAT_WAS_DONE),
            sheets=[Sheet("Nearest neighbours", caption, self.sheet)],
            next_steps=list(NEXT_STEPS),
        )

    def to_json(self) -> dict[str, Any]:
        """As `fit --json`, plus report and sheet."""
        paths = {name: str(self.places[name]) for name in ("model", "report", "sheet")}
        return {**self.baseline.to_json(), **paths}


def make_demo(
    out: str | Path,
    codes: CNNCodes,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda words: None,
) -> DemoResult:
    """Run the main job into the folder `out`; the result's `save` writes model, sheet and page.

    Parameters
    ----------
    out : path
    codes : CNNCodes
    seed : int, default=0
        Of the drawing and of the split.
    say : callable
        Told in words what is done next.

    Raises
    ------
    OutputError
        If the folder cannot be written; said before any work is done.
    """
    from tlfeatures.classification import evaluate_baseline
    from tlfeatures.search import ImageIndex

    places = {name: expand(out) / file for name, file in FILES.items()}
    for name in ("model", "sheet", "report"):
        check_target(places[name], f"the {name}")
    say(f"drawing the pictures. {WHAT_WAS_DONE}")
    pictures = load_pictures(write_digits(places["pictures"], seed))
    say(f"extracting the codes of {len(pictures)} pictures with the network {codes.backbone!r}")
    baseline = evaluate_baseline(pictures, codes, random_state=seed, say=say)
    say(f"searching the neighbours of {QUERIES} held-out pictures among the training pictures")
    labels: Any = baseline.test.labels
    chosen = [int(np.flatnonzero(labels == c)[0]) for c in ("3", "6", "8")[:QUERIES]]
    queries = baseline.test[chosen]
    found = ImageIndex(codes).fit(baseline.train).search(queries, NEIGHBOURS)
    rows = [[q, *(h.path for h in hits)] for q, hits in zip(queries.paths, found, strict=True)]
    captions = [
        [f"query: {label}", *(f"{h.label}   {h.distance:.3f}" for h in hits)]
        for label, hits in zip(queries.labels, found, strict=True)
    ]
    image = contact_sheet(rows, captions=captions, title="Query, and its nearest training pictures")
    return DemoResult(baseline, places, NEXT_STEPS, png_bytes(image))
