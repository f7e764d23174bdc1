"""Heads by name, made new or from a saved model's arrays."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from tlfeatures.errors import ModelFileError, UsageError
from tlfeatures.heads._knn import KNNHead
from tlfeatures.heads._linear import LogisticHead, SVMHead

Head = SVMHead | LogisticHead | KNNHead

HEADS: dict[str, type[SVMHead] | type[LogisticHead] | type[KNNHead]] = {
    "svm": SVMHead,
    "logistic": LogisticHead,
    "knn": KNNHead,
}


def make_head(name: str, **params: Any) -> Head:
    """Make an unfitted head.

    Parameters
    ----------
    name : {"svm", "logistic", "knn"}
        Which.
    **params
        Its constructor's arguments.

    Returns
    -------
    SVMHead, LogisticHead or KNNHead
        Not fitted.

    Raises
    ------
    UsageError
        If the name or an argument is unknown.
    """
    if name not in HEADS:
        raise UsageError(f"head {name!r} is unknown; {_hint(name, list(HEADS))}")
    known = HEADS[name]._get_param_names()
    for param in params:
        if param not in known:
            raise UsageError(f"head {name!r} has no option {param!r}; {_hint(param, known)}")
    return HEADS[name](**params)


def _hint(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word), known, 1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}Choose one of {', '.join(known)}."


def head_from_arrays(tensors: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> Head:
    """Rebuild a fitted head from what its `to_arrays` gave.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        As given by `to_arrays`; further entries are not looked at.
    facts : mapping
        As given by `to_arrays`, also after a trip through JSON.

    Returns
    -------
    SVMHead, LogisticHead or KNNHead
        Gives the same predictions, scores and probabilities; `cv_results_` and
        `out_of_fold_` are not kept.

    Raises
    ------
    ModelFileError
        If something is missing or the kind is unknown.
    """
    kind = facts.get("kind")
    if kind not in HEADS:
        raise ModelFileError(
            f"the model holds a head of kind {kind!r}, this version knows {', '.join(HEADS)}; "
            "open it with the version that wrote it."
        )
    try:
        return HEADS[kind]._from_arrays(dict(tensors), dict(facts))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"the model's {kind} head is incomplete ({error!r}); train and save it again."
        ) from error
