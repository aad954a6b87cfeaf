"""The places of vectors in a plane."""

import numpy as np
import pytest

from jobs.engine.report.layout import SMALL, components, layout, neighbour_map


def _groups(count, dimensions):
    """Vectors in three groups, and the group of each."""
    random = np.random.default_rng(0)
    group = np.arange(count) % 3
    return 6 * random.normal(size=(3, dimensions))[group] + random.normal(size=(count, dimensions)), group


def _same_group(points, group):
    """The share of the points whose nearest other point is of the same group."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return (group[distances.argmin(axis=1)] == group).mean()


def test_t_sne_keeps_neighbours_and_repeats_itself():
    vectors, group = _groups(150, 12)
    vectors[10] = vectors[13] = vectors[16]
    points = neighbour_map(vectors.astype(np.float32), 3)
    assert _same_group(points, group) > 0.95
    assert np.array_equal(points, neighbour_map(vectors.astype(np.float32), 3))


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (2, 5), (4, 1), (30, 8)])
def test_few_vectors_lie_by_their_principal_components_within_the_map(shape):
    assert shape[0] < SMALL
    placed = layout(np.random.default_rng(1).normal(size=shape), 0)
    assert placed.method == "the first two principal components"
    assert placed.points.shape == (shape[0], 2)
    assert np.isfinite(placed.points).all()
    assert np.abs(placed.points).max(initial=0) <= 1
    if shape[0] > 1:
        assert np.ptp(placed.points[:, 0]) == pytest.approx(2)


def test_equal_vectors_lie_at_one_place():
    assert (layout(np.ones((5, 3)), 0).points == 0).all()


def test_principal_components_are_those_of_the_largest_variance():
    vectors = np.array([[3.0, 0.0, 1.0], [-3.0, 0.0, 1.0], [0.0, 0.5, 1.0], [0.0, -0.5, 1.0]])
    assert components(vectors) == pytest.approx(vectors[:, :2])


def test_vectors_of_many_dimensions_are_projected_and_keep_their_groups():
    vectors, group = _groups(60, 3_000)
    assert _same_group(layout(vectors, 5).points, group) == 1
    assert np.array_equal(layout(vectors, 5).points, layout(vectors, 5).points)
