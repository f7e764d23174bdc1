"""What every head does alike: checks its labels, tells a file of itself, is restored."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.multiclass import check_classification_targets

from tlfeatures._columns import whole_labels
from tlfeatures.errors import LabelsError
from tlfeatures.heads._saved import Facts
from tlfeatures.heads._scoring import Ints, saved_classes

FLOATS = [np.float64, np.float32]


def checked_labels(y: Any) -> Any:
    """The labels, none of which is missing; other shapes are left to scikit-learn's checks.

    Raises
    ------
    LabelsError
    """
    if not hasattr(type(y), "__iter__"):
        return y
    shape = getattr(y, "shape", (len(y),) if hasattr(y, "__len__") else (0,))
    if len(shape) == 1:
        return whole_labels(y, "y")
    if shape[1:] == (1,):
        whole_labels(y, "y")
    return y


def encode_labels(y: npt.ArrayLike, name: str) -> tuple[npt.NDArray[Any], Ints]:
    """Sorted classes, and each row's class number, of shape (n,).

    Raises
    ------
    LabelsError
        If there is one class only.
    ValueError
        If y holds numbers that are no classes.
    """
    check_classification_targets(y)
    classes, encoded = np.unique(np.asarray(y), return_inverse=True)
    if len(classes) < 2:
        raise LabelsError(
            f"{name} needs pictures of at least 2 classes, y holds one class only: "
            f"{classes[0]!s}; add a folder with pictures of another class."
        )
    return classes, encoded.ravel()


def common_facts(head: Any) -> dict[str, Any]:
    """Kind, classes, constructor arguments and width of a fitted head, as JSON values."""
    return {
        "kind": head._kind,
        "classes": head.classes_.tolist(),
        "classes_kind": head.classes_.dtype.kind,
        "params": {name: _json_value(v) for name, v in head.get_params(deep=False).items()},
        "n_features_in": int(head.n_features_in_),
    }


def _json_value(value: Any) -> Any:
    """A constructor argument as JSON: numpy numbers as plain ones, generators as None."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float | None) else None


def restore_common(head: Any, facts: Facts) -> None:
    """Set on a new head what `common_facts` told."""
    head.classes_ = saved_classes(facts)
    head.n_features_in_ = int(facts["n_features_in"])
