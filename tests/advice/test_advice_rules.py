"""The rule table: each cell gives its own advice, from its own document."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planted_evidence import make_probes, make_similarity, make_size, plant

from tlfeatures.advice import Evidence, Recommendation, Similarity, Size, choose
from tlfeatures.advice._evidence import SIMILARITIES, SIZES
from tlfeatures.advice._rules import RULES, STRATEGIES, TABLE

CELLS = {
    ("small", "similar"): ("codes", "Strathclyde"),
    ("small", "in between"): ("earlier-codes", "Strathclyde"),
    ("small", "very different"): ("earlier-codes", "Strathclyde"),
    ("medium", "similar"): ("last-blocks", "Deck (CS231n)"),
    ("medium", "in between"): ("last-blocks", "Deck (CS231n)"),
    ("medium", "very different"): ("full", "Deck (CS231n)"),
    ("large", "similar"): ("full", "Strathclyde"),
    ("large", "in between"): ("full", "Strathclyde"),
    ("large", "very different"): ("full", "Strathclyde"),
}


def said_by(advice: Recommendation) -> str:
    """Everything that the documents are quoted with."""
    others = [f"{d.document}: {d.says}" for d in advice.disagreeing]
    return "\n".join([f"{advice.document}: {advice.rule}", *advice.agreeing, *others])


@pytest.mark.parametrize(("cell", "expected"), CELLS.items(), ids=" ".join)
def test_each_cell_has_its_strategy_and_its_document(
    cell: tuple[str, str], expected: tuple[str, str]
) -> None:
    advice = choose(plant(*cell))
    assert (advice.size, advice.similarity) == cell
    assert (advice.strategy, advice.document) == expected
    assert advice.rule.startswith(" and ".join(cell))


def test_no_two_cells_say_the_same() -> None:
    advice = [choose(plant(*cell)) for cell in CELLS]
    assert len({a.sentence for a in advice}) == len({a.rule for a in advice}) == 9


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_each_saying_of_a_cell_is_followed_or_answered(cell: tuple[str, str]) -> None:
    advice = choose(plant(*cell))
    for saying in TABLE[cell]:
        assert saying.says in said_by(advice)
    assert all(d.why for d in advice.disagreeing)


def test_the_table_knows_every_cell_and_only_known_strategies() -> None:
    assert set(TABLE) == {(size, alike) for size in SIZES for alike in SIMILARITIES}
    assert set(TABLE) - set(RULES) == {("small", "in between"), ("small", "very different")}
    assert all(s.strategies <= set(STRATEGIES) for cell in TABLE.values() for s in cell)
    assert all({r.strategy, r.rival} <= set(STRATEGIES) for r in RULES.values())


def test_small_and_different_the_probes_decide_between_strathclyde_and_the_deck() -> None:
    strange = make_similarity(None, peak="very different")
    early = choose(Evidence(make_size(400), strange))
    assert (early.strategy, early.layer, early.document) == (
        "earlier-codes",
        "layer0.4",
        "Strathclyde",
    )
    assert "layer0.4" in early.sentence
    assert any(d.document.startswith("Deck") for d in early.disagreeing)
    unclear = replace(make_similarity("very different"), probes=make_probes(0.4, ahead=0.01))
    late = choose(Evidence(make_size(400), unclear))
    assert (late.strategy, late.document) == ("codes", "Deck (CS231n)")
    assert (late.rival, late.rival_layer) == ("earlier-codes", "layer0.4")
    assert any(
        d.document == "Strathclyde" and "no earlier layer is better" in d.why
        for d in late.disagreeing
    )
    worse = replace(unclear, probes=make_probes(1.0, ahead=0.1))
    assert choose(Evidence(make_size(400), worse)).rival == "last-blocks"


def test_without_probes_no_earlier_layer_is_named() -> None:
    advice = choose(Evidence(make_size(400), Similarity(confidence=0.1, published=0.7)))
    assert (advice.strategy, advice.similarity) == ("codes", "very different")
    assert "none can be named" in advice.sentence


@pytest.mark.parametrize(("n", "why"), [(30_000, "fewer than the 50,000"), (60_000, "would do")])
def test_training_from_scratch_is_overruled_for_another_reason_from_50000_on(
    n: int, why: str
) -> None:
    advice = choose(Evidence(make_size(n), make_similarity("very different")))
    (kumar,) = [d for d in advice.disagreeing if d.says == "train from scratch"]
    assert kumar.why.startswith("R.1")
    assert why in kumar.why
    assert advice.rival == "scratch"


def test_kumars_two_readings_stand_on_either_side() -> None:
    advice = choose(plant("large", "similar"))
    assert any("R.2" in words for words in advice.agreeing)
    (other,) = [d for d in advice.disagreeing if d.document == "Kumar"]
    assert "last layer" in other.says
    assert other.why.startswith("R.2")


def test_the_order_of_guide_and_deck_is_answered_where_the_network_is_trained() -> None:
    trained, kept = choose(plant("medium", "similar")), choose(plant("small", "similar"))
    assert any(d.document.startswith("Deck") and "R.15" in d.why for d in trained.disagreeing)
    assert any(d.document == "Guide" and "R.15" in d.why for d in kept.disagreeing)


@pytest.mark.parametrize("accuracy", [1.0, 0.999])
def test_where_nothing_is_left_to_win_the_codes_stay(accuracy: float) -> None:
    advice = choose(Evidence(make_size(5000, accuracy, slope=0.0), make_similarity("similar")))
    assert advice.strategy == "codes"
    assert advice.document == "none of the documents"
    assert "errors on the held-out side" in advice.sentence
    assert all("errors on the held-out side" in d.why for d in advice.disagreeing)


def test_earlier_codes_that_the_probes_find_better_stay_where_few_errors_are_left() -> None:
    strange = make_similarity(None, peak="very different")
    advice = choose(Evidence(make_size(400, 0.999, slope=0.0), strange))
    assert (advice.strategy, advice.rival) == ("earlier-codes", "codes")


def test_size_alone_is_enough_for_an_advice() -> None:
    advice = choose(Evidence(Size(5000, 10, 500), Similarity()))
    assert advice.strategy == "last-blocks"
    assert "similarity unknown" in advice.rule
    assert "could not be measured" in advice.sentence


def test_the_sentence_follows_the_curve() -> None:
    alike = make_similarity("similar")
    rising = choose(Evidence(make_size(5000, slope=0.06), alike))
    flat = choose(Evidence(make_size(5000, slope=0.0), alike))
    assert (rising.strategy, flat.strategy) == ("codes", "full")
    assert "because the learning curve still rises steeply" in rising.sentence
    assert "because the learning curve is flat" in flat.sentence
