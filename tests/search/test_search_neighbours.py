"""How many neighbours: at least one, all where there are fewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlfeatures import CNNCodes, ImageIndex
from tlfeatures.errors import UsageError


@pytest.fixture(scope="module")
def index(folder: Path, cache: Path) -> ImageIndex:
    return ImageIndex(CNNCodes("embedded", cache=cache)).fit(folder)


@pytest.mark.parametrize(
    ("n", "found"), [(None, 5), (1, 1), (np.int64(3), 3), (35, 35), (36, 36), (1000, 36)]
)
def test_so_many_are_found(n: Any, found: int, index: ImageIndex) -> None:
    query = index.pictures_.paths[:2]
    distances, rows = index.kneighbors(query, n)
    assert distances.shape == rows.shape == (2, found)
    assert len(index.search(query, n)[0]) == min(found, 35)  # itself left out


@pytest.mark.parametrize("n", [0, -1, 2.5, "3", float("nan")])
def test_fewer_than_one_or_no_whole_number_is_refused(n: Any, index: ImageIndex) -> None:
    query = index.pictures_.paths[:1]
    for ask in (index.kneighbors, index.search):
        with pytest.raises(UsageError, match="n_neighbors is"):
            ask(query, n)
    with pytest.raises(UsageError, match="n_neighbors is"):
        ImageIndex(index.codes_, n).fit(query)


def test_an_impossible_parameter_is_refused_before_any_work(
    index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CNNCodes, "extract", None)
    with pytest.raises(UsageError, match="n_neighbors is None"):
        ImageIndex(index.codes_, None).fit(["a.png"])
    with pytest.raises(UsageError, match="metric 'cosin' is unknown; did you mean 'cosine'"):
        ImageIndex(index.codes_, metric="cosin").fit(["a.png"])
