"""Heads by name, made new or from a saved model's arrays."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from tlfeatures.errors import UsageError
from tlfeatures.heads._knn import KNNHead
from tlfeatures.heads._saved import Facts, Tensors
from tlfeatures.heads._scoring import restore
from tlfeatures.heads.linear._logistic import LogisticHead
from tlfeatures.heads.linear._svm import SVMHead

Head = SVMHead | LogisticHead | KNNHead

HEADS: dict[str, type[SVMHead] | type[LogisticHead] | type[KNNHead]] = {
    "svm": SVMHead,
    "logistic": LogisticHead,
    "knn": KNNHead,
}


OTHER_NAMES = {  # of the same classifiers in the literature
    "softmax": "logistic",
    "linear-svm": "svm",
    "logistic-regression": "logistic",
    "k-nn": "knn",
}


def head_name(name: str) -> str:
    """The name that `HEADS` has for it; an unknown one stays as it is.

    Examples
    --------
    >>> head_name("softmax")
    'logistic'
    """
    return OTHER_NAMES.get(name, name) if isinstance(name, str) else name


def make_head(name: str, **params: Any) -> Head:
    """Make an unfitted head.

    Parameters
    ----------
    name : {"svm", "logistic", "knn"}
        Which; also by another name that `head_name` knows, such as "softmax".
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
    name = head_name(name)
    if not isinstance(name, str) or name not in HEADS:
        raise UsageError(f"head {name!r} is unknown; {_hint(name, list(HEADS))}")
    known = sorted(HEADS[name]().get_params(deep=False))
    for param in params:
        if param not in known:
            raise UsageError(f"head {name!r} has no option {param!r}; {_hint(param, known)}")
    return HEADS[name](**params)


def _hint(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word), known, 1)
    meant = f"did you mean {close[0]!r}? Choose" if close else "choose"
    return f"{meant} one of {', '.join(known)}."


def head_from_arrays(tensors: Tensors, facts: Facts) -> Head:
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
    known: dict[str, Callable[[Tensors, Facts], Head]] = {
        name: kind._from_arrays for name, kind in HEADS.items()
    }
    return restore(known, tensors, facts)
