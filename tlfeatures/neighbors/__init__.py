"""Nearest neighbours on arrays: which rows of X lie closest to a query.

Promises: exact, the same answer every time, ties by row number, never an (m, n) matrix in memory.
Must not know: torch, pictures, the store, who asks.
"""

from tlfeatures.neighbors._exact import METRICS, check_metric, check_n_neighbors, kneighbors

__all__ = ["METRICS", "check_metric", "check_n_neighbors", "kneighbors"]
