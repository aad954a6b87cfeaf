"""Rank correlation against scipy's and values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from operators.kernels.correlation import mean_ranks, spearman

pairs = st.lists(st.tuples(st.integers(-3, 3), st.floats(-1e3, 1e3)), min_size=2, max_size=40)


def test_spearman_hand_values():
    up = np.array([0.1, 2, 30, 400])
    assert spearman(up, up**3) == pytest.approx(1)
    assert spearman(up, -up) == pytest.approx(-1)
    assert spearman(up, np.array([1, 3, 2, 4])) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert spearman(up[:2], np.array([np.inf, -np.inf])) == pytest.approx(-1)


def test_equal_values_share_their_ranks():
    assert mean_ranks(np.array([5, 1, 5, 5, 0])).tolist() == [3, 1, 3, 3, 0]


@pytest.mark.filterwarnings("ignore:An input array is constant")
@given(pairs)
def test_spearman_equals_scipy(rows):
    first, second = (np.array(column, float) for column in zip(*rows, strict=True))
    assert spearman(first, second) == pytest.approx(float(spearmanr(first, second).statistic), nan_ok=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0]])
def test_too_little_to_rank_has_no_correlation(values):
    assert np.isnan(spearman(np.array(values), np.arange(len(values))))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one length"):
        spearman(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="a NaN has no rank"):
        spearman(np.array([1, np.nan]), np.ones(2))
