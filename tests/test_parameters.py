"""Seeds, counts, jobs and shares as scikit-learn's conventions allow them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.utils import check_random_state

from tlfeatures._parameters import check_jobs, check_share, check_whole, seed_of
from tlfeatures.errors import UsageError


@pytest.mark.parametrize("given", [0, 7, np.int64(7), np.uint8(7), 2**32 - 1])
def test_a_number_is_its_own_seed(given: Any) -> None:
    assert seed_of(given) == int(given)
    assert type(seed_of(given)) is int


def test_a_generator_is_drawn_from_as_scikit_learn_draws() -> None:
    drawn = check_random_state(np.random.RandomState(5)).randint(2**31 - 1)
    assert seed_of(np.random.RandomState(5)) == drawn
    state = np.random.RandomState(5)
    assert seed_of(state) != seed_of(state)


def test_none_draws_from_the_global_generator() -> None:
    np.random.seed(3)  # noqa: NPY002  the one that None means
    one, other = seed_of(None), seed_of(None)
    assert one != other
    np.random.seed(3)  # noqa: NPY002  the one that None means
    assert seed_of(None) == one


@pytest.mark.parametrize("given", [-1, 2**32, 1.0, "0", np.random.default_rng(0), np.ones(2)])
def test_what_is_no_seed_is_refused_in_one_line(given: Any) -> None:
    with pytest.raises(UsageError, match=r"random_state is .*; give a") as caught:
        seed_of(given)
    assert len(str(caught.value).splitlines()) == 1


def test_counts_jobs_and_shares_are_pythons_numbers() -> None:
    assert check_whole("n", np.int32(3), 1) == check_whole("n", 3, 3, 3) == 3
    assert [check_jobs(n) for n in (None, 1, np.int64(2), -1, -2)] == [None, 1, 2, -1, -2]
    assert check_share("s", np.float32(0.5)) == 0.5
    for value, least, most, words in [
        (0, 1, None, "n is 0; it must be at least 1"),
        (9, 1, 8, "n is 9; it must be at most 8"),
        (2.0, 1, None, "n is 2.0; give a whole number of at least 1"),
        (None, 2, None, "n is None; give a whole number of at least 2"),
    ]:
        with pytest.raises(UsageError, match=words):
            check_whole("n", value, least, most)
    for jobs in (0, 1.0, "2"):
        with pytest.raises(UsageError, match=r"n_jobs is .*give a number of processes"):
            check_jobs(jobs)
    for share in (0, 1, 1.5, float("nan"), "0.5", None, True):
        with pytest.raises(UsageError, match=r"`s` is .*give a share between 0 and 1"):
            check_share("s", share)
