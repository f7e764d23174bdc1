"""The rules of the field as data, and the choice among them.

Each cell of size x similarity holds the rule that is followed there with its source, what other
sources say, and why they are not followed. What a measurement can settle, it settles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlfeatures.advice._evidence import (
    BETWEEN,
    DIFFERENT,
    LARGE,
    MEDIUM,
    ROOM,
    SCRATCH_FROM,
    SIMILAR,
    SMALL,
    Evidence,
    Similarity,
    Size,
)

CODES, EARLIER, LAST_BLOCKS, FULL, SCRATCH = STRATEGIES = (
    "codes",
    "earlier-codes",
    "last-blocks",
    "full",
    "scratch",
)
TRAINED = frozenset({LAST_BLOCKS, FULL, SCRATCH})  # those that change the network
STRATEGY_WORDS = {
    CODES: "keep the network as it is and train a linear classifier on its codes",
    EARLIER: "keep the network as it is and train a linear classifier on codes of an earlier layer",
    LAST_BLOCKS: "fine-tune the last block of the network, starting from the classifier on codes",
    FULL: "fine-tune the whole network, starting from the classifier on codes",
}
NOTES, LECTURE = "CS231n notes on transfer learning", "CS231n 2016, lecture 7"
GRADUAL, THUMB = "Howard and Ruder 2018", "rule of thumb"
SIMILAR_TO = "what the network was trained on"


@dataclass(frozen=True)
class Disagreement:
    """A source that says something else, and why it is not followed."""

    source: str
    says: str
    why: str


@dataclass(frozen=True)
class Rule:
    """Which strategy is taken, and what speaks for it and against it.

    Attributes
    ----------
    strategy, source, says : str
        What the source says there.
    rival : str
        The strategy that would most cheaply show the choice to be wrong.
    against : tuple of Disagreement
    why : str
        What decides where the sources leave room.
    """

    strategy: str
    source: str
    says: str
    rival: str
    against: tuple[Disagreement, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Recommendation:
    """What to do, by which rule of which source.

    Attributes
    ----------
    strategy : {"codes", "earlier-codes", "last-blocks", "full", "scratch"}
    layer : str or None
        Of earlier codes.
    size, similarity : str
        The cell of the table.
    rule : str
        The cell and what the source says there.
    source : str
    disagreeing : tuple of Disagreement
    sentence : str
    rival : str
        The strategy to try beside it: the cheapest experiment that would settle the matter.
    rival_layer : str or None
    """

    strategy: str
    layer: str | None
    size: str
    similarity: str
    rule: str
    source: str
    disagreeing: tuple[Disagreement, ...]
    sentence: str
    rival: str
    rival_layer: str | None


_LECTURE_SMALL = "fix all weights, retrain the classifier"
_NOTES_SMALL = "train the classifier on activations somewhere earlier in the network"
_LECTURE_MEDIUM = "fine-tune instead: all layers or some of the higher ones"
_GRADUAL = Disagreement(
    GRADUAL,
    "fine-tune one layer after another, with few examples too",
    "that was text; with so few pictures fine-tuning mostly learns them by heart, and it costs far "
    "more time",
)
_INSTEAD = Disagreement(
    LECTURE,
    "fine-tune instead of training a classifier on codes first",
    "the classifier costs next to nothing and is where fine-tuning starts (Kumar et al. 2022)",
)
_LAST_LAYER_ONLY = Disagreement(
    THUMB,
    "keep the weights, replace the last layer only",
    "with so many pictures a last layer alone leaves unused what they could teach the others",
)
RULES: dict[tuple[str, str], Rule] = {
    (SMALL, SIMILAR): Rule(
        CODES, NOTES, "train a linear classifier on the codes", LAST_BLOCKS, (_GRADUAL,)
    ),
    (MEDIUM, SIMILAR): Rule(
        LAST_BLOCKS,
        LECTURE,
        _LECTURE_MEDIUM,
        CODES,
        (_INSTEAD,),
        "of the two ways the cheaper one, since the layers below fit such pictures",
    ),
    (MEDIUM, BETWEEN): Rule(
        LAST_BLOCKS,
        LECTURE,
        _LECTURE_MEDIUM,
        FULL,
        (_INSTEAD,),
        "of the two ways the cheaper one first; where that is not enough, work backwards from the "
        f"end ({THUMB})",
    ),
    (MEDIUM, DIFFERENT): Rule(
        FULL,
        LECTURE,
        _LECTURE_MEDIUM,
        LAST_BLOCKS,
        (_INSTEAD,),
        "of the two ways the wider one, since the layers below do not fit such pictures",
    ),
    (LARGE, SIMILAR): Rule(
        FULL, NOTES, "fine-tune through the full network", LAST_BLOCKS, (_LAST_LAYER_ONLY,)
    ),
    (LARGE, BETWEEN): Rule(
        FULL,
        NOTES,
        "fine-tune through the full network, similar or not",
        LAST_BLOCKS,
        (replace(_LAST_LAYER_ONLY, says=f"{_LAST_LAYER_ONLY.says} (if similar)"),),
    ),
    (LARGE, DIFFERENT): Rule(FULL, NOTES, "fine-tune through the entire network", SCRATCH),
}


def choose(evidence: Evidence) -> Recommendation:
    """Apply the rules of the field to what was measured.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    Recommendation

    Examples
    --------
    >>> from tlfeatures.advice import Similarity, Size
    >>> few, alike = Size(400, 2, 200), Similarity(confidence=0.7, published=0.7)
    >>> choose(Evidence(few, alike)).strategy
    'codes'
    """
    size, similarity = evidence.size, evidence.similarity
    rule = _without_room(size, _rule_of(size, similarity))
    alike = f"and {similarity.verdict}" if similarity.votes else "similarity unknown"
    return Recommendation(
        strategy=rule.strategy,
        layer=_layer_of(rule.strategy, similarity),
        size=size.verdict,
        similarity=similarity.verdict,
        rule=f"{size.verdict}{' ' if similarity.votes else ', '}{alike}: {rule.says}",
        source=rule.source,
        disagreeing=rule.against,
        sentence=_sentence(rule, size, similarity),
        rival=rule.rival,
        rival_layer=_layer_of(rule.rival, similarity),
    )


def _rule_of(size: Size, similarity: Similarity) -> Rule:
    cell = (size.verdict, similarity.verdict)
    if size.verdict == SMALL and similarity.verdict != SIMILAR:
        return _small_rule(similarity)
    rule = RULES[cell]
    if cell == (SMALL, SIMILAR) and similarity.early_peak is not None:
        return replace(rule, rival=EARLIER)
    if size.verdict == LARGE and similarity.verdict != SIMILAR:
        return replace(rule, against=(*rule.against, _from_scratch(size, similarity)))
    return rule


def _small_rule(similarity: Similarity) -> Rule:
    """Earlier codes or the usual ones: the notes and the lecture disagree, the probes decide."""
    if similarity.early_peak is not None:
        why = f"the probes find better codes at {similarity.early_peak.layer}, beyond doubt"
        against = (Disagreement(LECTURE, _LECTURE_SMALL, why), _GRADUAL)
        return Rule(EARLIER, NOTES, _NOTES_SMALL, CODES, against, why)
    earlier = similarity.best_earlier
    if earlier is None:
        why = "no earlier layer could be probed, so none can be named"
    else:
        why = f"by the probes no earlier layer is better beyond doubt (the best is {earlier.layer})"
    against = (Disagreement(NOTES, _NOTES_SMALL, why), _GRADUAL)
    rival = LAST_BLOCKS if earlier is None or earlier.is_behind else EARLIER
    return Rule(CODES, LECTURE, _LECTURE_SMALL, rival, against, why)


def _from_scratch(size: Size, similarity: Similarity) -> Disagreement:
    says = "train from scratch"
    if similarity.verdict == BETWEEN:
        says = f"{says} (if very different)"
    if size.n < SCRATCH_FROM.value:
        why = (
            f"{size.n:,} pictures are fewer than the {SCRATCH_FROM.value:,.0f} that training from "
            f"scratch takes ({THUMB}), and at a fitting rate given weights are no worse a start "
            "than random ones (Yosinski et al. 2014)"
        )
    else:
        why = (
            f"{size.n:,} pictures would do, but given weights come out level or ahead even then "
            "(Kornblith et al. 2019); one run of each would tell"
        )
    return Disagreement(THUMB, says, why)


def _without_room(size: Size, rule: Rule) -> Rule:
    """The classifier on codes, where no test on these pictures could show anything better."""
    left = size.errors_to_win
    if left is None or left >= ROOM.value or rule.strategy not in TRAINED:
        return rule
    words = (
        f"too little is left to win: about {left:.1f} errors on the held-out side, and fewer than "
        f"{ROOM.value:.0f} cannot show that anything is better"
    )
    against = (Disagreement(rule.source, rule.says, words),)
    return Rule(CODES, "exact McNemar test", words, LAST_BLOCKS, against, words)


def _layer_of(strategy: str, similarity: Similarity) -> str | None:
    earlier = similarity.early_peak or similarity.best_earlier
    return earlier.layer if strategy == EARLIER and earlier is not None else None


def _sentence(rule: Rule, size: Size, similarity: Similarity) -> str:
    words = STRATEGY_WORDS[rule.strategy]
    layer = _layer_of(rule.strategy, similarity)
    advice = words.replace("an earlier layer", f"an earlier layer, {layer}") if layer else words
    why = f"; {rule.why}" if rule.why else ""
    return f"{advice[0].upper()}{advice[1:]}: {_size_words(size)}, and {_alike(similarity)}{why}."


def _size_words(size: Size) -> str:
    median = f"{size.per_class:,} in the median class"
    count = f"{size.n:,} training pictures ({median}) count as {size.verdict}"
    if size.verdict == size.by_count:
        return count
    return f"{count}, because the learning curve {size.curve_says}"


def _alike(similarity: Similarity) -> str:
    if not similarity.votes:
        return f"whether they resemble {SIMILAR_TO} could not be measured"
    words = {
        SIMILAR: f"they are similar to {SIMILAR_TO}",
        BETWEEN: f"they are partly like {SIMILAR_TO}, partly not",
        DIFFERENT: f"they are very different from {SIMILAR_TO}",
    }
    found = []
    if similarity.relative_confidence is not None:
        share = f"{100 * similarity.relative_confidence:.0f} %"
        found.append(f"its own head is {share} as confident as usual")
    if similarity.early_peak is not None:
        share = f"{100 * similarity.early_peak.depth:.0f} %"
        found.append(f"probing peaks at {share} of its depth")
    return f"{words[similarity.verdict]} ({', '.join(found)})"
