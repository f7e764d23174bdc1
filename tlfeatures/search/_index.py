"""`ImageIndex`: fit on pictures, ask for the neighbours of others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tlfeatures._notebook import block, lines
from tlfeatures.errors import ImageReadError, few
from tlfeatures.extraction import CNNCodes, as_codes
from tlfeatures.neighbors import check_metric, check_n_neighbors, kneighbors
from tlfeatures.pictures import (
    Pictures,
    as_pictures,
    check_readable,
    contact_sheet,
    save_png,
    show_row,
)
from tlfeatures.search._copies import Contents, Query, near, reason_of

QUERIES_SHOWN, HITS_SHOWN = 3, 6  # in a notebook


@dataclass(frozen=True)
class Neighbour:
    """One hit.

    Attributes
    ----------
    path : str
    label : str or None
    distance : float
        Of the codes, in 0..2 by cosine.
    row : int
        In `pictures_`.
    copy : {"file", "pixels"} or None
        "file": another file of the query's bytes. "pixels": the same picture once decoded, from
        another container, with other metadata, or in memory. None: another picture.
    """

    path: str
    label: str | None
    distance: float
    row: int
    copy: str | None = None


class Neighbours(list[list[Neighbour]]):
    """For each query its neighbours; a list that shows itself in a notebook.

    Parameters
    ----------
    found : list of lists of Neighbour
    queries : Pictures
        As many.
    pictures : Pictures
        Those of the index.
    """

    def __init__(self, found: list[list[Neighbour]], queries: Pictures, pictures: Pictures) -> None:
        super().__init__(found)
        self.queries = queries
        self.pictures = pictures

    def _repr_html_(self) -> str:
        """The first queries, each in a row with its first neighbours, for notebooks."""
        rows = []
        for query, hits in zip(self.queries.items[:QUERIES_SHOWN], self, strict=False):
            items = [query, *(self.pictures.items[hit.row] for hit in hits[:HITS_SHOWN])]
            captions = ["query", *(_caption(hit) for hit in hits[:HITS_SHOWN])]
            rows.append(show_row(items, captions))
        more = len(self) - QUERIES_SHOWN
        rest = lines([f"{more:,} more queries"] if more > 0 else [])
        return block(f"neighbours of {len(self):,} queries", *rows, rest)


@dataclass(frozen=True, repr=False)
class Answers:
    """What `ImageIndex.answer` found.

    Attributes
    ----------
    queries : Pictures
        Those that could be read.
    neighbours : Neighbours
        Of each of them.
    bad : list of (path, reason)
        The others.
    """

    queries: Pictures
    neighbours: Neighbours
    bad: list[tuple[str, str]]

    def __repr__(self) -> str:
        n_hits = sum(map(len, self.neighbours))
        return f"<Answers: {len(self.queries)} queries, {n_hits} neighbours, {len(self.bad)} bad>"

    def _repr_html_(self) -> str:
        bad = lines([f"bad query: {path}: {reason}" for path, reason in self.bad])
        return self.neighbours._repr_html_() + bad


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
        pictures = as_pictures(X)
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
        """Distances and rows of the nearest pictures, the query itself and its copies included.

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

    def search(self, X: Any, n_neighbors: int | None = None) -> Neighbours:
        """The copies of each query, then the nearest other pictures.

        The query's own file (the same place once links are followed) is never shown; a picture in
        memory has none. Other pictures of its content come first and do not count towards
        `n_neighbors`: files of the same bytes, then those of the same pixels, each in the order of
        the pictures. Pixels are compared where codes are equal but for rounding.

        Parameters
        ----------
        X : list of pictures
        n_neighbors : int, optional
            How many beside the copies.

        Returns
        -------
        Neighbours
            A list with a list of Neighbour for each query.

        Raises
        ------
        ImageReadError
            If a query is bad; `answer` leaves such ones out.
        """
        found = self.answer(X, n_neighbors)
        if found.bad:
            listed = few([f"{path}: {reason}" for path, reason in found.bad], "; ")
            raise ImageReadError(
                f"{len(found.bad)} of the queries cannot be read ({listed}); leave them out, or "
                "call answer, which does.",
                found.bad,
            )
        return found.neighbours

    def answer(self, X: Any, n_neighbors: int | None = None) -> Answers:
        """Like `search`, but bad queries are left out and listed.

        Parameters
        ----------
        X : list of pictures
        n_neighbors : int, optional

        Returns
        -------
        Answers
        """
        check_is_fitted(self)
        given, wanted = as_pictures(X), self._wanted(n_neighbors)
        contents = Contents(self.pictures_, self.keys_, self.codes_.decode_options())
        queries, reasons = {}, {}
        for i, item in enumerate(given.items):
            try:
                queries[i] = Query(item, contents)
            except ImageReadError as error:
                reasons[i] = str(error)
        codes = self._codes_of(given, list(queries), reasons)
        rows = sorted(codes)
        found = self._nearest([queries[i] for i in rows], [codes[i] for i in rows], wanted)
        bad = [(given.paths[i], reasons[i]) for i in sorted(reasons)]
        answered = given[np.array(rows, int)]
        return Answers(answered, Neighbours(found, answered, self.pictures_), bad)

    def _codes_of(
        self, given: Pictures, rows: list[int], reasons: dict[int, str]
    ) -> dict[int, NDArray[np.float32]]:
        """Codes of those that can be decoded, by row; the reasons of the others are added."""
        if not rows:
            return {}
        try:
            codes = self.codes_.query(given[np.array(rows, int)])
        except ImageReadError as error:
            why = dict(error.bad)
            bad = [i for i in rows if given.paths[i] in why]
            if not bad:
                raise
            reasons |= {i: why[given.paths[i]] for i in bad}
            return self._codes_of(given, [i for i in rows if i not in reasons], reasons)
        is_bad = np.isnan(codes.sum(axis=1))  # what on_bad="nan" gives
        reasons |= {rows[i]: reason_of(given.items[rows[i]]) for i in np.flatnonzero(is_bad)}
        return {row: codes[i] for i, row in enumerate(rows) if not is_bad[i]}

    def _nearest(
        self, queries: list[Query], codes: list[NDArray[np.float32]], wanted: int
    ) -> list[list[Neighbour]]:
        """Copies and neighbours of each query; more rows are looked at where copies take places."""
        if not queries:
            return []
        most = wanted + 1 + max(len(query.same) for query in queries)
        found = kneighbors(np.stack(codes), self.X_, most, metric=self.metric)
        return [
            self._hits_of(query, code, wanted, distances, rows)
            for query, code, distances, rows in zip(queries, codes, *found, strict=True)
        ]

    def _wanted(self, n_neighbors: int | None) -> int:
        return check_n_neighbors(self.n_neighbors if n_neighbors is None else n_neighbors)

    def _hits_of(
        self,
        query: Query,
        code: NDArray[np.float32],
        wanted: int,
        distances: NDArray[Any],
        rows: NDArray[np.intp],
    ) -> list[Neighbour]:
        limit = near(self.codes_.spec_.precision, self.metric, float(np.linalg.norm(code)))
        others = [row for row in query.same if row not in rows]  # rounding put them behind others
        if others:
            more, places = kneighbors(code[None], self.X_[others], len(others), metric=self.metric)
            distances, rows = np.append(distances, more), np.append(rows, np.array(others)[places])
        copies: list[Neighbour] = []
        hits: list[Neighbour] = []
        for row, distance in zip(rows.tolist(), distances.tolist(), strict=True):
            if query.is_own(row):
                continue
            kind = query.kind_of(row, is_near=distance <= limit)
            (hits if kind is None else copies).append(self._hit(row, distance, kind))
        is_all = len(rows) >= len(self.X_)
        if not is_all and (len(hits) < wanted or max(distances) <= limit):
            n = 2 * len(rows)
            further, places = kneighbors(code[None], self.X_, n, metric=self.metric)
            return self._hits_of(query, code, wanted, further[0], places[0])
        return sorted(copies, key=lambda hit: (hit.copy, hit.row)) + hits[:wanted]

    def _hit(self, row: int, distance: float, copy: str | None) -> Neighbour:
        labels = self.pictures_.labels
        label = None if labels is None else str(labels[row])
        return Neighbour(self.pictures_.paths[row], label, float(distance), int(row), copy)

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
        [os.path.basename(q), *(_caption(hit) for hit in hits)]
        for q, hits in zip(queries, found, strict=True)
    ]
    return save_png(contact_sheet(rows, captions=captions), path)


def _caption(hit: Neighbour) -> str:
    mark = f" (copy: {hit.copy})" if hit.copy else ""
    return f"{hit.distance:.3f} {hit.label or ''}{mark}"
