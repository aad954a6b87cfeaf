"""The dynamic diet's arithmetic: the page's vectors, pandas' exponential windows, and properties of the choice."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from operators.kernels.nlu_diet import between_quantiles, cycles, hardest, joint_error, smoothed

HISTORY = np.array([[0.9, 0.2, 0.5, 0.1], [0.3, 0.4, 0.5, 0.1], [0.6, 0.1, 0.5, 0.1]])


def test_one_error_of_class_and_slots():
    slots = np.sqrt([1.46, 0.14])
    given_ = (np.sqrt([0.14]), np.array([slots.sum()]), np.array([np.sqrt(1.6)]), np.array([2]))
    found = [joint_error(*given_, joint)[0] for joint in ("norm", "sum", "mean")]
    assert found == pytest.approx([1.3190907, 1.9566362, 0.5827005], rel=1e-6)


def test_an_utterance_without_slots_has_its_class_alone():
    nothing = (np.array([0.6]), np.zeros(1), np.zeros(1), np.zeros(1, int))
    assert [joint_error(*nothing, joint)[0] for joint in ("norm", "sum", "mean")] == [0.6, 0.6, 0.3]


def test_smoothing_of_the_worked_example():
    assert smoothed(*HISTORY) == pytest.approx([0.564, 0.152, 0.5, 0.1])
    assert smoothed(*HISTORY, bonus=1.0) == pytest.approx([0.788036, 0.342647, 0.5, 0.1], rel=1e-5)
    assert between_quantiles(smoothed(*HISTORY), 0.5).tolist() == [0, 2]
    assert hardest(smoothed(*HISTORY), 2).tolist() == [0, 2]
    assert smoothed(*HISTORY, smoothing="latest").tolist() == HISTORY[-1].tolist()
    assert smoothed(*HISTORY, alpha=1.0, bonus=1.0).tolist() == HISTORY[-1].tolist()
    assert smoothed(*HISTORY, smoothing="mean", last=2) == pytest.approx(HISTORY[1:].mean(axis=0))


@given(
    arrays(np.float64, st.tuples(st.integers(1, 7), st.integers(1, 5)), elements=st.floats(0, 2, width=32)),
    st.floats(0.05, 0.95),
)
def test_smoothing_is_pandas_exponential_window(history, alpha):
    windows = pd.DataFrame(history).ewm(alpha=alpha, adjust=False)
    expected = windows.mean().iloc[-1].to_numpy()
    np.testing.assert_allclose(smoothed(*history, alpha=alpha), expected, atol=1e-12)
    if len(history) > 1:
        spread = windows.std().iloc[-1].to_numpy()
        np.testing.assert_allclose(smoothed(*history, alpha=alpha, bonus=0.5), expected + 0.5 * spread, atol=1e-6)


def test_a_sample_that_a_cycle_did_not_score_has_no_score_and_is_not_chosen():
    history = HISTORY.copy()
    history[0, 2] = np.nan
    for smoothing in ("ema", "mean", "latest"):
        found = smoothed(*history, smoothing=smoothing, bonus=1.0)
        assert np.isnan(found).tolist() == [False, False, True, False]
        assert hardest(found, 4).tolist() == [0, 1, 3]
        assert 2 not in between_quantiles(found, 1.0)
    with pytest.raises(ValueError, match="one cycle"):
        smoothed()


def test_a_sample_comes_back_when_its_score_rises():
    first, second = np.array([0.9, 0.8, 0.1, 0.2]), np.array([0.1, 0.2, 0.9, 0.8])
    assert set(hardest(smoothed(first), 2)) == {0, 1}
    assert set(hardest(smoothed(first, second), 2)) == {2, 3}


@given(
    arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    st.integers(1, 10),
    st.integers(0, 5),
)
def test_the_hardest_are_those_of_a_sorted_list(scores, count, offset):
    expected = sorted(range(len(scores)), key=lambda at: (-scores[at], at))[offset : offset + count]
    assert hardest(scores, count, offset=offset).tolist() == expected


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 2)), st.sampled_from([0.0, 0.1, 0.3]))
def test_between_quantiles_is_both_bounds_in(scores, offset):
    frame = pd.Series(scores)
    low, high = frame.quantile(1 - offset - 0.5), frame.quantile(1 - offset)
    expected = {at for at, score in enumerate(scores) if low <= score <= high}
    assert set(between_quantiles(scores, 0.5, offset=offset).tolist()) == expected


def test_when_all_scores_tie_quantiles_keep_all_and_ranks_keep_the_share():
    assert len(between_quantiles(np.ones(8), 0.25)) == 8
    assert hardest(np.ones(8), 2).tolist() == [0, 1]
    with pytest.raises(ValueError, match="does not lie within"):
        between_quantiles(np.ones(3), 0.8, offset=0.3)


@pytest.mark.parametrize(
    ("epochs", "full", "every", "expected"),
    [
        (10, 2, 3, [2, 3, 3, 2]),
        (10, 4, 8, [4, 6]),
        (10, 4, 6, [4, 6]),
        (5, 0, 2, [2, 2, 1]),
        (4, 4, 1, [4]),
        (40, 4, 4, [4] * 10),
    ],
)
def test_epochs_of_each_training(epochs, full, every, expected):
    assert cycles(epochs, full, every) == expected
    assert sum(expected) == epochs


@pytest.mark.parametrize("wrong", [(3, 4, 1), (0, 0, 1), (3, 1, 0), (3, -1, 1)])
def test_epochs_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="cannot be"):
        cycles(*wrong)
