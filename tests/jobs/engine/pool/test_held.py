"""Ids in little memory, and values of some samples: they say what an array says."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engine.pool.held import Bits, Listed, Run, between, held
from jobs.engine.pool.ids import among, inside, union
from jobs.engine.pool.series import PerSample, Series, part

EXAMPLES = settings(max_examples=60, deadline=None)


@st.composite
def ids(draw):
    """Ascending ids, from consecutive to sparse ones, which begin anywhere."""
    span, share = draw(st.integers(0, 300)), draw(st.sampled_from([0.01, 0.3, 0.97, 1]))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    return np.flatnonzero(random.random(span) < share) + draw(st.integers(0, 5000))


@EXAMPLES
@given(ids=ids(), data=st.data())
def test_ids_are_found_picked_and_cut_as_in_an_array(ids, data):
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    for some in (held(ids), pickle.loads(pickle.dumps(held(ids)))):
        assert np.array_equal(some.ids(), ids)
        assert len(some) == len(ids)
        assert np.array_equal(np.concatenate([ids[:0], *some.blocks()]), ids)
        order = random.permutation(len(ids))
        assert np.array_equal(some.at(order), ids[order])
        asked = random.integers(-10, 5400, 200)
        places, known = some.find(asked)
        assert np.array_equal(known, np.isin(asked, ids))
        assert np.array_equal(ids[places[known]], asked[known])
        assert [some.below(each) for each in asked.tolist()] == np.searchsorted(ids, asked).tolist()
        mask = random.random(len(ids)) < random.random()
        assert np.array_equal(some.where(mask).ids(), ids[mask])
        start, stop = np.sort(random.integers(0, 5400, 2)).tolist()
        assert np.array_equal(between(some, start, stop).ids(), ids[(ids >= start) & (ids < stop)] - start)
        assert some == held(ids)


@EXAMPLES
@given(one=ids(), other=ids())
def test_ids_that_are_among_either_or_both(one, other):
    assert np.array_equal(union(held(one), held(other)).ids(), np.union1d(one, other))
    assert np.array_equal(among(held(one), held(other)), np.isin(one, other))
    assert np.array_equal(inside(one[::-1], held(other)), np.isin(one[::-1], other))


@pytest.mark.parametrize(
    ("ids", "kind"), [(np.arange(5, 90), Run), (np.arange(0, 90, 2), Bits), (np.arange(0, 9000, 90), Listed)]
)
def test_ids_are_held_in_the_form_that_takes_least(ids, kind):
    some = held(ids)
    assert isinstance(some, kind)
    with pytest.raises(ValueError, match="read-only"):
        some.where(np.arange(len(ids)) != 3).ids()[0] = 1
    used = some.ids()
    assert used is some.ids()


@EXAMPLES
@given(ids=ids(), data=st.data())
def test_values_of_some_samples_are_read_as_an_array_of_all(ids, data):
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    samples = int(ids.max(initial=0)) + 50
    values, over = random.random(len(ids)), held(ids)
    for some, places in ((over, None), (over.where(random.random(len(ids)) < 0.5), over)):
        expected = np.full(samples, np.nan)
        mine = np.isin(ids, some.ids())
        expected[ids[mine]] = values[mine]
        found = PerSample(samples, Series(some, values, places), np.nan)
        np.testing.assert_equal(np.asarray(found), expected)
        start, stop = np.sort(random.integers(0, samples, 2)).tolist()
        np.testing.assert_equal(found[start:stop], expected[start:stop])
        np.testing.assert_equal(part(found, start, stop)[:], expected[start:stop])
        np.testing.assert_equal(found[[start, stop]], expected[[start, stop]])
        np.testing.assert_equal(found[start], expected[start])
        np.testing.assert_equal(found[expected > 0.5], expected[expected > 0.5])
