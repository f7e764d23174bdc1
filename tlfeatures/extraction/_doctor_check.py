"""The doctor's word during other work: one line if it names a mistake. No torch in here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tlfeatures.backbones import BackboneRequest, is_file_name
from tlfeatures.errors import TlfeaturesError
from tlfeatures.extraction._extract import Extraction
from tlfeatures.extraction._options import RunOptions
from tlfeatures.store import AnswerMemo

CHECK_LIMIT = 64  # pictures: a few seconds
RULES = 1  # raised when the doctor says something else of the same pictures


def check_preprocessing(
    extraction: Extraction,
    request: BackboneRequest,
    run: RunOptions,
    say: Callable[[str], None] = lambda words: None,
) -> str | None:
    """Whether local weights seem to expect another preprocessing than codes were made with.

    Asked once for the same codes; the cache folder remembers what was said.

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
    keys = hashlib.sha256(b"".join(extraction.codes.keys)).hexdigest()
    question = {"doctor": RULES, "pictures": keys, "spec": extraction.codes.spec.to_json()}
    memo = AnswerMemo(run.cache_dir)
    known = memo.get(question)
    if known is None and Path(str(request.weights)).is_file():
        say("looking whether these weights expect this preprocessing")
        known = {"warning": _ask(extraction, request, run)}
        memo.put(question, known)
    return known["warning"] if known else None


def _ask(extraction: Extraction, request: BackboneRequest, run: RunOptions) -> str | None:
    from tlfeatures.extraction._doctor import diagnose

    try:
        made = diagnose(extraction.pictures, request, run, limit=CHECK_LIMIT)
    except TlfeaturesError:  # too few pictures, nothing to go by: no reason to stop
        return None
    if not made.is_mistake:
        return None
    return f"{made.verdict}: {made.words} 'tlfeatures backbones doctor' shows the evidence."
