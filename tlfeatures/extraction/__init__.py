"""Pictures -> codes, through the cache: the engine, the loop over batches, `CNNCodes`, the doctor.

Promises: n given = n coded + n bad; what is cached is never computed again; memory is flat in n.
Must not know: labels' meaning, heads, reports. `extract_codes` needs neither torch nor scikit-learn
when everything is cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures.extraction._chunk import Engine
from tlfeatures.extraction._doctor import Diagnosis, check_preprocessing, diagnose
from tlfeatures.extraction._doctor_candidates import Finding
from tlfeatures.extraction._export import export_pictures
from tlfeatures.extraction._extract import Extraction, Note, Progress, extract_codes
from tlfeatures.extraction._machine import (
    DECODERS,
    DEVICES,
    KERNELS,
    PRECISIONS,
    has_bf16,
    resolve_device,
)
from tlfeatures.extraction._map import end_workers
from tlfeatures.extraction._open import open_engine
from tlfeatures.extraction._options import RunOptions
from tlfeatures.extraction._run import extract, extract_layers
from tlfeatures.extraction._specs import next_contract, spec_of, specs_of

if TYPE_CHECKING:
    from tlfeatures.extraction._estimator import CNNCodes, as_codes, raise_if_bad
    from tlfeatures.extraction._settings import exact_products, is_out_of_memory
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {
            "CNNCodes": "_estimator",
            "as_codes": "_estimator",
            "exact_products": "_settings",
            "is_out_of_memory": "_settings",
            "raise_if_bad": "_estimator",
        },
    )


__all__ = [
    "DECODERS",
    "DEVICES",
    "KERNELS",
    "PRECISIONS",
    "CNNCodes",
    "Diagnosis",
    "Engine",
    "Extraction",
    "Finding",
    "Note",
    "Progress",
    "RunOptions",
    "check_preprocessing",
    "as_codes",
    "diagnose",
    "end_workers",
    "exact_products",
    "export_pictures",
    "extract",
    "extract_codes",
    "extract_layers",
    "has_bf16",
    "is_out_of_memory",
    "next_contract",
    "open_engine",
    "raise_if_bad",
    "resolve_device",
    "spec_of",
    "specs_of",
]
