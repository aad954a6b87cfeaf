"""The highest scores and the thresholds of a share, over any shards, against a sort of all."""

import math
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels import top
from operators.kernels.sharding import Independent, here, sharding
from operators.kernels.threshold import are_above, threshold_above, threshold_below, threshold_for
from operators.kernels.top import Scores, highest, keys, lowest, number

NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, math.inf, -math.inf, 5e-324, -5e-324, 1e300]),
    st.floats(allow_nan=False, width=32),
)
TYPES = st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.int8])


@st.composite
def columns(draw, numbers=NUMBERS):
    """Scores with ties, of some type, cut into 1, 2 or 4 shards."""
    drawn = draw(st.lists(numbers, min_size=1, max_size=40))
    kind = draw(TYPES)
    with np.errstate(all="ignore"):
        scores = np.array(drawn)
        scores = (np.nan_to_num(scores) % 7 if np.issubdtype(kind, np.integer) else scores).astype(kind)
    shards = draw(st.sampled_from([1, 2, 4]))
    cuts = [0, *sorted(draw(st.lists(st.integers(0, len(scores)), min_size=shards - 1, max_size=shards - 1)))]
    spans = pairwise([*cuts, len(scores)])
    return scores, here(*(Scores(scores[start:stop], offset=start) for start, stop in spans))


def over(ask, kernel, **params):
    """The result of a kernel over these shards."""
    declared = sharding(kernel)
    assert declared is not None
    return declared.driver(ask, **params)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(top, "BLOCK", 7)


@given(columns(st.one_of(NUMBERS, st.just(math.nan))), st.integers(0, 45))
def test_the_best_are_the_first_of_a_sort_by_score_and_position(case, count):
    scores, ask = case
    plain = scores.astype(float).tolist()
    for kernel, sign in ((highest, -1), (lowest, 1)):
        naive = sorted(
            range(len(plain)),
            key=lambda i: (math.isnan(plain[i]), sign * np.nan_to_num(plain[i], posinf=math.inf, neginf=-math.inf), i),
        )
        assert over(ask, kernel, count=count).tolist() == naive[:count]
        assert kernel(scores, count=count).tolist() == naive[:count]


@given(columns(), st.one_of(st.floats(0, 1), st.sampled_from([0.1, 0.25, 0.5, 1 / 3])))
def test_thresholds_let_through_what_a_sort_of_all_says(case, fraction):
    scores, ask = case
    descending = np.sort(scores)[::-1]
    values, counts = np.unique(scores, return_counts=True)
    shares = np.cumsum(counts[::-1])[::-1] / len(scores)
    gaps = np.abs(shares - fraction)
    expected = float(values[len(gaps) - 1 - int(np.argmin(gaps[::-1]))])
    assert over(ask, threshold_for, fraction=fraction) == threshold_for(scores, fraction) == expected
    rank = max(1, math.ceil(Decimal(str(fraction)) * len(scores)))
    for kernel, sign in ((threshold_above, 1), (threshold_below, -1)):
        found = over(ask, kernel, fraction=fraction)
        assert found == kernel(scores, fraction)
        passed = (scores > found) if sign == 1 else (scores < found)
        last = float((descending if sign == 1 else descending[::-1])[rank - 1])
        exact = scores.astype(float)
        unreachable = last == -sign * math.inf  # nothing is beyond it
        wanted = (
            (exact > last if unreachable else exact >= last)
            if sign == 1
            else (exact < last if unreachable else exact <= last)
        )
        assert passed.tolist() == wanted.tolist()


def test_a_share_is_the_decimal_number_that_was_written():
    scores = np.arange(100.0)
    for per_cent in range(1, 101):
        assert (scores > threshold_above(scores, per_cent / 100)).sum() == per_cent
        assert (scores < threshold_below(scores, per_cent / 100)).sum() == per_cent


def test_a_nan_passes_no_threshold_and_counts_among_the_scores():
    scores = np.array([1.0, np.nan, np.nan, 2.0])
    assert (threshold_above(scores, 0.5), threshold_above(scores, 0.75)) == (np.nextafter(1.0, 0), -math.inf)
    assert threshold_below(scores, 1.0) == math.inf
    assert threshold_for(scores, 0.5) == 1.0
    assert math.isnan(threshold_for(np.array([np.nan]), 0.5))
    assert are_above(scores, threshold=-math.inf).tolist() == [True, False, False, True]


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_keys_are_in_the_order_of_the_scores_and_say_them(scores):
    found = keys(np.array(scores))
    assert [number(int(key)) for key in found] == scores
    assert np.array_equal(np.argsort(found, kind="stable"), np.argsort(np.array(scores) + 0.0, kind="stable"))
    assert keys(np.array([-0.0]))[0] == keys(np.array([0.0]))[0]
    assert over(here(Independent(are_above, np.array(scores))), are_above, threshold=0.0).tolist() == [
        each > 0 for each in scores
    ]
