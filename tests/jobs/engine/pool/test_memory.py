"""The bytes that the driver holds for each sample of a pool."""

import pickle
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from jobs.engine.pool.column import Column
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.series import Series, spread
from jobs.engine.samples.pool_folder import Samples

SAMPLES = 1_000_000
ALLOWED = 32
"""Bytes a sample that the driver may hold at any moment."""


@contextmanager
def traced():
    """Gives a function that says how many bytes a sample are held now, and at most since the beginning."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield lambda: tuple((each - before) / SAMPLES for each in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()


def pool_of(session):
    return Pool(Samples("nowhere", {"samples": SAMPLES, "parts": []}), session, np.arange(SAMPLES))


@pytest.mark.parametrize(("kind", "held"), [(np.float32, 19), (np.float64, 23)])
def test_the_driver_holds_few_bytes_for_each_sample_at_any_moment(session, kind, held):
    with traced() as bytes_a_sample:
        values = np.random.default_rng(0).random(SAMPLES, kind)
        labels = np.arange(SAMPLES) % 100
        pool = pool_of(session)
        scored = pool.bind(score=values, centroid=labels).having("score", "centroid")
        good = scored.above("score", share=0.1)
        kept = scored.ranked("score")[:1000]
        chosen = pool.selection(
            kept,
            because={"too low": scored, "beyond the budget": good, "among the best": kept},
            details={name: scored.column(name) for name in ("score", "centroid")},
        )
        now, most = bytes_a_sample()
    assert now <= held
    assert round(most) <= ALLOWED  # blocks of some thousand samples are a few MB more, whatever the pool
    assert chosen.reason.dtype == np.int8
    assert {name: each.dtype for name, each in chosen.details.items()} == {"score": kind, "centroid": np.int8}
    assert kept.order.tolist() == np.argsort(-values, kind="stable")[:1000].tolist()


def test_samples_that_lack_values_take_no_more(session):
    random = np.random.default_rng(0)
    with traced() as bytes_a_sample:
        values = random.integers(0, 1 << 20, SAMPLES) / 3  # no float32, and many of them tie
        values[random.random(SAMPLES) < 0.3] = np.nan
        labels = np.arange(SAMPLES) % 100
        pool = pool_of(session)
        scored = pool.bind(score=values, centroid=labels).having("score", "centroid")
        odd = scored[np.arange(1, SAMPLES, 2)]
        good = odd.at_least("score", share=0.5)
        near = good.below("score", threshold=300_000.0)
        kept = near.ranked("score")[: SAMPLES // 20]
        chosen = pool.selection(
            kept,
            because={"even": scored, "too low": odd, "too high": good, "beyond the budget": near, "the best": kept},
            details={
                "all": scored.column("score"),
                "odd": odd.column("score"),
                "near": near.column("score"),
                "centroid": good.column("centroid"),
            },
        )
        now, most = bytes_a_sample()
    assert now <= 22
    assert round(most) <= ALLOWED
    known = np.flatnonzero(np.isfinite(values))
    odds = known[known % 2 == 1]
    # By sorting, as it is written down: the share nearest to a half, ties by id.
    descending = odds[np.lexsort((odds, -values[odds]))]
    lowest = values[descending[len(odds) // 2]]
    passed = odds[(values[odds] >= good.values("score").min()) & (values[odds] < 300_000)]
    assert abs(good.values("score").min() - lowest) < 2
    best = passed[np.lexsort((passed, -values[passed]))][: SAMPLES // 20]
    assert np.array_equal(chosen.ids, best)
    assert np.array_equal(np.bincount(chosen.reason)[:2], [SAMPLES - len(known), len(known) - len(odds)])
    every = np.full((3, SAMPLES), np.nan)
    for place, some in enumerate((known, odds, passed)):
        every[place, some] = values[some]
    assert np.array_equal(chosen.details["all"], every[0], equal_nan=True)
    assert np.array_equal(chosen.details["odd"], every[1], equal_nan=True)
    assert np.array_equal(chosen.details["near"][SAMPLES // 2 :], every[2, SAMPLES // 2 :], equal_nan=True)
    centroid = chosen.details["centroid"]
    assert centroid[good.ids].tolist() == (good.ids % 100).tolist()
    assert centroid[0] == centroid[odds[values[odds] < lowest - 2]].max() == -1
    assert (centroid.dtype, len(centroid)) == (np.int8, SAMPLES)


@pytest.mark.parametrize("verb", ["ranked", "ranked_lowest"])
@pytest.mark.parametrize("lacking", [0, 0.3])
def test_a_ranking_of_all_samples_and_their_ranks_take_as_little(session, verb, lacking):
    random = np.random.default_rng(0)
    with traced() as bytes_a_sample:
        values = random.random(SAMPLES)
        values[random.random(SAMPLES) < lacking] = np.nan
        scored = pool_of(session).bind(score=values).having("score")
        ranking = getattr(scored, verb)("score")
        ranking = ranking.bind(rank=np.arange(1, len(ranking) + 1, dtype=np.int32))
        most = bytes_a_sample()[1]
    assert round(most) <= ALLOWED  # blocks of some thousand samples are a few MB more, whatever the pool
    ranks = spread(SAMPLES, ranking.column("rank"))
    assert np.array_equal(ranks[ranking.order], np.arange(1, len(ranking) + 1))
    assert np.array_equal(ranks[np.flatnonzero(np.isnan(values))], np.full(SAMPLES - len(ranking), -1))
    signed = values if verb == "ranked_lowest" else -values
    assert (np.diff(signed[ranking.order]) >= 0).all()


def test_numbers_are_held_in_the_smallest_type_that_changes_none():
    ids = np.array([1, 3])
    for values, kind in (
        (np.array([0.5, np.nan]), np.float32),
        (np.array([0.1, 0.5]), np.float64),
        (np.array([1e300, 0.5]), np.float64),
        (np.array([True, False]), np.float32),
        (np.array([0, 127]), np.int8),
        (np.array([0, 128]), np.int16),
        (np.array([-129, 5]), np.int16),
        (np.array([0, 2**40]), np.int64),
        (np.empty(0, np.int64), np.int8),
    ):
        found = spread(5, Series(ids[: len(values)], values))
        assert found.dtype == kind
        assert np.array_equal(found[ids[: len(values)]], values, equal_nan=values.dtype.kind == "f")
        assert found[0] == -1 or np.isnan(found[0])


def test_consecutive_ids_are_no_array_until_they_are_used_and_then_one_for_all():
    whole, some = Column(np.arange(5, 9)), Column(np.array([1, 3]))
    assert whole.ids.tolist() == [5, 6, 7, 8]
    assert not any(isinstance(each, np.ndarray) for each in vars(whole).values())
    used = whole.ids
    assert used is whole.ids is Column(np.arange(5, 9)).ids
    with pytest.raises(ValueError, match="read-only"):
        used[0] = 1
    copied = pickle.loads(pickle.dumps([whole, some]))
    assert [each.ids.tolist() for each in copied] == [[5, 6, 7, 8], [1, 3]]
    assert some.ids.tolist() == [1, 3]
    assert Column(np.empty(0, np.int64)).ids.dtype == np.int64
    assert replace(whole, ids=np.array([2, 9])).ids.tolist() == [2, 9]
