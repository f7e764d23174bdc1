"""The documents' rules as data (documents.md, F and R), and the choice among them.

Each cell of size x similarity holds what every document says there, which of them is followed, and
why the others are not. What a measurement can settle, it settles.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
    SCRATCH: "train the network from scratch",
}
STRATHCLYDE, KUMAR, DECK, GUIDE, NONE = (
    "Strathclyde",
    "Kumar",
    "Deck (CS231n)",
    "Guide",
    "none of the documents",
)
SIMILAR_TO = "what the network was trained on"


@dataclass(frozen=True)
class Saying:
    """What one document says of a cell, and which strategies agree with it."""

    document: str
    says: str
    strategies: frozenset[str]


@dataclass(frozen=True)
class Rule:
    """Which strategy is taken in a cell.

    Attributes
    ----------
    strategy, document : str
        And the document it comes from.
    rival : str
        The strategy that would most cheaply show the choice to be wrong.
    overruled : dict of str to str
        By strategy, why the documents that ask for it are not followed.
    why : str
        What decides where the documents leave room.
    """

    strategy: str
    document: str
    rival: str
    overruled: dict[str, str] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Disagreement:
    """A document that says something else, and why it is not followed."""

    document: str
    says: str
    why: str


@dataclass(frozen=True)
class Recommendation:
    """What to do, by which rule of which document.

    Attributes
    ----------
    strategy : {"codes", "earlier-codes", "last-blocks", "full", "scratch"}
    layer : str or None
        Of earlier codes.
    size, similarity : str
        The cell of the table.
    rule : str
        The cell and what the followed document says there.
    document : str
    agreeing : tuple of str
        Other documents that say the same, with their words.
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
    document: str
    agreeing: tuple[str, ...]
    disagreeing: tuple[Disagreement, ...]
    sentence: str
    rival: str
    rival_layer: str | None


def _saying(document: str, says: str, *strategies: str) -> Saying:
    return Saying(document, says, frozenset(strategies))


def _if(column: str, *sayings: Saying) -> tuple[Saying, ...]:
    """The sayings of a neighbouring column, for pictures in between."""
    return tuple(replace(s, says=f"{s.says} (if {column})") for s in sayings)


