"""Which preprocessing do these weights expect? Told by the network itself, from a few pictures.

Promises: a mistake is named only on evidence; where there is none, "cannot tell" with the reason.
Must not know: labels, heads, reports. `check_preprocessing` needs no torch where it remembers.
"""

from __future__ import annotations

from tlfeatures.doctor._candidates import Finding
from tlfeatures.doctor._diagnose import Diagnosis, check_preprocessing, diagnose

__all__ = ["Diagnosis", "Finding", "check_preprocessing", "diagnose"]
