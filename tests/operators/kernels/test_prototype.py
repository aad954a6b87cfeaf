"""Prototype distance and quotas against published vectors and naive code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.prototype import prototype_distance, quota, without_direction

POINTS = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [-1, 0], [-0.8, -0.6], [-0.6, -0.8]], np.float32)
CENTROIDS = np.array([[0.6, 0.6], [-0.8, -0.4667]])
LABELS = np.array([0, 0, 0, 0, 1, 1, 1])


def naive_quota(distances, labels, per_centroid, easy, hard):
    picks = []
    for label in sorted(set(labels.tolist())):
        group = sorted(np.flatnonzero(labels == label).tolist(), key=lambda i: (distances[i], i))
        if len(group) < per_centroid:
            split = min(easy, len(group)) if hard else len(group)
        else:
            split, group = easy, group[:easy] + group[len(group) - hard :]
        picks += [(i, "easy") for i in group[:split]] + [(i, "hard") for i in group[:split:-1]]
        picks += [(group[split], "hard")] if split < len(group) else []
    return picks


def test_prototype_distance_deft_vectors_give_their_distances():
    found = prototype_distance(POINTS, LABELS, CENTROIDS)
    assert found.dtype == np.float32
    assert found == pytest.approx([0.2929, 0.0101, 0.0101, 0.2929, 0.1362, 0.0067, 0.0786], abs=5e-5)


def test_prototype_distance_sorscher_global_order_is_theirs():
    order = np.argsort(prototype_distance(POINTS, LABELS, CENTROIDS), kind="stable")
    assert set(order[-3:].tolist()) == {0, 3, 4}
    assert order[:3].tolist() == [5, 1, 2]


@pytest.mark.parametrize(
    ("easy", "hard", "picks"),
    [
        (1, 0, [(1, "easy"), (2, "easy"), (5, "easy"), (6, "easy")]),
        (0, 1, [(3, "hard"), (0, "hard"), (4, "hard"), (6, "hard")]),
        (0.5, 0.5, [(1, "easy"), (3, "hard"), (5, "easy"), (4, "hard")]),
    ],
)
def test_quota_deft_vectors_give_their_picks(easy, hard, picks):
    found = quota(prototype_distance(POINTS, LABELS, CENTROIDS), LABELS, 2, easy, hard)
    assert list(zip(found.positions.tolist(), found.tags.tolist(), strict=True)) == picks


def test_prototype_distance_equals_naive_cosine():
    random = np.random.default_rng(0)
    points, centroids = random.normal(size=(700, 5)), random.normal(size=(3, 5))
    labels = random.integers(0, 3, 700)
    own = centroids[labels]
    norms = np.linalg.norm(points, axis=1) * np.linalg.norm(own, axis=1)
    expected = 1 - (points * own).sum(axis=1) / norms
    for dtype, tolerance in ((np.float64, 1e-7), (np.float16, 2e-3)):
        found = prototype_distance(points.astype(dtype), labels, centroids)
        assert found == pytest.approx(expected, abs=tolerance)


def test_prototype_distance_zero_centroid_gives_euclidean_distance():
    points, centroids = np.array([[3.0, 4.0], [-3.0, -4.0]]), np.zeros((1, 2))
    assert prototype_distance(points, np.array([0, 0]), centroids).tolist() == [5, 5]
    assert without_direction(centroids).tolist() == [True]


def test_prototype_distance_zero_point_is_one():
    assert prototype_distance(np.zeros((1, 2)), np.array([0]), np.ones((1, 2))).tolist() == [1]


def test_prototype_distance_no_points_gives_none():
    assert len(prototype_distance(np.empty((0, 2)), np.empty(0, int), np.ones((1, 2)))) == 0


def test_prototype_distance_wrong_rows_and_labels_are_refused():
    with pytest.raises(ValueError, match="row 1"):
        prototype_distance(np.array([[0.0], [np.nan]]), np.array([0, 0]), np.ones((1, 1)))
    with pytest.raises(ValueError, match="label 1"):
        prototype_distance(np.zeros((1, 1)), np.array([1]), np.ones((1, 1)))
    with pytest.raises(ValueError, match="labels"):
        prototype_distance(np.zeros((2, 1)), np.array([0]), np.ones((1, 1)))


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_quota_equals_naive_and_tags_are_disjoint(data):
    n = data.draw(st.integers(0, 40))
    distances = np.array(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), np.float32)
    labels = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), np.int32)
    easy, hard = data.draw(st.integers(0, 6)), data.draw(st.integers(0, 6))
    wanted = max(easy + hard, 1)
    found = quota(distances, labels, wanted, easy / wanted, hard / wanted)
    picks = list(zip(found.positions.tolist(), found.tags.tolist(), strict=True))
    assert picks == naive_quota(distances, labels, wanted, easy, hard)
    assert len(set(found.positions.tolist())) == len(picks)
    if easy + hard:
        assert len(picks) == np.minimum(np.bincount(labels, minlength=1), wanted).sum()


def test_quota_ties_resolve_hard_towards_the_last_position():
    found = quota(np.zeros(5), np.zeros(5, int), 2, 0.5, 0.5)
    assert (found.positions.tolist(), found.tags.tolist()) == ([0, 4], ["easy", "hard"])


def test_quota_shares_that_are_no_whole_number_are_floored():
    assert len(quota(np.arange(9), np.zeros(9, int), 5, 0.5, 0.5).positions) == 4
    assert len(quota(np.arange(200), np.zeros(200, int), 100, 0.29, 0).positions) == 29


def test_selection_scaled_embeddings_is_the_same():
    random = np.random.default_rng(1)
    points, centroids = random.normal(size=(300, 6)), random.normal(size=(4, 6))
    labels = random.integers(0, 4, 300)
    expected = quota(prototype_distance(points, labels, centroids), labels, 20, 0.3, 0.7)
    for scale in (2.0**-20, 4.0, 1000.0):
        scaled = prototype_distance(points * scale, labels, centroids * scale)
        found = quota(scaled, labels, 20, 0.3, 0.7)
        assert found.positions.tolist() == expected.positions.tolist()


def test_selection_permuted_points_select_the_same_set():
    random = np.random.default_rng(2)
    points, centroids = random.normal(size=(300, 6)), random.normal(size=(4, 6))
    labels, order = random.integers(0, 4, 300), random.permutation(300)
    expected = quota(prototype_distance(points, labels, centroids), labels, 20, 0.3, 0.7)
    found = quota(prototype_distance(points[order], labels[order], centroids), labels[order], 20, 0.3, 0.7)
    assert order[found.positions].tolist() == expected.positions.tolist()


def test_quota_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="shares"):
        quota(np.zeros(2), np.zeros(2, int), 2, 0.9, 0.2)
    with pytest.raises(ValueError, match="row 1"):
        quota(np.array([0, np.nan]), np.zeros(2, int), 2, 1, 0)
