"""The bytes that the driver holds for each sample of a pool."""

import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from jobs.engine.pool.column import Column, Series
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import spread
from jobs.engine.samples.pool_folder import Samples

SAMPLES = 200_000
ALLOWED = 28
"""4 less than the driver may hold: the numbers of this selection are exact in 32 bits, and those of others are not."""


def test_the_driver_holds_few_bytes_for_each_sample_of_a_selection(session):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        values = np.random.default_rng(0).random(SAMPLES, np.float32)
        labels = np.arange(SAMPLES) % 100
        pool = Pool(Samples("nowhere", {"samples": SAMPLES, "parts": []}), session, np.arange(SAMPLES))
        scored = pool.bind(score=values, centroid=labels).having("score", "centroid")
        kept = scored.ranked("score")[:1000]
        chosen = pool.selection(
            kept,
            because={"too low": scored, "among the best": kept},
            details={name: scored.column(name) for name in ("score", "centroid")},
        )
        held = (tracemalloc.get_traced_memory()[0] - before) / SAMPLES
    finally:
        tracemalloc.stop()
    assert chosen.reason.dtype == np.int8
    assert {name: each.dtype for name, each in chosen.details.items()} == {"score": np.float32, "centroid": np.int8}
    assert held <= ALLOWED


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
