"""Exact nearest neighbours by blocks of matrix products, the close ones settled in float64."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from tlfeatures.errors import CodesMismatchError, UsageError

__all__ = ["METRICS", "check_metric", "check_n_neighbors", "kneighbors"]

METRICS = ("cosine", "euclidean")
BLOCK_BYTES = 32 * 2**20  # of one (block, n) piece of the distance matrix

Floats = npt.NDArray[Any]
Indices = npt.NDArray[np.intp]


def kneighbors(
    queries: npt.ArrayLike,
    X: npt.ArrayLike,
    n_neighbors: int = 5,
    *,
    metric: str = "cosine",
) -> tuple[Floats, Indices]:
    """Find the rows of X nearest to each query.

    A matrix product ranks all rows; every row that its rounding error could hide among the
    nearest is then measured in float64, row by row, so that equal rows get equal distances.

    Parameters
    ----------
    queries : array-like of shape (n_queries, n_features), float32 or float64
        What to look for.
    X : array-like of shape (n_rows, n_features), float32 or float64
        Where to look. Not copied where it already is a float array.
    n_neighbors : int, default=5
        How many, at least 1; all rows where X has fewer.
    metric : {"cosine", "euclidean"}, default="cosine"
        Cosine distance is 1 - cosine, in [0, 2]; 1 to and from a row of zeros.

    Returns
    -------
    distances : ndarray of shape (n_queries, k), float32, or float64 if either input is
        Ascending in each row.
    indices : ndarray of shape (n_queries, k), int
        Rows of X; equal distances in order of row number.

    Raises
    ------
    UsageError
        If the metric is unknown or n_neighbors is no whole number of at least 1.
    CodesMismatchError
        If queries and X differ in their number of columns.
    ValueError
        If an input is empty, not two-dimensional or holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> distances, indices = kneighbors(np.eye(2), [[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]], 2)
    >>> indices.tolist()
    [[0, 2], [1, 2]]
    """
    check_metric(metric)
    k = check_n_neighbors(n_neighbors)
    Q = _as_floats(queries, "queries")
    base = _as_floats(X, "X")
    if Q.shape[1] != base.shape[1]:
        raise CodesMismatchError(
            f"the queries have {Q.shape[1]} columns, X has {base.shape[1]}; "
            "extract both with the same backbone and layer."
        )
    dtype = np.result_type(Q, base)
    Q, base = Q.astype(dtype, copy=False), base.astype(dtype, copy=False)
    k = min(k, len(base))
    distances, indices = np.empty((len(Q), k), dtype), np.empty((len(Q), k), np.intp)
    norms = _row_norms(base)
    if _leaves_range(norms, dtype) or _leaves_range(_row_norms(Q), dtype):
        Q, base = Q.astype(float), base.astype(float)
    rows = max(1, BLOCK_BYTES // (base.itemsize * len(base)))
    for start in range(0, len(Q), rows):
        block = slice(start, start + rows)
        found = _nearest(Q[block], base, norms, k, metric, dtype)
        for row, (near, where) in enumerate(found, start):
            distances[row], indices[row] = near, where
    return distances, indices


def check_metric(metric: Any) -> None:
    """Refuse a metric that nobody knows.

    Raises
    ------
    UsageError
    """
    if metric not in METRICS:
        close = difflib.get_close_matches(str(metric), METRICS, 1)
        hint = f"did you mean {close[0]!r}? Choose" if close else "choose"
        raise UsageError(f"metric {metric!r} is unknown; {hint} one of {list(METRICS)}.")


def check_n_neighbors(n_neighbors: Any) -> int:
    """How many neighbours, as Python's int.

    Raises
    ------
    UsageError
        If it is no whole number of at least 1.
    """
    if not isinstance(n_neighbors, Integral):
        raise UsageError(f"n_neighbors is {n_neighbors!r:.80}; give a whole number, 1 or more.")
    if int(n_neighbors) < 1:
        raise UsageError(f"n_neighbors is {n_neighbors}; give 1 or more.")
    return int(n_neighbors)


def _as_floats(rows: npt.ArrayLike, name: str) -> Floats:
    """Rows as they are if they are float32 or float64, else as float64; checked."""
    array = np.asarray(rows)
    if array.dtype.kind == "c":
        raise ValueError(f"{name} holds complex numbers; codes are real.")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; give (n, d), both at least 1.")
    # all are finite if their sum is: no array of truths in most cases
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(array.sum())
    if not is_finite and not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity; leave those rows out.")
    return array


def _row_norms(X: Floats) -> Floats:
    """Euclidean length of each row, of shape (n,), float64, without a float64 copy of X."""
    norms = np.empty(len(X))
    step = _rows_of_float64(X.shape[1])
    for start in range(0, len(X), step):
        norms[start : start + step] = np.linalg.norm(X[start : start + step].astype(float), axis=1)
    return norms


def _leaves_range(norms: Floats, dtype: np.dtype[Any]) -> bool:
    """Whether squares of these lengths overflow in `dtype`, or their rows have lost bits in it."""
    limits = np.finfo(dtype)
    least = norms[norms > 0].min(initial=1.0)
    return bool(norms.max() > np.sqrt(limits.max) / 8 or least < limits.tiny / limits.eps)


def _rows_of_float64(width: int) -> int:
    return max(1, BLOCK_BYTES // (8 * width))


def _nearest(
    Q: Floats, X: Floats, norms: Floats, k: int, metric: str, dtype: np.dtype[Any]
) -> Iterator[tuple[Floats, Indices]]:
    """Yield distances, of `dtype`, and row numbers of each query's k nearest rows, in order."""
    lengths = _row_norms(Q)
    rough, slack = _rough(Q, lengths, X, norms, metric, float(np.finfo(dtype).eps))
    bounds = np.partition(rough, k - 1, axis=1)[:, k - 1] + slack
    for q, length, row, bound in zip(Q, lengths, rough, bounds, strict=True):
        near = np.flatnonzero(row <= bound)
        exact = _exact(q, length, X, norms, near, metric).astype(dtype)
        order = np.lexsort((near, exact))[:k]
        yield exact[order], near[order]


