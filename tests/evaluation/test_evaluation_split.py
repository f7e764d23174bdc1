"""Splits: fixed, drawn, held out; whole groups; nothing lost silently."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlfeatures.errors import LabelsError, UsageError
from tlfeatures.evaluation import draw, make_split

Y = np.repeat(["ant", "bee", "cat"], [40, 20, 8])


def reference_draw(labels, n, seed):
    """The rule, as short as it can be said."""
    rng, chosen = np.random.default_rng(seed), []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rng.shuffle(rows)
        chosen.extend(rows[:n])
    return np.sort(chosen)


@pytest.mark.parametrize("seed", [0, 4])
def test_train_per_class_draws_by_the_rule_and_tests_on_the_rest(seed):
    """The same pictures as any program that follows the rule."""
    found = make_split(Y, train_per_class=5, random_state=seed)
    np.testing.assert_array_equal(found.train, reference_draw(Y, 5, seed))
    np.testing.assert_array_equal(np.sort(np.r_[found.train, found.test]), np.arange(len(Y)))
    assert found.protocol == (
        f"random 5 a class for training, seed {seed}: trained on 15, tested on 53"
    )


def test_a_quarter_of_each_class_is_held_out():
    """10 of 40, 5 of 20, 2 of 8; another seed gives other pictures, the same seed the same."""
    found = make_split(Y)
    labels, counts = np.unique(Y[found.test], return_counts=True)
    assert dict(zip(labels, counts, strict=True)) == {"ant": 10, "bee": 5, "cat": 2}
    assert found.protocol == (
        "random stratified 25 % held out, seed 0: trained on 51, tested on 17"
    )
    np.testing.assert_array_equal(found.test, make_split(Y).test)
    assert (make_split(Y, random_state=1).test != found.test).any()


def test_a_share_and_a_number_a_class_go_together():
    """The share is held out first, then the training side is thinned by the rule."""
    found, whole = make_split(Y, test=0.5, train_per_class=3), make_split(Y, test=0.5)
    np.testing.assert_array_equal(found.test, whole.test)
    expected = whole.train[reference_draw(Y[whole.train], 3, 0)]
    np.testing.assert_array_equal(found.train, expected)
    assert "50 % held out, 3 a class drawn from the training side, seed 0" in found.protocol


def test_test_folders_are_tested_and_val_joins_training():
    """Train and val train, test tests."""
    y = np.array(["a", "b", "a", "b", "a", "b"])
    found = make_split(y, ["train", "train", "val", "val", "test", "test"])
    np.testing.assert_array_equal(found.train, [0, 1, 2, 3])
    np.testing.assert_array_equal(found.test, [4, 5])
    assert found.protocol == "train+val/test folders: trained on 4, tested on 2"


def test_val_folders_are_tested_where_there_is_no_test():
    """No seed in the protocol, for nothing is drawn."""
    found = make_split(["a", "b", "a", "b"], ["train", "train", "val", "val"])
    assert found.protocol == "train/val folders: trained on 2, tested on 2"
    assert found.warnings == ()


def test_a_fixed_training_side_is_thinned_by_the_rule():
    """The test side stays whole."""
    sides = np.where(np.arange(len(Y)) % 2, "train", "test")
    found = make_split(Y, sides, train_per_class=2, random_state=3)
    side = np.flatnonzero(sides == "train")
    np.testing.assert_array_equal(found.train, side[reference_draw(Y[side], 2, 3)])
    np.testing.assert_array_equal(found.test, np.flatnonzero(sides == "test"))
    assert "train/test folders, 2 a class drawn from the training side, seed 3" in found.protocol


@pytest.mark.parametrize("sides", [None, [None] * len(Y), ["train"] * len(Y)])
def test_train_alone_is_no_split(sides):
    """A share is held out then."""
    assert "random stratified 25 %" in make_split(Y, sides).protocol


def test_a_share_beside_a_fixed_split_is_named_as_not_used():
    """The fixed split wins, and says so."""
    found = make_split(["a", "b"] * 2, ["train", "train", "val", "val"], test=0.3)
    assert found.warnings == (
        "`test=0.3` was not used: the pictures come with a split of their own",
    )


def test_groups_stay_whole_and_classes_keep_their_shares():
    """34 pairs: no pair is cut, shares are near a quarter."""
    groups = np.arange(len(Y)) // 2
    found = make_split(Y, groups=groups)
    assert not set(groups[found.train]) & set(groups[found.test])
    share = [(Y[found.test] == label).mean() for label in np.unique(Y)]
    np.testing.assert_allclose(share, [40 / 68, 20 / 68, 8 / 68], atol=0.08)
    assert "groups kept whole" in found.protocol


def test_groups_and_a_number_a_class_keep_groups_whole():
    """The draw only thins the training side."""
    groups = np.arange(len(Y)) // 4
    found = make_split(Y, groups=groups, train_per_class=2)
    assert not set(groups[found.train]) & set(groups[found.test])
    assert len(found.train) == 6


def test_groups_on_both_sides_of_a_fixed_split_are_named():
    """The figure may be too good."""
    found = make_split(["a", "b"] * 2, ["train", "train", "val", "val"], groups=[1, 2, 1, 3])
    assert "1 groups (first: 1) lie on both sides" in found.warnings[0]


def test_a_single_picture_trains_and_is_named():
    """Its recall cannot be estimated."""
    found = make_split([*Y, "yak"])
    assert len(Y) in found.train
    assert found.warnings == (
        "class yak (1 picture) has none to test on: its recall cannot be estimated",
    )


def test_a_class_all_drawn_for_training_is_named():
    """Eight cats, eight drawn."""
    found = make_split(Y, train_per_class=8)
    assert found.warnings == (
        "class cat (8 pictures) has none to test on: its recall cannot be estimated",
    )


def test_a_test_label_never_trained_on_is_named():
    """It is always wrong."""
    y = ["ant", "bee", "ant", "bee", "wasp"]
    found = make_split(y, ["train", "train", "test", "test", "test"])
    assert found.warnings == ("class wasp occurs in no training picture: it is always wrong",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"y": ["a", "a"]}, r"only class a; give pictures of at least two classes"),
        ({"y": []}, "no class at all"),
        ({"y": ["a", "b"]}, "each of the 2 classes has one picture.*add at least one more"),
        ({"y": ["a", "b"] * 2, "split": ["test"] * 4}, "none to train on; add a train folder"),
        ({"y": ["a", "b"] * 2, "train_per_class": 2}, "no picture of 4 is left to test on"),
        ({"y": ["a", "b"] * 2, "groups": [0, 0, 0, 0]}, "use smaller groups"),
        (
            {"y": ["a", "b", "a"], "split": ["train", "val", "train"]},
            "training side holds only class a",
        ),
    ],
)
def test_too_few_pictures_are_refused_with_a_way_out(words, message):
    """One line that says what to do."""
    with pytest.raises(LabelsError, match=message):
        make_split(**words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"test": 1.0}, "give one between 0 and 1"),
        ({"train_per_class": 0}, "give 1 or more"),
        ({"groups": [1, 2]}, "2 groups for 68 labels"),
        ({"split": ["train", "test"]}, "2 split entries for 68 labels"),
        ({"split": ["train"] * 67 + ["dev"]}, "holds dev; write train, val or test"),
        ({"split": ["train"] * 67 + [None]}, "holds None; write"),
    ],
)
def test_senseless_options_are_refused(words, message):
    """The message says what to give."""
    with pytest.raises(UsageError, match=message):
        make_split(Y, **words)


@settings(max_examples=60, deadline=None)
@given(
    y=st.lists(st.integers(0, 4), min_size=4, max_size=60),
    size=st.integers(1, 3),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
)
def test_every_split_is_a_partition_with_all_classes_in_training(y, size, share, seed):
    """Whatever the labels: no row twice, none lost, no class without training, no group cut."""
    groups = np.arange(len(y)) // size
    try:
        found = make_split(y, groups=groups, test=share, random_state=seed)
    except LabelsError:
        return
    np.testing.assert_array_equal(np.sort(np.r_[found.train, found.test]), np.arange(len(y)))
    assert set(np.array(y)[found.train]) == set(y)
    assert not set(groups[found.train]) & set(groups[found.test])


@pytest.mark.parametrize("size", [9, 10, 11, 12])
@pytest.mark.parametrize("seed", range(4))
def test_of_two_large_groups_of_a_class_one_is_held_out(size, seed):
    """Neither brings the class nearer its quarter; without one it could not be judged at all."""
    y = np.repeat(["a", "b"], 2 * size)
    groups = np.repeat(np.arange(4), size)
    found = make_split(y, groups=groups, random_state=seed)
    assert set(y[found.test]) == set(y[found.train]) == {"a", "b"}
    assert len(found.test) == 2 * size


def test_a_class_in_one_group_is_still_not_held_out():
    y, groups = np.repeat(["a", "b"], 10), np.r_[np.zeros(10, int), np.arange(1, 11)]
    found = make_split(y, groups=groups)
    assert set(y[found.test]) == {"b"}
    assert "class a (10 pictures) has none to test on" in found.warnings[0]


def test_draw_takes_all_of_a_small_class():
    """Fewer than asked for: all."""
    assert (Y[draw(Y, 10)] == "cat").sum() == 8


@pytest.mark.parametrize(
    ("share", "words", "n_small"),
    [(0.98, "96.7 % held out (asked for: 98 %)", 101), (0.5, "50 % held out", 0),
     (0.99, "96.7 % held out (asked for: 99 %)", 101),
     (0.001, "3.3 % held out (asked for: 0.1 %)", 101)],
)  # fmt: skip
def test_the_share_is_the_one_that_was_made(share, words, n_small):
    """101 classes of 30 pictures: 99 % cannot be held out of them."""
    y = np.repeat([f"class {i:03}" for i in range(101)], 30)
    found = make_split(y, test=share)
    assert found.protocol.startswith(f"random stratified {words}, seed 0: trained on ")
    assert f"{100 * len(found.test) / len(y):.1f}".removesuffix(".0") in found.protocol
    assert len(found.warnings) == bool(n_small)
    if n_small:
        assert f"{n_small} classes are too small for that share (class 000, " in found.warnings[0]
        assert len(found.warnings[0]) < 250


def test_the_class_that_is_too_small_for_a_share_is_named():
    """Two pictures beside a hundred."""
    found = make_split(["few"] * 2 + ["many"] * 10 + ["more"] * 10, test=0.9)
    assert found.protocol.startswith("random stratified 86.4 % held out (asked for: 90 %)")
    assert found.warnings == (
        "90 % were to be held out, 86.4 % are: 1 class is too small for that share (few)",
    )


def test_pictures_on_neither_side_are_counted():
    """A share is held out, then three a class are drawn: the rest is left out."""
    found = make_split(np.repeat(["a", "b"], 20), test=0.5, train_per_class=3)
    assert found.protocol.endswith("trained on 6, tested on 20, 14 left out")


def units_of(groups):
    """What must stay together: one set of rows a group, and each row without one by itself."""
    rows = {}
    for row, group in enumerate(groups):
        missing = group is None or group != group or group == ""  # NaN
        key = ("row", row) if missing else ("group", str(group).removesuffix(".0"))
        rows.setdefault(key, set()).add(row)
    return list(rows.values())


GROUPS = st.sampled_from([None, float("nan"), "", 0, 1, 2, 0.0, 1.0, 2.0, "0", "1", "2", "p", "q"])


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 2), GROUPS), min_size=8, max_size=50),
    share=st.floats(0.1, 0.9),
    seed=st.integers(0, 9),
)
def test_groups_with_gaps_and_of_mixed_types_are_kept_whole(rows, share, seed):
    """What the protocol says is so, whatever stands in the column."""
    y, groups = map(list, zip(*rows, strict=True))
    try:
        found = make_split(y, groups=groups, test=share, random_state=seed)
    except LabelsError:
        return
    assert "groups kept whole" in found.protocol
    train, test = set(found.train.tolist()), set(found.test.tolist())
    for unit in units_of(groups):
        assert unit <= train or unit <= test


@pytest.mark.parametrize("gap", [None, float("nan"), pd.NA, pd.NaT, ""], ids=repr)
def test_rows_without_a_group_are_split_like_rows_of_no_groups(gap):
    """They are no group together: held out are a quarter of them, not all or none."""
    found = make_split(Y, groups=[gap] * len(Y))
    assert np.unique(Y[found.test], return_counts=True)[1].tolist() == [10, 5, 2]


@pytest.mark.parametrize("gap", [None, float("nan"), pd.NA, ""], ids=repr)
def test_a_missing_label_is_refused_with_its_row(gap):
    """Never a class of its own."""
    with pytest.raises(LabelsError, match=r"labels\[3\] is .*: missing"):
        make_split(["a", "b", "a", gap, "b", "a"])


def test_many_unknown_sides_are_cut():
    """A message stays one line."""
    with pytest.raises(UsageError, match=r"s0, s1, s10, s11, s12 and 35 more; write"):
        make_split(["a", "b"] * 20, [f"s{i}" for i in range(40)])


def test_notes_of_many_classes_are_cut():
    """Five of each kind and a count, not one line for each of 200 classes."""
    y = [f"c{i:03}" for i in range(200)] + ["z", "z", "z", "z"]
    sides = ["test"] * 100 + ["train"] * 100 + ["train", "train", "test", "test"]
    notes = make_split(y, sides).warnings
    assert len(notes) == 12
    assert notes[0].startswith("class c000 occurs in no training picture")
    assert notes[5] == notes[11] == "95 more classes like these"
