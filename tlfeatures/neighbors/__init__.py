"""Nearest neighbours on arrays: which rows of X lie closest to a query.

Promises: exact, the same answer every time, ties by row number, never an (m, n) matrix in memory.
Must not know: torch, pictures, the store, who asks.
"""

from tlfeatures.neighbors._exact import METRICS, kneighbors

__all__ = ["METRICS", "kneighbors"]
