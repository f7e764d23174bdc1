"""Nearest neighbours against brute force in float64."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tlfeatures.errors import CodesMismatchError, UsageError
from tlfeatures.neighbors import METRICS, kneighbors
from tlfeatures.neighbors import _exact as exact


def brute_force(queries, X, k, metric):
    """All distances in float64, sorted by distance, then row."""
    distances = cdist(np.asarray(queries, float), np.asarray(X, float), metric)
    indices = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, indices, axis=1), indices


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 7, 300])
def test_neighbours_are_those_of_brute_force(metric, dtype, k):
    """Indices and distances agree; float32 in, float32 out."""
    rng = np.random.default_rng(0)
    X, queries = rng.random((300, 40)).astype(dtype), rng.random((50, 40)).astype(dtype)
    distances, indices = kneighbors(queries, X, k, metric=metric)
    expected, rows = brute_force(queries, X, k, metric)
    assert distances.dtype == dtype
    np.testing.assert_allclose(distances, expected, rtol=1e-5, atol=1e-7)
    assert (indices == rows).mean() > 0.999  # float32 may make ties of the nearest values


def test_very_close_rows_keep_their_order():
    """Distances of 1e-9 to 1e-7, far below the rounding of a float32 product, are told apart."""
    angles = np.linspace(1e-4, 5e-4, 9)
    X = np.c_[np.cos(angles), np.sin(angles)][::-1].astype(np.float32)
    distances, indices = kneighbors([[1.0, 0.0]], X, 9)
    np.testing.assert_array_equal(indices[0], np.arange(9)[::-1])
    np.testing.assert_allclose(distances[0], angles**2 / 2, rtol=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_ties_come_in_order_of_rows(metric):
    """Copies spread among others are listed by row number, all at one distance."""
    rng = np.random.default_rng(0)
    X = rng.random((101, 33)).astype(np.float32)
    X[[97, 3, 50, 20]] = X[11]
    distances, indices = kneighbors(X[11:12], X, 4, metric=metric)
    np.testing.assert_array_equal(indices, [[3, 11, 20, 50]])
    np.testing.assert_array_equal(distances, [[0, 0, 0, 0]])
    _, far = kneighbors(rng.random((1, 33)), X, 101, metric=metric)
    copies = far[0][np.isin(far[0], [3, 11, 20, 50, 97])]
    np.testing.assert_array_equal(copies, [3, 11, 20, 50, 97])


def test_cosine_ignores_length_and_stays_in_its_range():
    """A multiple is at distance 0, an opposite at 2, a row of zeros at 1, also from zeros."""
    X = np.array([[3, 4], [-3, -4], [0, 0], [1e-30, 0], [1e18, 0]], dtype=np.float32)
    distances, indices = kneighbors(np.float32([[0.3, 0.4], [0, 0]]), X, 5)
    np.testing.assert_array_equal(indices, [[0, 3, 4, 2, 1], [0, 1, 2, 3, 4]])
    np.testing.assert_allclose(distances[0], [0, 0.4, 0.4, 1, 2], atol=1e-6)
    np.testing.assert_array_equal(distances[1], 1)
    assert distances.min() >= 0
    assert distances.max() <= 2


def test_blocks_change_nothing(monkeypatch):
    """One query at a time, a few rows at a time: the same bits."""
    rng = np.random.default_rng(0)
    X, queries = rng.random((200, 16)).astype(np.float32), rng.random((30, 16))
    distances, indices = kneighbors(queries, X, 6)
    monkeypatch.setattr(exact, "BLOCK_BYTES", 1000)
    again, rows = kneighbors(queries, X, 6)
    np.testing.assert_array_equal(again, distances)
    np.testing.assert_array_equal(rows, indices)


def test_no_piece_of_the_distance_matrix_is_larger_than_a_block(monkeypatch):
    """Memory is bounded: 500 x 400 distances never stand in memory at once."""
    pieces = []
    rough = exact._rough
    monkeypatch.setattr(exact, "BLOCK_BYTES", 40_000)
    monkeypatch.setattr(exact, "_rough", lambda *given: pieces.append(rough(*given)) or pieces[-1])
    X = np.random.default_rng(0).random((400, 8))
    kneighbors(X.repeat(2, axis=0)[:500], X, 3)
    assert max(piece.nbytes for piece, _ in pieces) <= 40_000
    assert sum(len(piece) for piece, _ in pieces) == 500


def test_many_equal_rows_are_measured_in_parts(monkeypatch):
    """Where every row is a candidate, the float64 part is bounded too."""
    monkeypatch.setattr(exact, "BLOCK_BYTES", 800)
    distances, indices = kneighbors(np.ones((2, 10)), np.ones((300, 10)), 3)
    np.testing.assert_array_equal(indices, [[0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(distances, 0)


def test_more_neighbours_than_rows_means_all():
    """n_neighbors is capped at the number of rows."""
    distances, indices = kneighbors([[1.0, 0.0]], np.eye(2), 10)
    np.testing.assert_array_equal(indices, [[0, 1]])
    np.testing.assert_allclose(distances, [[0, 1]])


def test_lists_and_whole_numbers_are_taken():
    """Anything array-like; whole numbers count as float64."""
    distances, _ = kneighbors([[3, 4]], [[0, 0], [3, 0]], 2, metric="euclidean")
    np.testing.assert_array_equal(distances, [[4, 5]])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"metric": "cosin"}, "did you mean 'cosine'"),
        ({"metric": "hamming"}, "choose one of"),
        ({"n_neighbors": 0}, "give 1 or more"),
    ],
)
def test_senseless_words_are_refused(given, words):
    """Metric and count."""
    with pytest.raises(UsageError, match=words):
        kneighbors(np.eye(2), np.eye(2), **given)


def test_codes_of_another_width_are_refused():
    """The message says what to do."""
    with pytest.raises(CodesMismatchError, match=r"3 columns, X has 2; extract both with the same"):
        kneighbors(np.eye(3), np.eye(2))


def test_nan_and_nothing_are_refused():
    """The words name the input."""
    with pytest.raises(ValueError, match="queries contains NaN"):
        kneighbors([[np.nan, 0]], np.eye(2))
    with pytest.raises(ValueError, match="X contains NaN or infinity; leave those rows out"):
        kneighbors(np.eye(2, dtype=np.float32), [[1, 0], [-np.inf, 0], [np.inf, 0]])
    with pytest.raises(ValueError, match=r"X has shape \(0, 2\); give \(n, d\), both"):
        kneighbors(np.eye(2), np.empty((0, 2)))
    with pytest.raises(ValueError, match=r"queries has shape \(2,\)"):
        kneighbors([1.0, 0.0], np.eye(2))
    with pytest.raises(ValueError, match="X holds complex numbers"):
        kneighbors(np.eye(2), np.eye(2) * 1j)


def test_rows_whose_sum_overflows_are_no_infinity():
    """The quick look at the sum says nothing of them alone; each is finite."""
    far = np.full((8, 2), 1e38, np.float32)
    far[1, 0] = -1e38
    _, indices = kneighbors(far[1:2], far, 1)
    assert indices.tolist() == [[1]]
