"""Codes of the probe pictures: only those that something can be compared with are kept."""

import json

import numpy as np
import pytest

from tests.store.conftest import key_of
from tlfeatures.errors import StoreCorruptError
from tlfeatures.store import (
    CodeCache,
    Probes,
    merge_caches,
    relative_difference,
    repair_cache,
    tolerance,
    verify_cache,
)
from tlfeatures.store import _probes as module

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def good(rows):
    return rows[1:4]


def spoilt(codes, value, place=(1, 2)):
    made = codes.copy()
    made[place] = value
    return made


def write_as_before(cache, codes):
    """What earlier versions wrote, whatever the codes were."""
    cache.make_folder()
    values = {
        "format": "tlfeatures-probes",
        "format_version": 1,
        "shape": list(codes.shape),
        "codes": np.ascontiguousarray(codes, "<f4").tobytes().hex(),
        "made_with": {"torch": "2"},
    }
    path = cache.folder / "probes.json"
    path.write_text(json.dumps({**values, "digest": module._digest(values)}))
    return path


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_codes_without_numbers_are_infinitely_far_from_all_others(good, value):
    """Also from themselves: they would let everything pass."""
    bad = spoilt(good, value)
    for one, other in ((bad, good), (good, bad), (bad, bad)):
        assert relative_difference(one, other) == INF
        assert not relative_difference(one, other) <= tolerance("bf16")


@pytest.mark.parametrize("shape", [(0, 8), (2, 8), (3, 0), (3, 7), (24,), (3, 8, 1)])
def test_codes_of_another_shape_are_infinitely_far(good, shape):
    assert relative_difference(np.ones(shape, np.float32), good) == INF
    assert relative_difference(good, np.ones(shape, np.float32)) == INF


def test_no_codes_at_all_are_not_equal():
    nothing = np.empty((0, 8), np.float32)
    assert relative_difference(nothing, nothing) == INF


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1.0, 1e18, 1e30])
def test_the_difference_is_relative_at_every_scale(good, scale):
    """Neither tiny codes nor squares beyond float32's range switch the comparison off."""
    stored = (good * scale).astype(np.float32)
    found = (stored * np.float32(1.5)).astype(np.float32)
    assert relative_difference(found, stored) == pytest.approx(0.5, rel=1e-5)
    assert relative_difference(stored, stored) == 0


def test_a_code_of_zeros_equals_itself_alone(good):
    zero = good.copy()
    zero[1] = 0
    assert relative_difference(zero, zero) == 0
    assert relative_difference(spoilt(zero, 1e-20), zero) == INF


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_probes_without_numbers_are_not_stored(cache, good, value):
    with pytest.raises(ValueError, match="are NaN or infinity"):
        cache.write_probes(Probes(spoilt(good, value), {}))
    assert not cache.folder.exists()


@pytest.mark.parametrize("shape", [(0, 8), (3, 7), (8,)])
def test_probes_of_another_shape_are_not_stored(cache, shape):
    with pytest.raises(ValueError, match=r"of shape \(.*; give finite ones, \(n, 8\)"):
        cache.write_probes(Probes(np.ones(shape, np.float32), {}))


OLD = [
    np.full((3, 8), NAN),
    np.array([[1.0] * 8, [1.0] * 7 + [-INF]]),
    np.empty((0, 8)),
    np.ones((3, 7)),
    np.ones(8),
]


@pytest.mark.parametrize("old", OLD, ids=["nan", "one infinity", "none", "narrow", "flat"])
def test_old_probes_that_say_nothing_count_as_none_and_are_replaced(cache, good, old):
    write_as_before(cache, old.astype(np.float32))
    assert cache.read_probes() is None
    kept = cache.write_probes(Probes(good, {"torch": "3"}))
    assert kept.made_with == {"torch": "3"}
    np.testing.assert_array_equal(CodeCache(cache.root, cache.spec).read_probes().codes, good)
    again = cache.write_probes(Probes(good * 2, {"torch": "4"}))  # these are sound, and stay
    assert again.made_with == {"torch": "3"}


def test_verify_names_old_probes_that_say_nothing_and_repair_moves_them_aside(filled, good):
    path = write_as_before(filled, spoilt(good, NAN))
    (problem,) = verify_cache(filled.root).problems
    assert problem.path == path
    assert "NaN or infinity" in problem.reason
    assert repair_cache(filled.root).lost == 0
    assert (filled.folder / "broken" / "probes.json").exists()
    assert not verify_cache(filled.root).problems


def test_sound_probes_written_before_are_read_as_they_are(cache, good):
    write_as_before(cache, good)
    np.testing.assert_array_equal(cache.read_probes().codes, good)
    assert not verify_cache(cache.root).problems


def test_damaged_probes_are_not_replaced(cache, good):
    """Whether something was lost, 'cache verify --repair' says."""
    path = write_as_before(cache, good)
    path.write_text(path.read_text().replace('"torch"', '"tensor"'))
    with pytest.raises(StoreCorruptError, match="digest does not fit"):
        cache.write_probes(Probes(good, {}))


def test_probes_that_say_nothing_of_what_made_them_are_damaged(cache, good):
    path = write_as_before(cache, good)
    values = {**json.loads(path.read_text()), "made_with": ["torch"]}
    path.write_text(json.dumps({**values, "digest": module._digest(values)}))
    with pytest.raises(StoreCorruptError, match="is damaged"):
        cache.read_probes()


def fill(cache, number):
    cache.publish(np.frombuffer(key_of(number), "S16"), np.ones((1, 8), np.float32))


def test_a_merge_never_compares_with_probes_that_say_nothing(tmp_path, spec, good):
    mine, other = CodeCache(tmp_path / "mine", spec), CodeCache(tmp_path / "other", spec)
    fill(mine, 1)
    fill(other, 2)
    mine.write_probes(Probes(good, {}))
    write_as_before(other, spoilt(good, NAN))
    done = merge_caches(mine.root, other.root)
    assert done.rows == 0
    assert "only one side has codes of the probe pictures" in done.refused[0].reason
    assert merge_caches(other.root, mine.root).rows == 0


def test_probes_that_say_nothing_are_not_taken_and_are_replaced_by_those_taken(
    tmp_path, spec, good
):
    mine, other = CodeCache(tmp_path / "mine", spec), CodeCache(tmp_path / "other", spec)
    write_as_before(mine, spoilt(good, NAN))  # an empty folder
    fill(other, 2)
    other.write_probes(Probes(good, {"torch": "3"}))
    assert merge_caches(mine.root, other.root).rows == 1
    assert mine.read_probes().made_with == {"torch": "3"}
    new, old = CodeCache(tmp_path / "new", spec), CodeCache(tmp_path / "old", spec)
    fill(old, 3)
    write_as_before(old, spoilt(good, INF))
    done = merge_caches(new.root, old.root)
    assert (done.rows, new.read_probes()) == (1, None)
    assert "NaN or infinity" in done.refused[0].reason
