"""How long a run will take here, by what runs took here before; nothing is guessed. No torch."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any

from tlfeatures.backbones import BackboneRequest, gflop_of
from tlfeatures.extraction.planning._options import RunOptions
from tlfeatures.store import AnswerMemo

FEWEST = 64  # pictures, of a run that says how fast this machine is


@dataclass(frozen=True)
class Pace:
    """Seconds per picture of a step, as far as known here.

    Attributes
    ----------
    seconds : float
    of_same_network : bool
        Whether this network was measured; else it is reckoned from another one's multiplications.
    """

    seconds: float
    of_same_network: bool


def remember_pace(
    step: str, request: BackboneRequest, run: RunOptions, n: int, seconds: float
) -> None:
    """Remember how long a step took, for this network and for others of known size.

    Parameters
    ----------
    step : str
        Such as "extract".
    n : int
        Pictures; a run of few says nothing.
    seconds : float
    """
    name = _name(request)
    if n < FEWEST or seconds <= 0 or name is None:
        return
    memo, each = AnswerMemo(run.cache_dir), seconds / n
    memo.put(_question(step, name, run), {"seconds": each})
    gflop = gflop_of(name)
    if gflop:
        memo.put(_question(step, None, run), {"seconds_per_gflop": each / gflop})


def pace_of(step: str, request: BackboneRequest, run: RunOptions) -> Pace | None:
    """How long a step takes per picture; None: nothing that tells was measured here."""
    name = _name(request)
    if name is None:
        return None
    memo, gflop = AnswerMemo(run.cache_dir), gflop_of(name)
    same = (memo.get(_question(step, name, run)) or {}).get("seconds")
    if isinstance(same, float):
        return Pace(same, of_same_network=True)
    other = (memo.get(_question(step, None, run)) or {}).get("seconds_per_gflop")
    if isinstance(other, float) and gflop:
        return Pace(other * gflop, of_same_network=False)
    return None


def _name(request: BackboneRequest) -> str | None:
    return request.backbone if isinstance(request.backbone, str) else None


def _question(step: str, name: str | None, run: RunOptions) -> dict[str, Any]:
    return {
        "pace": step,
        "backbone": name,
        "host": platform.node(),
        "device": run.device,
        "precision": run.precision,
        "jobs": run.n_jobs,
    }