def _rough(
    Q: Floats, lengths: Floats, X: Floats, norms: Floats, metric: str, eps: float
) -> tuple[Floats, Floats]:
    """Rank values of shape (m, n), and how far (m,) a rank value may rise above its true one.

    A product of d terms errs by at most d * eps / 2 of the lengths' product (Higham, Accuracy and
    Stability of Numerical Algorithms, 2002, section 3.1); both the k-th value and the one compared
    with it may err, and a few more roundings come from scaling.
    """
    unit = Q / np.where(lengths > 0, lengths, 1.0).astype(Q.dtype)[:, None]
    safe = np.where(norms > 0, norms, 1.0).astype(X.dtype)
    rough = unit @ X.T
    error = (X.shape[1] + 16) * eps
    if metric == "cosine":
        rough /= -safe
        return rough, np.full(len(Q), error)
    scaled = lengths.astype(X.dtype)
    rough *= -2 * scaled[:, None]
    rough += (norms**2).astype(X.dtype)
    return rough, 2 * error * (lengths + norms.max()) ** 2


def _exact(
    q: Floats, length: float, X: Floats, norms: Floats, near: Indices, metric: str
) -> Floats:
    """Distances of one query to the rows `near`, of shape (len(near),), float64."""
    step = _rows_of_float64(X.shape[1])
    parts = [near[start : start + step] for start in range(0, len(near), step)]
    if metric == "euclidean":
        return np.concatenate([_lengths(X[part].astype(float) - q) for part in parts])
    # half the squared distance of unit vectors is 1 - cosine, and exactly 0 for equal rows
    unit = q.astype(float) / (length or 1.0)
    safe = np.where(norms > 0, norms, 1.0)
    halves = [_lengths(X[part] / safe[part, None] - unit) ** 2 / 2 for part in parts]
    distances = np.clip(np.concatenate(halves), 0.0, 2.0)
    distances[(norms[near] == 0) | (length == 0)] = 1.0
    return distances


def _lengths(rows: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))
