"""Pages: a plain dataclass of results -> one self-contained HTML file.

Promises everything inlined and escaped, nothing fetched, each figure printed as it was given.
Must not know how results are computed: it reads the fields of their dataclasses.
"""

from __future__ import annotations

from tlfeatures.report._baseline import make_baseline_page, make_model_page
from tlfeatures.report._finetuning import TrainingPage, make_finetuning_page, make_rates_page
from tlfeatures.report._page import (
    ReportControl,
    ReportPage,
    ReportRow,
    Sheet,
    render_page,
    save_page,
)

__all__ = [
    "ReportControl",
    "ReportPage",
    "ReportRow",
    "Sheet",
    "TrainingPage",
    "make_baseline_page",
    "make_finetuning_page",
    "make_model_page",
    "make_rates_page",
    "render_page",
    "save_page",
]
