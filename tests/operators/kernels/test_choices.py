"""The small kernels: centers, votes, random choices and rankings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.center import closest, mean_direction
from operators.kernels.ranking import ranked
from operators.kernels.sampling import random_order, stratified_sample
from operators.kernels.voting import centroids_of

HAND = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]])


def test_mean_direction_and_the_closest_of_equals_is_the_first():
    center = mean_direction(HAND)
    assert np.allclose(center, [0.7071, 0.7071], atol=1e-4)
    assert closest(HAND, center) == 1
    assert closest(HAND[::-1], center) == 1
    assert np.array_equal(mean_direction(np.array([[1.0, 0], [-1.0, 0]])), [0, 0])
    with pytest.raises(ValueError, match="no points"):
        closest(HAND[:0], center)


def test_a_centroid_is_the_target_s_where_it_has_the_majority_or_ties():
    centroids = np.array([0, 0, 0, 1, 1, 2])
    labels = np.array(["NLI", "NLI", "QA", "QA", "NLI", "QA"], object)
    assert centroids_of("NLI", centroids, labels).tolist() == [0, 1]
    assert centroids_of("poem", centroids, labels).tolist() == []


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 3))
def test_stratified_sample_gives_each_label_its_share(labels, share, seed):
    labels = np.array(labels, object)
    size = int(share * len(labels))
    chosen = stratified_sample(labels, size, seed)
    assert len(set(chosen.tolist())) == size
    assert chosen.tolist() == stratified_sample(labels, size, seed).tolist()
    for name in set(labels):
        assert abs((labels[chosen] == name).sum() - size * (labels == name).mean()) < 1


def test_stratified_sample_follows_its_seed_and_refuses_too_many():
    labels = np.array(["a"] * 50 + ["b"] * 50, object)
    assert stratified_sample(labels, 20, 0).tolist() != stratified_sample(labels, 20, 1).tolist()
    with pytest.raises(ValueError, match="cannot take 101 of 100"):
        stratified_sample(labels, 101, 0)


def test_random_order_is_a_permutation_that_follows_its_seed():
    assert sorted(random_order(30, 1)) == list(range(30))
    assert random_order(30, 1).tolist() == random_order(30, 1).tolist() != random_order(30, 2).tolist()


@given(st.lists(st.one_of(st.integers(-3, 3).map(float), st.just(float("nan"))), max_size=30))
def test_ranked_is_the_stable_descending_order_with_nan_last(scores):
    naive = sorted(range(len(scores)), key=lambda i: (np.isnan(scores[i]), -np.nan_to_num(scores[i]), i))
    assert ranked(np.array(scores)).tolist() == naive
