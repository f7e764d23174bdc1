"""The rule table: each cell gives its own advice, from its own source."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planted_evidence import make_probes, make_similarity, make_size, plant

from tlfeatures.advice import Evidence, Similarity, Size, choose
from tlfeatures.advice._evidence import SIMILARITIES, SIZES
from tlfeatures.advice._rules import LECTURE, NOTES, RULES, STRATEGIES

CELLS = {
    ("small", "similar"): ("codes", NOTES),
    ("small", "in between"): ("earlier-codes", NOTES),
    ("small", "very different"): ("earlier-codes", NOTES),
    ("medium", "similar"): ("last-blocks", LECTURE),
    ("medium", "in between"): ("last-blocks", LECTURE),
    ("medium", "very different"): ("full", LECTURE),
    ("large", "similar"): ("full", NOTES),
    ("large", "in between"): ("full", NOTES),
    ("large", "very different"): ("full", NOTES),
}


@pytest.mark.parametrize(("cell", "expected"), CELLS.items(), ids=" ".join)
def test_each_cell_has_its_strategy_and_its_source(
    cell: tuple[str, str], expected: tuple[str, str]
) -> None:
    advice = choose(plant(*cell))
    assert (advice.size, advice.similarity) == cell
    assert (advice.strategy, advice.source) == expected
    assert advice.rule.startswith(" and ".join(cell))


def test_no_two_cells_say_the_same() -> None:
    advice = [choose(plant(*cell)) for cell in CELLS]
    assert len({a.sentence for a in advice}) == len({a.rule for a in advice}) == 9


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_who_says_something_else_is_named_and_answered(cell: tuple[str, str]) -> None:
    advice = choose(plant(*cell))
    assert advice.disagreeing
    assert all(d.source and d.says and d.why for d in advice.disagreeing)


def test_the_table_knows_every_cell_and_only_known_strategies() -> None:
    measured = {("small", "in between"), ("small", "very different")}
    assert set(RULES) | measured == {(size, alike) for size in SIZES for alike in SIMILARITIES}
    assert all({r.strategy, r.rival} <= set(STRATEGIES) for r in RULES.values())


def test_small_and_different_the_probes_decide_between_notes_and_lecture() -> None:
    strange = make_similarity(None, peak="very different")
    early = choose(Evidence(make_size(400), strange))
    assert (early.strategy, early.layer, early.source) == (
        "earlier-codes",
        "layer0.4",
        NOTES,
    )
    assert "layer0.4" in early.sentence
    assert any(d.source == LECTURE for d in early.disagreeing)
    unclear = replace(make_similarity("very different"), probes=make_probes(0.4, ahead=0.01))
    late = choose(Evidence(make_size(400), unclear))
    assert (late.strategy, late.source) == ("codes", LECTURE)
    assert (late.rival, late.rival_layer) == ("earlier-codes", "layer0.4")
    assert any(
        d.source == NOTES and "no earlier layer is better" in d.why for d in late.disagreeing
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
    (other,) = [d for d in advice.disagreeing if d.says == "train from scratch"]
    assert why in other.why
    assert advice.rival == "scratch"


def test_in_between_both_neighbours_of_a_large_set_are_answered() -> None:
    says = [d.says for d in choose(plant("large", "in between")).disagreeing]
    assert says == [
        "keep the weights, replace the last layer only (if similar)",
        "train from scratch (if very different)",
    ]


def test_fine_tuning_instead_of_codes_and_in_any_case_are_answered() -> None:
    trained, kept = choose(plant("medium", "similar")), choose(plant("small", "similar"))
    assert any(d.source == LECTURE and "instead" in d.says for d in trained.disagreeing)
    assert any(d.source == "Howard and Ruder 2018" for d in kept.disagreeing)


def test_an_earlier_peak_is_the_rival_where_pictures_are_few_and_similar() -> None:
    mixed = replace(make_similarity("similar", peak="in between"), confidence=0.7)
    advice = choose(Evidence(make_size(400), mixed))
    assert (advice.similarity, advice.strategy) == ("similar", "codes")
    assert (advice.rival, advice.rival_layer) == ("earlier-codes", "layer0.8")


@pytest.mark.parametrize("accuracy", [1.0, 0.999])
def test_where_nothing_is_left_to_win_the_codes_stay(accuracy: float) -> None:
    advice = choose(Evidence(make_size(5000, accuracy, slope=0.0), make_similarity("similar")))
    assert advice.strategy == "codes"
    assert "McNemar" in advice.source
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
