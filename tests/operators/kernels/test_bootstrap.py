"""The bootstrap's interval against its known properties."""

import numpy as np
import pytest

from operators.kernels import bootstrap
from operators.kernels.bootstrap import interval


def test_interval_of_a_mean_is_the_normal_one_where_samples_are_many():
    values = np.random.default_rng(1).normal(3, 2, 4000)
    found = interval(values, draws=2000)
    error = values.std() / np.sqrt(len(values))
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(2)
    inside = 0
    for seed in range(200):
        counts = random.integers(1, 40, 60)
        totals = counts * random.gamma(2, 0.5, 60)
        found = interval(totals, counts, level=0.9, draws=300, seed=seed)
        inside += found.low <= 1.0 <= found.high
    assert 0.82 < inside / 200 < 0.95


def test_samples_count_by_their_tokens():
    assert interval(np.array([10.0, 1.0]), np.array([10, 2])).estimate == pytest.approx(11 / 12)
    assert interval(np.array([6.0, 3.0]), np.array([2, 1]))[:] == (3.0, 3.0, 3.0)


def test_seed_and_not_the_blocks_decides(monkeypatch):
    values = np.random.default_rng(3).random(51)
    whole = interval(values, seed=4)
    monkeypatch.setattr(bootstrap, "BLOCK", 60)
    assert interval(values, seed=4) == whole
    assert interval(values, seed=5) != whole


@pytest.mark.parametrize(
    ("totals", "counts", "settings"),
    [
        ([], [], {}),
        ([1.0, np.nan], [1, 1], {}),
        ([1.0, 2.0], [1, 0], {}),
        ([1.0, 2.0], [1], {}),
        ([1.0], [1], {"level": 1.0}),
        ([1.0], [1], {"draws": 0}),
    ],
)
def test_what_has_no_interval_is_refused(totals, counts, settings):
    with pytest.raises(ValueError, match=r"total|level"):
        interval(np.array(totals), np.array(counts), **settings)
