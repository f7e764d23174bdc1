"""Pictures -> codes, through the cache: keys, the plan, the map over chunks, `CNNCodes`.

Promises: n given = n coded + n bad; what is cached is never computed again; memory is flat in n.
Must not know: labels' meaning, heads, reports. `extract_codes` needs neither torch nor scikit-learn
when everything is cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures.extraction._extract import extract_codes
from tlfeatures.extraction._open import open_engine
from tlfeatures.extraction._resolve import Resolved, next_contract, resolve
from tlfeatures.extraction._result import Extraction, Note, Progress, raise_if_bad
from tlfeatures.extraction._run import extract, extract_layers
from tlfeatures.extraction._survey import Survey, survey
from tlfeatures.extraction.chunks._map import end_workers
from tlfeatures.extraction.planning._options import RunOptions, settle
from tlfeatures.extraction.planning._rates import Pace, pace_of, remember_pace

if TYPE_CHECKING:
    from tlfeatures.extraction._estimator import CNNCodes, as_codes
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {
            "CNNCodes": "_estimator",
            "as_codes": "_estimator",
        },
    )


__all__ = [
    "CNNCodes",
    "Extraction",
    "Note",
    "Pace",
    "Progress",
    "Resolved",
    "RunOptions",
    "Survey",
    "as_codes",
    "end_workers",
    "extract",
    "extract_codes",
    "extract_layers",
    "next_contract",
    "open_engine",
    "pace_of",
    "raise_if_bad",
    "remember_pace",
    "resolve",
    "settle",
    "survey",
]
