"""`ImageIndex`: fit on pictures, ask for the neighbours of others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tlfeatures.errors import ImageReadError
from tlfeatures.extraction import CNNCodes, as_codes
from tlfeatures.neighbors import check_metric, check_n_neighbors, kneighbors
from tlfeatures.pictures import (
    Pictures,
    check_readable,
    contact_sheet,
    content_digest,
    row_key,
    save_png,
)


@dataclass(frozen=True)
class Neighbour:
    """One hit: `path`, its `label` (or None), its cosine `distance` in 0..2, its `row`."""

    path: str
    label: str | None
    distance: float
    row: int


class ImageIndex(BaseEstimator):
    """Nearest neighbours of pictures by the codes of a frozen network.

    Parameters
    ----------
    backbone : str or CNNCodes, default="resnet50"
    n_neighbors : int, default=5
        At least 1; all pictures where there are fewer.
    metric : {"cosine", "euclidean"}, default="cosine"

    Attributes
    ----------
    pictures_ : Pictures
        Those that can be found; bad ones are left out.
    bad_ : list of (path, reason)
    codes_ : CNNCodes
    X_ : ndarray of shape (n_images, n_features), float32

    Examples
    --------
    >>> index = ImageIndex("resnet18").fit("my_pictures")  # doctest: +SKIP
    >>> index.kneighbors(["query.jpg"], n_neighbors=5)  # doctest: +SKIP
    """

    def __init__(
        self, backbone: str | CNNCodes = "resnet50", n_neighbors: int = 5, metric: str = "cosine"
    ) -> None:
        self.backbone = backbone
        self.n_neighbors = n_neighbors
        self.metric = metric

    def fit(self, X: Any, y: Any = None) -> ImageIndex:
        """Extract the codes of the pictures to search in.

        Raises
        ------
        PicturesError
            If none of them can be read.
        UsageError
            If the metric or n_neighbors is impossible.
        """
        check_metric(self.metric)
        check_n_neighbors(self.n_neighbors)
        self.codes_ = as_codes(self.backbone)
        pictures = Pictures.of(X)
        extraction = self.codes_.extract(pictures)
        check_readable(pictures, extraction.pictures, extraction.bad, sides=False)
        self.pictures_, self.bad_ = extraction.pictures, extraction.bad
        self.extraction_ = extraction
        self.X_ = np.asarray(extraction.codes)
        self.keys_ = list(extraction.codes.keys)
        return self

    def kneighbors(
        self, X: Any, n_neighbors: int | None = None
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.intp]]:
        """Distances and rows of the nearest pictures, copies of the query included.

        Parameters
        ----------
        X : list of pictures
        n_neighbors : int, optional
            At least 1, all pictures where there are fewer; default: that of the constructor.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), ascending
        indices : ndarray of shape (n_queries, n_neighbors), rows of `pictures_`

        Raises
        ------
        ImageReadError
            If a query is bad.
        UsageError
            If n_neighbors is no whole number of at least 1.
        """
        check_is_fitted(self)
        wanted = self._wanted(n_neighbors)
        return kneighbors(self.codes_.query(X), self.X_, wanted, metric=self.metric)

    def search(self, X: Any, n_neighbors: int | None = None) -> list[list[Neighbour]]:
        """The nearest pictures of each query, without those of the query's own content.

        Raises
        ------
        ImageReadError
            If a query is bad.
        """
        check_is_fitted(self)
        queries, wanted = Pictures.of(X), self._wanted(n_neighbors)
        own = [self._key(queries, i) for i in range(len(queries))]
        copies = Counter(self.keys_)
        most = wanted + max((copies[key] for key in own), default=0)
        distances, rows = self.kneighbors(queries, most)
        return [
            [self._hit(r, d) for d, r in zip(ds, rs, strict=True) if self.keys_[r] != key][:wanted]
            for ds, rs, key in zip(distances, rows, own, strict=True)
        ]

    def _wanted(self, n_neighbors: int | None) -> int:
        return check_n_neighbors(self.n_neighbors if n_neighbors is None else n_neighbors)

    def _key(self, queries: Pictures, i: int) -> bytes:
        options = self.codes_.decode_options()
        try:
            return row_key(content_digest(queries.items[i]), options)
        except ImageReadError as error:
            path = queries.paths[i]
            raise ImageReadError(f"the query {path} {error}.", [(path, str(error))]) from error

    def _hit(self, row: int, distance: float) -> Neighbour:
        labels = self.pictures_.labels
        label = None if labels is None else str(labels[row])
        return Neighbour(self.pictures_.paths[row], label, float(distance), int(row))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def save_sheet(
    path: str | os.PathLike[str], queries: Sequence[str], found: Sequence[Sequence[Neighbour]]
) -> Path:
    """Draw queries and their neighbours into a PNG file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    rows = [[q, *(hit.path for hit in hits)] for q, hits in zip(queries, found, strict=True)]
    captions = [
        [os.path.basename(q), *(f"{hit.distance:.3f} {hit.label or ''}" for hit in hits)]
        for q, hits in zip(queries, found, strict=True)
    ]
    return save_png(contact_sheet(rows, captions=captions), path)
