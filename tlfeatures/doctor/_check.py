"""The doctor's word during other work: one line if it names a mistake. No torch in here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlfeatures.backbones import BackboneRequest, is_file_name
from tlfeatures.errors import TlfeaturesError
from tlfeatures.extraction import Extraction, RunOptions
from tlfeatures.store import AnswerMemo

CHECK_LIMIT = 64  # pictures, at most; mostly 32
MISSING = 0  # what no answer holds
LONGEST = 2000  # characters of a warning
RULES = 3  # raised when the doctor says something else of the same pictures


def check_preprocessing(
    extraction: Extraction,
    request: BackboneRequest,
    run: RunOptions,
    say: Callable[[str], None] = lambda words: None,
) -> str | None:
    """Whether local weights seem to expect another preprocessing than codes were made with.

    A glance at a few pictures, in one thread: `diagnose` sees more. What it found out is remembered
    in the cache folder by weights and preprocessing; where it could not tell, by the pictures too.

    Parameters
    ----------
    extraction : Extraction
        Codes of weights from a file; nothing is asked about others.
    request : BackboneRequest
    run : RunOptions
    say : callable
        Told what is done, if it is.

    Returns
    -------
    str or None
        A warning in one line; None if no mistake is named, or there is nothing to go by.
    """
    if request.needs_probes or not is_file_name(request.weights):
        return None
    of_weights, of_pictures = _questions(extraction)
    memo = AnswerMemo(run.cache_dir)
    for question in (of_weights, of_pictures):
        is_known, warning = _known(memo, question)
        if is_known:
            return warning
    if not Path(str(request.weights)).is_file():
        return None
    say("looking whether these weights expect this preprocessing")
    warning, is_lasting = _ask(extraction, request, run)
    memo.put(of_weights if is_lasting else of_pictures, {"warning": warning})
    return warning


def _questions(extraction: Extraction) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is asked of the weights and their preprocessing, and the same of these pictures."""
    spec = extraction.codes.spec
    asked = {
        "doctor": RULES,
        "backbone": spec.backbone,
        "weights": spec.weights_id,
        "preprocessing": spec.to_json()["preprocessing"],
    }
    keys = hashlib.sha256(b"".join(extraction.codes.keys)).hexdigest()
    return asked, {**asked, "pictures": keys}


def _known(memo: AnswerMemo, question: dict[str, Any]) -> tuple[bool, str | None]:
    """Whether something is remembered, and the warning if it is one; what others wrote is not."""
    warning = (memo.get(question) or {}).get("warning", MISSING)
    is_line = isinstance(warning, str) and warning.isprintable() and len(warning) <= LONGEST
    return (True, warning) if warning is None or is_line else (False, None)


def _ask(
    extraction: Extraction, request: BackboneRequest, run: RunOptions
) -> tuple[str | None, bool]:
    """The warning, if there is one, and whether it holds for other pictures too."""
    from tlfeatures.doctor._candidates import CANNOT_TELL
    from tlfeatures.doctor._diagnose import glance
    from tlfeatures.engine import single_threaded

    try:
        with single_threaded():
            made = glance(extraction.pictures, request, run, limit=CHECK_LIMIT)
    except TlfeaturesError:  # too few pictures, nothing to go by: no reason to stop
        return None, False
    if not made.is_mistake:
        return None, made.verdict != CANNOT_TELL
    words = f"{made.verdict}: {made.words} 'tlfeatures backbones doctor' shows the evidence."
    return words, True
