"""Draw, extract, fit, search, write the sheet, the model and the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlfeatures._targets import expand
from tlfeatures.demo._digits import WHAT_WAS_DONE, write_digits
from tlfeatures.pictures import contact_sheet, load_pictures, png_bytes

if TYPE_CHECKING:
    from tlfeatures.classification import Baseline
    from tlfeatures.extraction import CNNCodes

QUERIES, NEIGHBOURS = 3, 8
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
    """

    baseline: Baseline
    places: dict[str, Path]
    next_steps: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `fit --json`, plus report and sheet."""
        paths = {name: str(self.places[name]) for name in ("model", "report", "sheet")}
        return {**self.baseline.to_json(), **paths}


def run_demo(
    out: str | Path,
    codes: CNNCodes,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda words: None,
) -> DemoResult:
    """Run the main job into the folder `out`.

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
        If the folder cannot be written.
    """
    from tlfeatures.classification import evaluate_baseline
    from tlfeatures.report import Sheet, make_baseline_page, save_page
    from tlfeatures.search import ImageIndex

    folder = expand(out)
    say(f"drawing the pictures. {WHAT_WAS_DONE}")
    pictures = load_pictures(write_digits(folder / "pictures", seed))
    say(f"extracting the codes of {len(pictures)} pictures with the network {codes.backbone!r}")
    baseline = evaluate_baseline(pictures, codes, random_state=seed, say=say)
    model = baseline.classifier.save(folder / "digits.model", with_weights=True)
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
    sheet = png_bytes(image)
    sheet_path = folder / "neighbours.png"
    sheet_path.write_bytes(sheet)
    page = replace(
        make_baseline_page(
            baseline, title="tlfeatures demo: handwritten digits", lead=WHAT_WAS_DONE
        ),
        sheets=[
            Sheet("Nearest neighbours", "Label and cosine distance under each picture.", sheet)
        ],
        next_steps=list(NEXT_STEPS),
    )
    report = save_page(page, folder / "report.html")
    places = {
        "pictures": folder / "pictures",
        "model": model,
        "sheet": sheet_path,
        "report": report,
    }
    return DemoResult(baseline, places, NEXT_STEPS)
