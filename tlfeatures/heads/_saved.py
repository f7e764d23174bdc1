"""Whether a saved head is whole: shapes, kinds of numbers, classes. numpy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Tensors = Mapping[str, npt.NDArray[Any]]
Facts = Mapping[str, Any]

LINEAR = ("C", "n_jobs", "random_state")
PARAMS = {"svm": LINEAR, "logistic": LINEAR, "knn": ("n_neighbors",)}  # of each kind
CLASSES_KINDS = "OSUbiuf"  # of numpy's dtypes: objects, text, numbers


def check_saved_head(tensors: Tensors, facts: Facts) -> None:
    """Refuse arrays and facts that no fitted head has: they would fail, or lie, on `predict`.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        As given by a head's `to_arrays`.
    facts : mapping
        Likewise.

    Raises
    ------
    KeyError, TypeError, ValueError
        If something is missing, or is not what a head of that kind has.
    """
    kind, params = facts["kind"], facts["params"]
    if not isinstance(kind, str) or kind not in PARAMS:
        raise ValueError(f"its head is of kind {str(kind)[:40]!r}, none of {', '.join(PARAMS)}")
    if not isinstance(params, Mapping):
        raise TypeError("its params are no JSON object")
    if strange := sorted(set(params) - set(PARAMS[kind])):
        raise ValueError(f"its head has the option {strange[0][:40]!r}, which is unknown")
    n_classes = _n_classes(facts)
    width = _whole("n_features_in", facts["n_features_in"])
    if kind == "knn":
        _check_neighbours(tensors, facts, n_classes, width)
    else:
        _check_linear(tensors, facts, n_classes, width)


def _n_classes(facts: Facts) -> int:
    classes, kind = facts["classes"], facts["classes_kind"]
    if not isinstance(classes, list) or len(classes) < 2:
        raise ValueError("its classes are no list of two or more")
    if not isinstance(kind, str) or len(kind) != 1 or kind not in CLASSES_KINDS:
        raise ValueError(f"its classes are of the unknown kind {str(kind)[:20]!r}")
    kinds = {type(each) for each in classes}
    if not (kinds in ({str}, {bool}) or kinds <= {int, float}):
        raise TypeError("its classes are neither all text nor all numbers")
    if len(set(classes)) < len(classes):
        raise ValueError("it has a class twice")
    return len(classes)


def _check_linear(tensors: Tensors, facts: Facts, n_classes: int, width: int) -> None:
    n_scores = 1 if n_classes == 2 else n_classes
    _check_array("coef", tensors["coef"], (n_scores, width))
    _check_array("intercept", tensors["intercept"], (n_scores,))
    _positive("C", facts["C"])
    if facts["kind"] == "svm":
        slope, offset = facts["sigmoid"]
        _positive("the slope of its sigmoid", slope)
        _finite("the offset of its sigmoid", offset)


def _check_neighbours(tensors: Tensors, facts: Facts, n_classes: int, width: int) -> None:
    _whole("n_neighbors", facts["params"]["n_neighbors"])
    codes, y = tensors["codes"], tensors["y"]
    n = len(codes) if codes.ndim else 0
    _check_array("codes", codes, (max(n, 1), width))
    if y.dtype.kind not in "iu" or y.shape != (n,):
        raise ValueError(f"y is {y.dtype} of shape {y.shape}, expected whole numbers of ({n},)")
    if y.min() < 0 or y.max() >= n_classes:
        raise ValueError(f"y names classes beyond its {n_classes}")


def _check_array(name: str, array: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.dtype.kind != "f":
        raise TypeError(f"{name} is {array.dtype}, expected floating-point numbers")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")


def _whole(name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is {str(value)[:20]!r}, expected a whole number of at least 1")
    return value


def _finite(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{name} is {str(value)[:20]!r}, expected a number")
    return float(value)


def _positive(name: str, value: Any) -> None:
    if _finite(name, value) <= 0:
        raise ValueError(f"{name} is {value}, expected a number above 0")
