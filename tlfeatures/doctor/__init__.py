"""Which preprocessing do these weights expect? Told by the network itself, from a few pictures.

Promises: a mistake is named only on evidence; where there is none, "cannot tell" with the reason.
Must not know: labels, heads, reports. `check_preprocessing` needs no torch where it remembers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures.doctor._check import check_preprocessing

if TYPE_CHECKING:
    from tlfeatures.doctor._diagnose import Diagnosis, diagnose
    from tlfeatures.doctor._evidence import Finding
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {"Diagnosis": "_diagnose", "Finding": "_evidence", "diagnose": "_diagnose"},
    )

__all__ = ["Diagnosis", "Finding", "check_preprocessing", "diagnose"]