_DECK_SMALL = _saying(DECK, "fix all weights, retrain the classifier", CODES)
_DECK_MEDIUM = _saying(
    DECK, "fine-tune instead: all layers or some of the higher ones", LAST_BLOCKS, FULL
)
_KUMAR_LAST_LAYER = _saying(
    KUMAR, "keep architecture and initial weights, customise only the last layer", CODES
)
_KUMAR_RESIZED = _saying(
    KUMAR, "read as resizing the last layer and training from the given weights (R.2)", FULL
)
_SMALL_SIMILAR = (
    _saying(STRATHCLYDE, "linear classifier on codes", CODES),
    _saying(KUMAR, "do not fine-tune (overfitting)", CODES, EARLIER),
    _DECK_SMALL,
)
_SMALL_DIFFERENT = (
    _saying(STRATHCLYDE, "SVM or softmax on activations somewhere earlier", EARLIER),
    _saying(KUMAR, "customise earlier layers and train the classifier", EARLIER),
    _DECK_SMALL,
)
_LARGE_SIMILAR = (
    _saying(STRATHCLYDE, "fine-tune the full network", FULL),
    _KUMAR_LAST_LAYER,
    _KUMAR_RESIZED,
)
_LARGE_DIFFERENT = (
    _saying(STRATHCLYDE, "fine-tune the entire network", FULL),
    _saying(KUMAR, "train from scratch", SCRATCH),
)
ALWAYS = (
    _saying(GUIDE, "feature extraction first, fine-tuning second, always", LAST_BLOCKS, FULL),
)
TABLE: dict[tuple[str, str], tuple[Saying, ...]] = {
    (SMALL, SIMILAR): _SMALL_SIMILAR,
    (SMALL, BETWEEN): (
        *_if(SIMILAR, *_SMALL_SIMILAR[:2]),
        *_if(DIFFERENT, *_SMALL_DIFFERENT[:2]),
        _DECK_SMALL,
    ),
    (SMALL, DIFFERENT): _SMALL_DIFFERENT,
    (MEDIUM, SIMILAR): (_DECK_MEDIUM,),
    (MEDIUM, BETWEEN): (_DECK_MEDIUM,),
    (MEDIUM, DIFFERENT): (_DECK_MEDIUM,),
    (LARGE, SIMILAR): _LARGE_SIMILAR,
    (LARGE, BETWEEN): (*_if(SIMILAR, *_LARGE_SIMILAR), *_if(DIFFERENT, *_LARGE_DIFFERENT)),
    (LARGE, DIFFERENT): _LARGE_DIFFERENT,
}
_ORDER = Disagreement(
    DECK,
    "fine-tune instead of training on codes first",
    "R.15: the Guide's order is kept, since the classifier on codes costs next to nothing and is "
    "where fine-tuning starts",
)
_TRAIN_IF_SMALL = (
    "R.15: with so few pictures fine-tuning mostly learns them by heart (Kumar), and it costs far "
    "more time"
)
_LAST_LAYER_ONLY = (
    "R.2: with so many pictures a last layer alone leaves unused what they could teach the rest; "
    "Kumar's other reading agrees"
)
RULES: dict[tuple[str, str], Rule] = {
    (SMALL, SIMILAR): Rule(CODES, STRATHCLYDE, LAST_BLOCKS, {FULL: _TRAIN_IF_SMALL}),
    (MEDIUM, SIMILAR): Rule(
        LAST_BLOCKS,
        DECK,
        CODES,
        why="of the Deck's two ways the cheaper one, since the layers below fit such pictures",
    ),
    (MEDIUM, BETWEEN): Rule(
        LAST_BLOCKS,
        DECK,
        FULL,
        why="of the Deck's two ways the cheaper one first; Kumar works backwards from the end as "
        "long as that is not satisfactory (documents.md, C)",
    ),
    (MEDIUM, DIFFERENT): Rule(
        FULL,
        DECK,
        LAST_BLOCKS,
        why="of the Deck's two ways the wider one, since the layers below do not fit such pictures",
    ),
    (LARGE, SIMILAR): Rule(FULL, STRATHCLYDE, LAST_BLOCKS, {CODES: _LAST_LAYER_ONLY}),
    (LARGE, BETWEEN): Rule(FULL, STRATHCLYDE, LAST_BLOCKS, {CODES: _LAST_LAYER_ONLY}),
    (LARGE, DIFFERENT): Rule(FULL, STRATHCLYDE, SCRATCH),
}


