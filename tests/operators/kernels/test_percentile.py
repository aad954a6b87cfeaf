"""LIFT's cut and its length score against published vectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.percentile import length_score, percentile_cut


def test_percentile_cut_many_ties_keeps_none():
    cut = percentile_cut(np.array([9.0, 0.0, 1.0, 0.0, 9.0]), 80)
    assert cut.value == 9
    assert not cut.kept.any()


def test_percentile_cut_values_that_are_none_are_refused():
    with pytest.raises(ValueError, match="no values"):
        percentile_cut(np.empty(0))
    with pytest.raises(ValueError, match="row 1"):
        percentile_cut(np.array([0, np.nan]))
    with pytest.raises(ValueError, match="percentile"):
        percentile_cut(np.ones(2), 101)


def test_length_score_lift_vectors_give_scores_and_totals():
    found = length_score(np.array([10, 20, 30, 40, 50]))
    assert found.round(2).tolist() == [20.33, 40.65, 60.98, 81.30, 100]
    total = 0.9 * np.array([80, 90, 70, 90, 60]) + 0.1 * found
    assert total == pytest.approx([74.03, 85.07, 69.10, 89.13, 64.00], abs=0.006)
    assert np.argsort(-total)[:2].tolist() == [3, 1]


def test_length_score_threshold_zero_gives_all_the_full_score():
    assert length_score(np.zeros(3)).tolist() == [100, 100, 100]
    assert length_score(np.array([0, 0, 0, 7]), 50).tolist() == [100, 100, 100, 100]


@settings(deadline=None, max_examples=50)
@given(lengths=st.lists(st.integers(0, 10_000), min_size=1, max_size=50), percentile=st.integers(0, 100))
def test_length_score_grows_with_length_up_to_its_threshold(lengths, percentile):
    lengths = np.array(lengths)
    found, full = length_score(lengths, percentile), np.percentile(lengths, percentile)
    order = np.argsort(lengths, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert ((found >= 0) & (found <= 100)).all()
    assert ((found == 100) >= (lengths >= full)).all()
    short = lengths < full
    assert found[short] * full == pytest.approx(100.0 * lengths[short])


@pytest.mark.parametrize("bad", [-1, np.nan, np.inf])
def test_length_score_lengths_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="length of row 1"):
        length_score(np.array([3, bad]))
