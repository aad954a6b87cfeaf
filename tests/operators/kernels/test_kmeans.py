"""kmeans against the definition of Lloyd's algorithm."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels import kmeans as kernel
from operators.kernels.cloud import Cloud, grid_of
from operators.kernels.kmeans import kmeans
from operators.kernels.sharding import here


def topics(seed, n=1500, width=16, count=12):
    random = np.random.default_rng(seed)
    centers = random.normal(size=(count, width)) * 3
    return (centers[random.integers(0, count, n)] + random.normal(size=(n, width))).astype(np.float32)


def squares(points, centroids):
    return ((points.astype(np.float64)[:, None] - centroids.astype(np.float64)[None]) ** 2).sum(axis=2)


def lloyd(points, centroids, iterations):
    """The definition, for clouds in which no centroid is left without points."""
    for _ in range(iterations):
        labels = np.sqrt(squares(points, centroids)).astype(np.float32).argmin(axis=1)
        means = [points[labels == label].astype(np.float64).mean(axis=0) for label in range(len(centroids))]
        centroids = np.array(means, np.float32)
    return centroids, np.sqrt(squares(points, centroids)).astype(np.float32).argmin(axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_all_points_equals_lloyd(seed):
    points = topics(seed)
    start = kmeans(points, 12, seed=seed, iterations=0, full_iterations=0).centroids
    centroids, labels = lloyd(points, start, 6)
    found = kmeans(points, 12, seed=seed, iterations=6, full_iterations=6)
    assert found.labels.tolist() == labels.tolist()
    assert found.centroids == pytest.approx(centroids, abs=1e-6)
    assert found.inertia == pytest.approx(squares(points, centroids).min(axis=1).sum(), rel=1e-6)
    assert found.distances == pytest.approx(np.sqrt(squares(points, centroids).min(axis=1)), rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_kmeans_every_point_has_its_nearest_centroid(dtype):
    points = topics(3).astype(dtype)
    found = kmeans(points, 20, seed=1)
    expected = np.sqrt(squares(points.astype(np.float32), found.centroids)).astype(np.float32)
    assert found.labels.tolist() == expected.argmin(axis=1).tolist()
    assert (found.centroids.dtype, found.labels.dtype, found.distances.dtype) == (
        np.float32,
        np.int32,
        np.float32,
    )


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_kmeans_integer_grids_ties_go_to_the_lowest_label(data):
    rows = data.draw(st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=1, max_size=40))
    centers = data.draw(st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=1, max_size=9))
    points, centroids = np.array(rows, np.float32), np.array(centers, np.float32)
    assert Cloud(points).nearest(centroids).tolist() == squares(points, centroids).argmin(axis=1).tolist()


def test_kmeans_sampled_iterations_cost_little_inertia(monkeypatch):
    monkeypatch.setattr(kernel, "SAMPLE", 512)
    monkeypatch.setattr(kernel, "EACH", 40)
    points = topics(5, n=20_000, count=40)
    rough = kmeans(points, 40, seed=0)
    full = kmeans(points, 40, seed=0, full_iterations=11)
    assert rough.centroids.tobytes() != full.centroids.tobytes()
    assert rough.inertia <= 1.05 * full.inertia


def test_kmeans_rough_iterations_cost_little_inertia_far_from_zero_and_beside_long_points(monkeypatch):
    monkeypatch.setattr(kernel, "SAMPLE", 5999)
    points = topics(5, n=6000, count=40)
    points[:, 0] += 20
    points[7:9] *= 10
    rough = kmeans(points, 40, seed=0)
    monkeypatch.setattr(kernel, "MANY", 41)
    exact = kmeans(points, 40, seed=0)
    assert rough.centroids.tobytes() != exact.centroids.tobytes()
    assert rough.inertia <= 1.01 * exact.inertia


def test_kmeans_the_last_iteration_takes_the_nearest_centroids(monkeypatch):
    points = np.random.default_rng(6).normal(size=(3000, 16)).astype(np.float32)
    monkeypatch.setattr(kernel, "SAMPLE", 2999)
    start = kmeans(points, 40, seed=1, iterations=0, full_iterations=0).centroids
    cloud = Cloud(points)
    grid = grid_of(len(points), cloud.look_at(None))
    before, _ = kernel._lloyd(here(cloud), "rough_step", start, 2, grid, lambda turn: None)
    assert cloud.near(before).tolist() != cloud.nearest(before).tolist()
    centroids, labels = lloyd(points, before, 1)
    found = kmeans(points, 40, seed=1, iterations=3)
    assert found.centroids == pytest.approx(centroids, abs=1e-6)
    assert (found.labels.tolist(), found.iterations) == (labels.tolist(), 3)


def test_kmeans_any_number_of_threads_gives_the_same_bits():
    points = np.random.default_rng(0).normal(size=(3000, 24)).astype(np.float32)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(kmeans(points, 30, seed=4))
    torch.set_num_threads(before)
    assert found[0].labels.tobytes() == found[1].labels.tobytes()
    assert found[0].centroids.tobytes() == found[1].centroids.tobytes()
    assert found[0].inertia == found[1].inertia


def test_sums_any_order_and_number_of_shards_give_the_same_bits():
    random = np.random.default_rng(1)
    rows = (random.normal(size=(3000, 7)) * 10.0 ** random.integers(-4, 4, (3000, 1))).astype(np.float32)
    centroids, order = rows[:9], random.permutation(3000)
    grid = grid_of(3000, float(np.linalg.norm(rows, axis=1).max()))
    whole, shuffled, *parts = (
        Cloud(some).step(centroids, grid) for some in (rows, rows[order], rows[:7], rows[7:2000], rows[2000:])
    )
    assert whole[1].tobytes() == shuffled[1].tobytes() == sum(part[1] for part in parts).tobytes()
    assert whole[2].sum() == 3000
    labels = np.sqrt(squares(rows, centroids)).astype(np.float32).argmin(axis=1)
    exact = np.array([rows[labels == label].astype(np.float64).sum(axis=0) for label in range(9)])
    assert whole[1] == pytest.approx(exact, rel=1e-9, abs=1e-9 * float(np.abs(rows).max()))


def test_a_step_that_moves_points_between_sums_gives_the_bits_of_sums_from_nothing():
    points = topics(2)
    grid = grid_of(len(points), float(np.linalg.norm(points, axis=1).max()))
    stepping = Cloud(points)
    for centroids in (points[:9], points[9:18], points[9:18]):
        changed, total, counts = stepping.step(centroids, grid)
        _, expected, numbers = Cloud(points).step(centroids, grid)
        assert (total.tobytes(), counts.tolist()) == (expected.tobytes(), numbers.tolist())
    assert not changed


def test_kmeans_ltd_vectors_part_the_two_tasks():
    points = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [-1, 0], [-0.8, -0.6], [-0.6, -0.8]])
    for seed in range(5):
        labels = kmeans(points, 2, seed=seed).labels
        assert len(set(labels[:4].tolist())) == len(set(labels[4:].tolist())) == 1
        assert labels[0] != labels[4]


@pytest.mark.fault(
    "a centroid loses its points",
    how="fewer different points than centroids",
    holds="a warning, and as many centroids as there are points",
)
def test_kmeans_more_centroids_than_distinct_points_warns():
    points = np.array([[0.0], [-0.0], [1.0], [1.0], [5.0]])
    with pytest.warns(UserWarning, match="3 centroids, not 4"):
        found = kmeans(points, 4, seed=0)
    assert sorted(found.centroids.ravel().tolist()) == [0, 1, 5]
    assert found.inertia == 0


@pytest.mark.fault(
    "a centroid loses its points",
    how="a first centroid that no point is near to",
    holds="it moves to the farthest point",
)
def test_kmeans_centroid_left_without_points_moves_to_the_farthest(monkeypatch):
    points = np.array([[0.0], [1.0], [2.0], [50.0], [-50.0]], np.float32)
    monkeypatch.setattr(kernel, "_distinct", _first)
    found = kmeans(points, 2, seed=0, iterations=1, full_iterations=1)
    assert found.centroids.ravel().tolist() == [pytest.approx(0.6), 50]


def _first(vectors, order, k):
    """Two first centroids, the second of which gets no point; afterwards the first vectors of the order."""
    return np.array([[0.0], [1000.0]], np.float32) if k == 2 else vectors(order[:k])


def test_kmeans_one_centroid_is_the_mean():
    points = topics(8)
    found = kmeans(points, 1, seed=0)
    assert found.centroids[0] == pytest.approx(points.mean(axis=0, dtype=np.float64), abs=1e-6)
    assert found.iterations < 11


def test_kmeans_wrong_requests_are_refused():
    points = topics(9, n=20)
    with pytest.raises(ValueError, match="k=0"):
        kmeans(points, 0, seed=0)
    with pytest.raises(ValueError, match="iterations"):
        kmeans(points, 2, seed=0, iterations=1, full_iterations=2)
    points[7, 0] = np.nan
    with pytest.raises(ValueError, match="row 7"):
        kmeans(points, 2, seed=0)
    with pytest.raises(ValueError, match="no points"):
        kmeans(points[:0], 2, seed=0)