def choose(evidence: Evidence) -> Recommendation:
    """Apply the documents' rules to what was measured.

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
    cell = (size.verdict, similarity.verdict)
    rule = _without_room(size, _rule_of(cell, size, similarity))
    sayings = (*TABLE[cell], *ALWAYS)
    alike = [saying for saying in sayings if rule.strategy in saying.strategies]
    followed = next((saying for saying in alike if saying.document == rule.document), None)
    agreeing = tuple(f"{s.document}: {s.says}" for s in alike if s is not followed)
    cell_words = (
        f"{cell[0]} and {cell[1]}" if similarity.votes else f"{cell[0]}, similarity unknown"
    )
    return Recommendation(
        strategy=rule.strategy,
        layer=_layer_of(rule.strategy, similarity),
        size=cell[0],
        similarity=cell[1],
        rule=f"{cell_words}: {rule.why if followed is None else followed.says}",
        document=rule.document,
        agreeing=agreeing,
        disagreeing=_disagreeing(rule, sayings),
        sentence=_sentence(rule, size, similarity),
        rival=rule.rival,
        rival_layer=_layer_of(rule.rival, similarity),
    )


def _rule_of(cell: tuple[str, str], size: Size, similarity: Similarity) -> Rule:
    if cell[0] == SMALL and cell[1] != SIMILAR:
        return _small_rule(similarity)
    if cell == (SMALL, SIMILAR) and similarity.peaks_early:
        return Rule(CODES, STRATHCLYDE, EARLIER, {FULL: _TRAIN_IF_SMALL})
    rule = RULES[cell]
    if cell[0] != LARGE or cell[1] == SIMILAR:
        return rule
    return replace(rule, overruled={**rule.overruled, SCRATCH: _why_not_scratch(size)})


def _small_rule(similarity: Similarity) -> Rule:
    """Earlier codes or the usual ones: Strathclyde and the Deck disagree, the probes decide."""
    if similarity.peaks_early:
        peak = similarity.peak
        measured = f"the probes find better codes at {peak.layer if peak else ''}, beyond doubt"
        over = {CODES: measured, FULL: _TRAIN_IF_SMALL}
        return Rule(EARLIER, STRATHCLYDE, CODES, over, measured)
    earlier = similarity.best_earlier
    if earlier is None:
        words = "no earlier layer could be probed, so none can be named"
        return Rule(CODES, DECK, LAST_BLOCKS, {EARLIER: words, FULL: _TRAIN_IF_SMALL}, words)
    words = f"by the probes no earlier layer is better beyond doubt (the best is {earlier.layer})"
    rival = LAST_BLOCKS if earlier.is_behind else EARLIER
    return Rule(CODES, DECK, rival, {EARLIER: words, FULL: _TRAIN_IF_SMALL}, words)


def _why_not_scratch(size: Size) -> str:
    if size.n < SCRATCH_FROM.value:
        return (
            f"R.1: {size.n:,} pictures are fewer than the {SCRATCH_FROM.value:,.0f} that "
            "Strathclyde asks for training from scratch, and at a fitting rate given weights are "
            "no worse a start than random ones (R.16)"
        )
    return (
        f"R.1: {size.n:,} pictures would do by Strathclyde's figure, but published comparisons "
        "find given weights level or ahead even then; one run of each would tell"
    )


def _without_room(size: Size, rule: Rule) -> Rule:
    """The classifier on codes, where no test on these pictures could show anything better."""
    left = size.errors_to_win
    if left is None or left >= ROOM.value or rule.strategy not in TRAINED:
        return rule
    words = (
        f"too little is left to win: about {left:.1f} errors on the held-out side, and fewer than "
        f"{ROOM.value:.0f} cannot show that anything is better"
    )
    return Rule(CODES, NONE, LAST_BLOCKS, dict.fromkeys(STRATEGIES, words), words)


def _disagreeing(rule: Rule, sayings: tuple[Saying, ...]) -> tuple[Disagreement, ...]:
    others = [s for s in sayings if rule.strategy not in s.strategies]
    found = [Disagreement(s.document, s.says, _why_not(s, rule)) for s in others]
    is_order_open = _DECK_MEDIUM in sayings and rule.strategy in TRAINED
    return (*found, _ORDER) if is_order_open else tuple(found)


def _why_not(saying: Saying, rule: Rule) -> str:
    wanted = (strategy for strategy in rule.overruled if strategy in saying.strategies)
    return rule.overruled[next(wanted)]


def _layer_of(strategy: str, similarity: Similarity) -> str | None:
    earlier = similarity.peak if similarity.peaks_early else similarity.best_earlier
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
    return f"{words[similarity.verdict]} ({_signal_words(similarity)})"


def _signal_words(similarity: Similarity) -> str:
    found = []
    if similarity.relative_confidence is not None:
        found.append(
            f"its own head is {100 * similarity.relative_confidence:.0f} % as confident as usual"
        )
    if similarity.peak is not None and similarity.peaks_early:
        found.append(f"probing peaks at {100 * similarity.peak.depth:.0f} % of its depth")
    return ", ".join(found)
