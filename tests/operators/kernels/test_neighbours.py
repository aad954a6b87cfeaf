"""The nearest neighbours against all distances, one by one."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from operators.kernels import near_rows
from operators.kernels import neighbours as module
from operators.kernels.neighbours import Shard, isolation, nearest, neighbours
from operators.kernels.sharding import here, sharding


def by_definition(points, queries, count, own) -> tuple[np.ndarray, np.ndarray]:
    """Ids and distances of the nearest rows of each query, from every distance, ties by id."""
    ids, far = [], []
    for query, itself in zip(queries, own, strict=True):
        gap = np.sqrt(np.square(points.astype(np.float64) - query.astype(np.float64)).sum(axis=1)).astype(np.float32)
        order = [at for at in np.lexsort((np.arange(len(points)), gap)) if at != itself][:count]
        ids.append(order)
        far.append(gap[order])
    return np.array(ids), np.array(far)


def split(points, cuts):
    """Asks shards between these cuts."""
    return here(*(Shard(points[start:stop], start) for start, stop in pairwise([0, *cuts, len(points)])))


def rows(count, width=24, dtype=np.float16, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((count, width)).astype(dtype)
    points[rng.integers(0, count, count // 4)] = points[rng.integers(0, count, count // 4)]  # some equal rows
    points[3:13] = points[2]
    return points


def test_points_on_a_line():
    found = neighbours(np.array([[0.0], [1.0], [3.0], [7.0]]), 2)
    assert found.distances.tolist() == [3, 2, 3, 6]
    assert (found.i, found.recall) == (2, 1.0)


@pytest.mark.parametrize("i", [1, 6, 12])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_ith_neighbour_is_that_of_all_distances_over_any_shards(i, dtype):
    points = rows(700, dtype=dtype)
    expected = by_definition(points, points, i, np.arange(len(points)))[1][:, -1]
    assert np.array_equal(neighbours(points, i).distances, expected)
    for cuts in ([], [1], [300, 300, 302], [0, 700]):
        assert np.array_equal(isolation(split(points, cuts), i).distances, expected)


def test_copies_are_neighbours_at_distance_zero_and_a_row_is_never_its_own():
    points = rows(40)
    points[20:27] = points[20]  # seven equal rows
    found = neighbours(points, 6).distances
    assert found[20:27].tolist() == [0] * 7
    assert (neighbours(points, 7).distances[20:27] > 0).all()


@pytest.mark.parametrize("cuts", [[], [120]])
def test_the_nearest_rows_of_vectors_with_ties_by_id(cuts):
    points = np.round(rows(300, width=3, dtype=np.float32))  # a grid: many equal distances
    queries = np.round(rows(50, width=3, dtype=np.float32, seed=1))
    found = nearest(split(points, cuts), queries, 5)
    ids, far = by_definition(points, queries, 5, [-1] * 50)
    assert np.array_equal(found.ids, ids)
    assert np.array_equal(found.distances, far)


def test_ids_that_are_given_are_returned_and_decide_ties_and_what_is_itself():
    points = np.array([[0.0], [0.0], [2.0]])
    shard = Shard(points, ids=np.array([9, 4, 7]))
    assert nearest(here(shard), np.array([[0.1]]), 3).ids.tolist() == [[4, 9, 7]]
    assert nearest(here(shard), np.array([[0.0]]), 3, own=np.array([4])).ids.tolist() == [[9, 7, -1]]


def test_far_from_the_origin_the_answer_is_still_exact():
    points = (rows(200, dtype=np.float64) * 1e-3 + 1000).astype(np.float32)
    expected = by_definition(points, points, 3, np.arange(200))[1][:, -1]
    assert np.array_equal(neighbours(points, 3).distances, expected)


def test_fewer_rows_than_the_neighbour_asked_for():
    assert neighbours(np.array([[0.0], [1.0], [5.0]]), 6).distances.tolist() == [5, 4, 5]
    assert neighbours(np.array([[0.0], [1.0], [5.0]]), 6).i == 2
    assert np.isnan(neighbours(np.array([[1.0]]), 6).distances).all()
    assert len(neighbours(np.empty((0, 4)), 6).distances) == 0


def test_above_the_limit_the_answer_is_approximate_and_the_same_over_any_shards_and_says_its_recall(monkeypatch):
    points = rows(4000, width=8)
    exact = by_definition(points, points[::40], 6, np.arange(4000)[::40])[1][:, -1]
    monkeypatch.setattr(module, "EXACT", 1500)
    monkeypatch.setattr(near_rows, "PROBES", 24)
    found = neighbours(points, 6)
    assert (found.distances[::40] >= exact).all()
    assert 0.5 < np.isclose(found.distances[::40], exact).mean() <= 1
    assert 0.8 < found.recall < 1
    assert found.distances[3:10].tolist() == [0] * 7
    declared = sharding(neighbours)
    assert declared is not None
    assert declared.cuts(4000, 9) == [0, 1500, 3000, 4000]
    assert declared.cuts(1000, 2) == [0, 500, 1000]
    for cuts in ([1500], [1500, 3000]):
        again = isolation(split(points, cuts), 6)
        assert (again.i, again.recall) == (found.i, found.recall)
        assert np.array_equal(again.distances, found.distances)


@pytest.mark.parametrize("count", [101, 105, 250])
def test_a_part_of_a_few_rows_or_of_equal_ones_is_searched_too(count, monkeypatch):
    monkeypatch.setattr(module, "EXACT", 100)
    points = rows(count, width=8) if count < 250 else np.ones((count, 8), np.float32)
    found = neighbours(points, 3)
    assert np.array_equal(found.distances, by_definition(points, points, 3, np.arange(count))[1][:, -1])
    assert found.recall == 1


def test_many_rows_that_are_nearly_equal_do_not_fill_the_memory():
    points = 1 + np.random.default_rng(0).normal(size=(900, 4)) * 1e-4  # products in float32 tell none of them apart
    expected = by_definition(points, points[:512], 6, np.arange(512))[1][:, -1]
    tracemalloc.start()
    found = neighbours(points, 6).distances
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(found[:512], expected)
    assert peak < 40e6, f"{peak:,} bytes for {points.nbytes:,} of points"


def test_bad_rows_and_numbers_are_refused():
    with pytest.raises(ValueError, match="row 2 holds"):
        neighbours(np.array([[0.0], [1.0], [np.nan]]), 1)
    with pytest.raises(ValueError, match="first neighbour is 1"):
        neighbours(np.zeros((3, 2)), 0)
