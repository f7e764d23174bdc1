"""The doctor: which preprocessing do these weights expect?

Several preprocessings are tried on some of the person's own pictures; those that the evidence
excludes are left out, and what was asked for is compared with each that remains. If all of them say
the same of it, that is the verdict; otherwise the doctor cannot tell. No torch until it looks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlfeatures.backbones import BackboneRequest, Preprocessing, is_file_name, random_seed
from tlfeatures.doctor._candidates import (
    CANNOT_TELL,
    OTHER,
    PRESETS,
    RIGHT,
    SIZE,
    Candidate,
    Finding,
    check_count,
    make_named,
)
from tlfeatures.errors import TlfeaturesError, UsageError
from tlfeatures.extraction import Extraction, RunOptions, settle
from tlfeatures.store import AnswerMemo

if TYPE_CHECKING:
    from tlfeatures.backbones import Network
    from tlfeatures.doctor._examination import Examination
    from tlfeatures.pictures import Pictures

LIMIT = 160  # pictures: the head's differences are small, 64 tell too seldom
GLANCE_LIMIT = 64  # pictures of a glance, bad ones included; it mostly looks at 32
MISSING = 0  # what no answer holds
LONGEST = 2000  # characters of a warning
RULES = 4  # raised when the doctor says something else of the same pictures
WORDS = {
    "BGR": "the channels in the opposite order",
    "0-255": "values of 0-255 that were not scaled",
    "no mean/std": "values without mean and standard deviation taken off",
    "normalised twice": "values normalised twice",
    OTHER: "something else",
}


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says.

    Attributes
    ----------
    verdict : str
        "right"; a mistake: "BGR", "0-255", "no mean/std", "tf", "caffe", "imagenet" (the one that
        was asked for, where another is expected), "normalised twice", "wrong input size", "other";
        or "cannot tell".
    words : str
        One sentence, with what to do.
    applied : dict
        The preprocessing that was asked for.
    expected : list of str
        The candidates that remain.
    candidates : list of Finding
    n_pictures : int
        That were looked at and could be read.
    bad : list of (path, reason)
    """

    verdict: str
    words: str
    applied: dict[str, Any]
    expected: list[str]
    candidates: list[Finding]
    n_pictures: int
    bad: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_mistake(self) -> bool:
        """Whether a mistake is named."""
        return self.verdict not in (RIGHT, CANNOT_TELL)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the key names of the command line."""
        return {**asdict(self), "bad": [{"path": p, "reason": r} for p, r in self.bad]}


def diagnose(
    pictures: Pictures,
    request: BackboneRequest,
    run: RunOptions | None = None,
    *,
    limit: int = LIMIT,
    is_glance: bool = False,
) -> Diagnosis:
    """Find out whether these weights expect the preprocessing that was asked for.

    Parameters
    ----------
    pictures : Pictures
        Ordinary photographs tell most; labels play no part.
    request : BackboneRequest
        Its preprocess, input_size, ... are what is applied.
    run : RunOptions, optional
        Device and decoding.
    limit : int, default=160
        Pictures looked at.
    is_glance : bool, default=False
        A tenth of the work: nothing is told of sizes, nor of networks without batch norms.

    Returns
    -------
    Diagnosis

    Raises
    ------
    UsageError
        For a network or preprocess function of one's own, random weights, or a size at which the
        network does not run.
    WeightsError
        If the weights cannot be had, or the network has nothing to go by.
    PicturesError
        If fewer than 16 pictures can be read.
    """
    from tlfeatures.backbones import check_before_weights, load_network
    from tlfeatures.doctor._evidence import Patient, Sample
    from tlfeatures.doctor._examination import Examination
    from tlfeatures.engine import computing

    run = run or RunOptions()
    _check_request(request)
    check_count(min(len(pictures), limit))
    check_before_weights(request, (None,))
    network = load_network(request)
    asked, published = undo_input_transform(network)
    if asked is None:
        raise UsageError(
            f"{network.name} prepares pictures in a way of its own, which cannot be compared."
        )
    network.module.to(settle(run, request).device)
    patient, sample = Patient(network.module), Sample(pictures, run.decode_options, limit)
    try:
        with computing(str(patient.device.type), "float32"):
            return make_diagnosis(
                Examination(patient, sample, asked, published, is_glance=is_glance)
            )
    except TlfeaturesError:
        raise
    except Exception as error:  # pictures smaller than the network's own strides, for one
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"{network.name} cannot be examined with pictures of {asked.input_size} pixels: "
            f"{line}; check `input_size`."
        ) from error


def make_diagnosis(found: Examination) -> Diagnosis:
    """Carry the examination out and put it into words."""
    verdict = found.verdict()
    return Diagnosis(
        verdict=verdict,
        words=_words(verdict, found),
        applied=found.asked.to_json(),
        expected=[c.name for c in found.possible],
        candidates=list(found.findings.values()),
        n_pictures=len(found.sample.short_sides),
        bad=found.sample.bad,
    )


def _check_request(request: BackboneRequest) -> None:
    """Refuse what has no preprocessing to find out."""
    if request.is_own:
        raise UsageError(
            "the doctor knows published networks only; what a network of your own was trained "
            "with, its training script says."
        )
    if random_seed(request.weights) is not None:
        raise UsageError("random weights expect nothing; give `weights=FILE` or an entry's name.")
    if request.needs_probes:
        raise UsageError(
            "a preprocess function cannot be compared; give its numbers as a Preprocessing."
        )


def undo_input_transform(network: Network) -> tuple[Preprocessing | None, Preprocessing | None]:
    """What reaches the first layer, asked and published; None where a function prepares pictures.

    GoogLeNet and Inception v3 rescale an input normalised as for ImageNet to -1..1 themselves.
    """
    asked, published = (
        p if isinstance(p, Preprocessing) else None
        for p in (network.preprocessing, network.published)
    )
    module: Any = network.module
    if hasattr(module, "transform_input") and asked is not None:
        tf = make_named("tf")
        numbers: dict[str, Any] = {"divide_by": tf.divide_by, "mean": tf.mean, "std": tf.std}
        if module.transform_input:
            asked = replace(asked, **numbers)
        published = published and replace(published, **numbers)
        module.transform_input = False
    return asked, published


def _words(verdict: str, found: Examination) -> str:
    """The verdict in a sentence, with what to do."""
    names = " or ".join(c.name for c in found.possible)
    size, published = found.asked.input_size, found.published_side
    if verdict == RIGHT:
        return f"these weights behave as they should with {names} at {size} pixels."
    if verdict == SIZE:
        return (
            f"these weights do worse at {size} pixels than at the published {published}; "
            f"use `input_size={published}`."
        )
    if verdict == CANNOT_TELL:
        why = "; ".join(dict.fromkeys(found.reasons)) or "these pictures tell too little"
        return f"cannot tell: {why}. What remains possible: {names or 'nothing'}."
    what = WORDS.get(verdict, f"values as for {verdict}")
    cure = _cure(found.possible[0], "use" if len(found.possible) == 1 else "try")
    return f"these weights look as if they expect {names}, but are fed {what}; {cure}"


def _cure(expected: Candidate, verb: str) -> str:
    """What to type."""
    if expected.name in PRESETS:
        return f"{verb} `preprocess='{expected.name}'`."
    if expected.name == "published":
        return "leave `preprocess` out."
    p = expected.preprocessing
    numbers = f"divide_by={p.divide_by:g}, mean={p.mean}, std={p.std}, order={p.order!r}"
    return f"from Python: Preprocessing({p.resize}, {p.input_size}, {numbers})."


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
    from tlfeatures.engine import single_threaded

    try:
        with single_threaded():
            made = diagnose(extraction.pictures, request, run, limit=GLANCE_LIMIT, is_glance=True)
    except TlfeaturesError:  # too few pictures, nothing to go by: no reason to stop
        return None, False
    if not made.is_mistake:
        return None, made.verdict != CANNOT_TELL
    words = f"{made.verdict}: {made.words} 'tlfeatures backbones doctor' shows the evidence."
    return words, True
