"""A data diet's averages, forgettings and cuts against values worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.data_diet import forgettings, kept, over_runs
from operators.kernels.token_stats import el2n

SCORES = np.array([0.3, 0.9, 0.1, 0.5, 0.7])  # ascending: 2, 0, 3, 4, 1
rated = st.lists(st.one_of(st.integers(-3, 3).map(float), st.just(np.inf), st.just(np.nan)), max_size=30)


def test_over_runs_is_the_mean_of_norms_not_the_norm_of_a_mean():
    even = torch.log(torch.tensor([[0.75, 0.25]])), torch.log(torch.tensor([[0.25, 0.75]]))
    # Wrong by .25 and by .75 of one label: the norms of the errors average; the errors' mean would be .5 of it.
    found = over_runs(*(el2n(logits, torch.tensor([0])).numpy() for logits in even))
    assert found.mean.tolist() == pytest.approx([(0.25 + 0.75) * 2**0.5 / 2])
    assert found.spread.tolist() == pytest.approx([(0.75 - 0.25) * 2**0.5 / 2])
    opposite = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert over_runs(*np.linalg.norm(opposite, axis=1)[:, None]).mean.tolist() == pytest.approx([2**0.5])
    assert np.linalg.norm(opposite.mean(axis=0)) == 0


def test_over_runs_of_a_linear_softmax_averages_its_published_gradients():
    norms = np.array([0.60010195, 1.6905742, 2.1184201])
    found = over_runs(norms, norms + np.array([0.2, 0, -0.2]), times=np.array([1, 2, 10]))
    assert found.mean.tolist() == pytest.approx([0.70010195, 3.3811484, 20.184201])
    assert found.spread.tolist() == pytest.approx([0.1, 0, 1])


@pytest.mark.filterwarnings("error")
def test_over_runs_lacks_what_a_run_lacks():
    found = over_runs(np.array([1, np.nan, np.inf, 2], np.float32), np.array([3, 2, 1, 7]))
    assert found.mean.tolist() == pytest.approx([2, np.nan, np.inf, 4.5], nan_ok=True)
    assert found.spread.tolist() == pytest.approx([1, np.nan, np.nan, 2.5], nan_ok=True)
    assert found.agreement == pytest.approx(1)


def test_agreement_is_the_mean_over_pairs_of_runs():
    up, swapped, down = np.array([1, 2, 3]), np.array([1, 3, 2]), np.array([3, 2, 1])
    assert over_runs(up, 10 * up).agreement == pytest.approx(1)
    assert over_runs(up, swapped, down).agreement == pytest.approx((0.5 - 1 - 0.5) / 3)
    assert np.isnan(over_runs(up).agreement)
    assert over_runs(up).spread.tolist() == [0, 0, 0]


def test_forgettings_hand_values():
    history = np.array([[0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0]])
    assert forgettings(history).tolist() == [1, 2, 0, np.inf]
    assert forgettings(history.astype(bool)).tolist() == [1, 2, 0, np.inf]
    assert forgettings(history[:1]).tolist() == [np.inf, 0, 0, np.inf]


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=12))
def test_forgettings_equal_a_walk_through_the_history(visits):
    expected = []
    for history in zip(*visits, strict=True):
        falls, was = 0, False
        for right in history:
            falls, was = falls + (was and not right), right
        expected.append(falls if any(history) else np.inf)
    assert forgettings(np.array(visits)).tolist() == expected


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        ({"count": 2, "keep": "top"}, [1, 4]),
        ({"count": 2, "keep": "bottom"}, [2, 0]),
        ({"count": 1, "keep": "middle"}, [3]),
        ({"count": 3, "keep": "middle"}, [3, 0, 4]),
        ({"count": 2, "keep": "window", "offset": 0}, [0, 2]),
        ({"count": 2, "keep": "window", "offset": 2}, [4, 3]),
        ({"count": 5, "keep": "window", "offset": 0}, [1, 4, 3, 0, 2]),
        ({"count": 0, "keep": "window", "offset": 5}, []),
        ({"count": 9}, [1, 4, 3, 0, 2]),
        ({"count": 9, "keep": "middle"}, [3, 0, 4, 2, 1]),
    ],
)
def test_kept_hand_values(options, positions):
    assert kept(SCORES, **options).tolist() == positions


def test_kept_ties_go_to_the_lowest_position():
    level = np.array([1.0, 2.0, 1.0, 2.0, 1.0])
    assert kept(level, 3).tolist() == [1, 3, 0]
    assert kept(level, 4, "bottom").tolist() == [0, 2, 4, 1]
    assert kept(level, 2, "window", offset=1).tolist() == [2, 4]
    assert kept(level, 2, "window", offset=2).tolist() == [1, 4]


@given(rated, st.integers(0, 35))
def test_kept_cuts_hold_the_right_scores_and_no_nan(values, count):
    scores = np.array(values, float)
    scored = np.sort(scores[~np.isnan(scores)])
    size = min(count, len(scored))
    assert scores[kept(scores, count)].tolist() == scored[::-1][:size].tolist()
    assert scores[kept(scores, count, "bottom")].tolist() == scored[:size].tolist()
    middle = np.sort(scores[kept(scores, count, "middle")])
    low = (len(scored) - size) // 2
    assert middle.tolist() == scored[low : low + size].tolist()
    for keep in ("top", "middle", "bottom"):
        positions = kept(scores, count, keep)
        assert len(set(positions.tolist())) == len(positions) == size
        assert kept(scores, count + 1, keep)[:size].tolist() == positions.tolist()
    for offset in range(len(scored) - size + 1):
        window = kept(scores, size, "window", offset=offset)
        assert scores[window].tolist() == scored[offset : offset + size][::-1].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": -1}, "count"),
        ({"count": 2, "keep": "window"}, "offset"),
        ({"count": 2, "offset": 1}, "offset"),
        ({"count": 2, "keep": "window", "offset": 4}, "does not fit in 5"),
        ({"count": 2, "keep": "window", "offset": -1}, "does not fit"),
        ({"count": 2, "keep": "best"}, "keep"),
    ],
)
def test_kept_wrong_request_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        kept(SCORES, **options)


@pytest.mark.parametrize("runs", [(), (np.ones(3), np.ones(2))])
def test_runs_that_do_not_fit_together_are_refused(runs):
    with pytest.raises(ValueError, match="a run or more"):
        over_runs(*runs)


@pytest.mark.parametrize("wrong", [np.ones(3), np.empty((0, 3))])
def test_histories_without_visits_are_refused(wrong):
    with pytest.raises(ValueError, match="a visit or more"):
        forgettings(wrong)


def test_forgettings_of_anything_but_right_and_wrong_are_refused():
    with pytest.raises(ValueError, match="only 0 and 1"):
        forgettings(np.array([[0.5, 1]]))
