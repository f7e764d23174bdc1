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


def extended(queries, X, k, metric):
    """As brute force, in long doubles; equal after rounding to float32: in order of rows."""
    Q, base = np.asarray(queries, np.longdouble), np.asarray(X, np.longdouble)
    if metric == "cosine":
        Q, base = (rows / np.sqrt((rows**2).sum(axis=1))[:, None] for rows in (Q, base))
        far = np.array([((base - q) ** 2).sum(axis=1) / 2 for q in Q])
    else:
        far = np.array([np.sqrt(((base - q) ** 2).sum(axis=1)) for q in Q])
    far = far.astype(np.float32)
    rows = np.argsort(far, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(far, rows, axis=1), rows


def crowd(n, width, spread, scale=1.0):
    """float32 rows around one point, so near that a float32 product cannot rank them."""
    rng = np.random.default_rng(0)
    middle = rng.random(width) + 0.5
    return ((middle + spread * rng.normal(size=(n, width))) * scale).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 5, 40])
def test_a_crowd_that_a_product_cannot_rank_is_ranked_rightly(metric, k):
    """What rounding hides among the nearest is measured: each of the k is right, and their order.

    The queries are at the crowd's edge, in its middle and far off.
    """
    X = crowd(1500, 128, 2e-4)
    queries = np.r_[X[:10], X[:10] + np.float32(1e-3), X[10:20] * np.float32(-2)]
    distances, indices = kneighbors(queries, X, k, metric=metric)
    expected, rows = extended(queries, X, k, metric)
    np.testing.assert_array_equal(indices, rows)
    np.testing.assert_array_equal(distances, expected)


SCALES = [1e-36, 1e-30, 1e-20, 1e-10, 1e10, 1e17, 1e20, 1e36]


@pytest.mark.parametrize(
    ("metric", "scale"),
    [("cosine", 1e-44), ("cosine", 1e-42), *((m, s) for m in METRICS for s in SCALES)],
)
def test_neighbours_are_right_at_every_scale(metric, scale):
    """Squares of such rows leave the range of float32, or the rows have few bits themselves."""
    X = crowd(300, 32, 0.05, scale)
    distances, indices = kneighbors(X[:20], X, 6, metric=metric)
    expected, rows = extended(X[:20], X, 6, metric)
    assert distances.dtype == np.float32
    np.testing.assert_array_equal(indices, rows)
    np.testing.assert_allclose(distances, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("of_queries", "of_rows"), [(1e36, 1e4), (1e4, 1e36)])
def test_queries_and_rows_may_differ_in_scale(metric, of_queries, of_rows):
    queries, X = crowd(20, 32, 0.5, of_queries), crowd(300, 32, 0.5, of_rows)
    distances, indices = kneighbors(queries, X, 6, metric=metric)
    expected, rows = extended(queries, X, 6, metric)
    np.testing.assert_array_equal(indices, rows)
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_one_giant_among_tiny_rows_does_not_blur_them(metric):
    X = crowd(300, 32, 0.05, 1e-6)
    X[7] *= np.float32(1e9)
    _, indices = kneighbors(X[20:40], X, 6, metric=metric)
    np.testing.assert_array_equal(indices, extended(X[20:40], X, 6, metric)[1])


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_but_zeros_has_neighbours_too(metric):
    distances, indices = kneighbors(np.zeros((2, 3)), np.zeros((4, 3)), 2, metric=metric)
    np.testing.assert_array_equal(indices, [[0, 1], [0, 1]])
    np.testing.assert_array_equal(distances, 1.0 if metric == "cosine" else 0.0)


def test_opposites_are_never_farther_than_two():
    """Rounding in float64 would say 2.0000000000000004 of some of them."""
    X = np.random.default_rng(0).normal(size=(500, 7))
    distances, _ = kneighbors(-X, X, 500)
    assert distances[:, -1].max() == 2.0


@pytest.mark.parametrize("n", [9, 10, 11, 21])
@pytest.mark.parametrize("metric", METRICS)
def test_the_last_row_of_the_last_part_is_measured(monkeypatch, n, metric):
    monkeypatch.setattr(exact, "BLOCK_BYTES", 800)  # ten rows of ten float64
    X = np.ones((n, 10))
    X[:-1, 0] += 1e-9
    _, indices = kneighbors(np.ones((1, 10)), X, 1, metric=metric)
    assert indices.tolist() == [[n - 1]]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n_queries", [1, 2, 3, 4])
def test_the_last_query_of_the_last_block_is_answered(monkeypatch, n_queries, metric):
    X = np.random.default_rng(0).normal(size=(10, 4))
    monkeypatch.setattr(exact, "BLOCK_BYTES", 2 * 10 * 8)  # two queries at a time
    _, indices = kneighbors(X[:n_queries], X, 1, metric=metric)
    assert indices[:, 0].tolist() == list(range(n_queries))


def test_a_query_with_several_copies_finds_them_all_before_any_other():
    """So whoever leaves copies out may ask for as many more as there are, and has k others."""
    X = crowd(60, 16, 0.01)
    X[[4, 31, 59]] = X[12]
    distances, indices = kneighbors(X[12:13], X, 4 + 5)
    assert indices[0, :4].tolist() == [4, 12, 31, 59]
    assert not distances[0, :4].any()
    assert distances[0, 4:].all()
    others = np.setdiff1d(np.arange(60), [4, 12, 31, 59])
    np.testing.assert_array_equal(indices[0, 4:], others[kneighbors(X[12:13], X[others], 5)[1][0]])
