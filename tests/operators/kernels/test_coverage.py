"""What kept rows cover, against its definition."""

import numpy as np
import pytest

from operators.kernels.coverage import coverage


def test_coverage_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    points, centroids = rng.normal(size=(80, 3)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
    points[7] = points[3]
    kept, rows, near = np.array([3, 7, 40, 75]), 60, 0.4
    found = coverage(points, kept=kept, rows=rows, centroids=centroids, near=near)
    away = np.linalg.norm(points[:rows, None] - points[kept], axis=2).min(axis=1)
    among = np.linalg.norm(points[kept][:, None] - points[kept], axis=2) + 9 * np.eye(len(kept))
    topics = {np.linalg.norm(centroids - point, axis=1).argmin() for point in points[kept]}
    assert (found.radius, found.mean_distance) == pytest.approx((away.max(), away.mean()), abs=1e-6)
    assert (found.topics, found.near_duplicates) == (len(topics), int((among.min(axis=1) <= near).sum()))
    assert found.near_duplicates >= 2


def test_one_kept_row_has_no_near_duplicate_and_none_covers_nothing():
    points = np.zeros((3, 2))
    one = coverage(points, kept=np.array([1]), rows=3, centroids=points[:1], near=1.0)
    assert one == (0.0, 0.0, 1, 0)
    none = coverage(points, kept=np.array([], int), rows=3, centroids=points[:1], near=1.0)
    assert np.isnan(none.radius)
    assert (none.topics, none.near_duplicates) == (0, 0)
