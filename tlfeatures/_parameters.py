"""Parameters as scikit-learn's conventions allow them: seeds, counts, jobs, shares.

numpy's numbers are taken wherever Python's are; what cannot be meant is refused in one line.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from tlfeatures.errors import UsageError

LARGEST_SEED = 2**32 - 1  # that numpy's RandomState takes, and so scikit-learn


def seed_of(random_state: Any) -> int:
    """One number for all that a fit draws, whatever form `random_state` has.

    Parameters
    ----------
    random_state : int, RandomState or None
        A number is itself; None draws one from numpy's global generator, so that each fit has
        another one; so does a RandomState from itself.

    Returns
    -------
    int
        In 0 to 2**32 - 1.

    Raises
    ------
    UsageError
        If it is none of these.
    """
    if isinstance(random_state, Integral):
        seed = int(random_state)
        if not 0 <= seed <= LARGEST_SEED:
            raise UsageError(f"random_state is {seed}; give a number from 0 to {LARGEST_SEED}.")
        return seed
    from sklearn.utils import check_random_state  # not at the top: it takes longer than a picture

    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError as error:
        raise UsageError(
            f"random_state is {_shown(random_state)}; give a whole number, a "
            "numpy.random.RandomState or None."
        ) from error


def check_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """A whole number from `least` to `most`, as Python's int.

    Raises
    ------
    UsageError
    """
    if not isinstance(value, Integral):
        raise UsageError(f"{name} is {_shown(value)}; give a whole number of at least {least}.")
    if int(value) < least:
        raise UsageError(f"{name} is {_shown(value)}; it must be at least {least}.")
    if most is not None and int(value) > most:
        raise UsageError(f"{name} is {_shown(value)}; it must be at most {most}.")
    return int(value)


def check_share(name: str, value: Any) -> float:
    """A share between 0 and 1, both left out, as Python's float.

    Raises
    ------
    UsageError
    """
    if isinstance(value, Real) and 0 < float(value) < 1:
        return float(value)
    raise UsageError(f"`{name}` is {_shown(value)}; give a share between 0 and 1.")


def check_jobs(n_jobs: Any) -> int | None:
    """How many at a time as joblib has it: None, a number, or -1 for all cores, -2 for all but one.

    Raises
    ------
    UsageError
        If it is 0 or something else.
    """
    if n_jobs is None:
        return None
    if isinstance(n_jobs, Integral) and n_jobs != 0:
        return int(n_jobs)
    raise UsageError(
        f"n_jobs is {_shown(n_jobs)}; give a number of processes, -1 for all cores, or None."
    )


def _shown(value: Any) -> str:
    return " ".join(repr(value).split())[:80]
