"""Kernels over shards in this process: the result of one process and of a naive definition, for any rows and shards."""

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels import kmeans as kmeans_module
from operators.kernels import two_round as two_round_module
from operators.kernels.k_center import k_center
from operators.kernels.kmeans import kmeans
from operators.kernels.sharding import sharding
from operators.kernels.two_round import bounds, two_round
from tests.operators.kernels.test_k_center import plain

EXAMPLES = settings(deadline=None, max_examples=40)


def frozen(value):
    """A value as an actor's answer is seen: a copy whose arrays cannot be written to."""
    buffers: list[pickle.PickleBuffer] = []
    packed = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(packed, buffers=[bytes(buffer.raw()) for buffer in buffers])


def over_shards(kernel, columns, cuts, **params):
    """What the kernel's driver finds over the rows between the cuts, which may leave shards empty."""
    declared = sharding(kernel)
    assert declared is not None
    shards = [declared.shard(*[column[a:b] for column in columns], offset=a) for a, b in pairwise(cuts)]

    def ask(method, *arguments):
        return [frozen(getattr(shard, method)(*frozen(arguments))) for shard in shards]

    return declared.driver(ask, **params)


@st.composite
def rows(draw, most=30):
    """A matrix of small integers, with many ties and duplicates."""
    width = draw(st.integers(1, 3))
    found = draw(st.lists(st.lists(st.integers(-2, 2), min_size=width, max_size=width), min_size=1, max_size=most))
    return np.array(found, draw(st.sampled_from([np.float16, np.float32, np.float64])))


@st.composite
def cuts(draw, count):
    """Where one to five shards begin and end; some may be empty, and there may be more of them than rows."""
    inner = draw(st.lists(st.integers(0, count), max_size=4))
    return [0, *sorted(inner), count]


def bits(result):
    """A result, with its arrays as types, shapes and bytes."""
    if isinstance(result, np.ndarray):
        return str(result.dtype), result.shape, result.tobytes()
    if isinstance(result, tuple):
        return tuple(map(bits, result))
    return {name: bits(value) for name, value in vars(result).items()} if hasattr(result, "__dict__") else repr(result)


@EXAMPLES
@given(data=st.data())
def test_k_center(data):
    points = data.draw(rows())
    k = data.draw(st.integers(0, len(points) + 1))
    first = data.draw(st.integers(0, len(points) - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = over_shards(k_center, [points], data.draw(cuts(len(points))), k=k, first=first)
        assert bits(found) == bits(k_center(points, k, first=first))
    picks, distances, radius = plain(points, k, first)
    assert (found.picks.tolist(), found.distances.tolist()) == (picks, distances)
    if k:
        assert found.radius == radius


@EXAMPLES
@given(data=st.data())
def test_kmeans(data):
    points = data.draw(rows())
    params = {"k": data.draw(st.integers(1, 6)), "seed": data.draw(st.integers(0, 3))}
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(kmeans_module, "SAMPLE", 2)  # the first iterations are on a sample
        patch.setattr(kmeans_module, "EACH", 1)
        found = over_shards(kmeans, [points], data.draw(cuts(len(points))), **params)
        assert bits(found) == bits(kmeans(points, **params))
    gaps = points.astype(np.float64)[:, None] - found.centroids.astype(np.float64)
    lengths = np.sqrt(np.square(gaps).sum(axis=2)).astype(np.float32)
    assert found.labels.tolist() == lengths.argmin(axis=1).tolist()
    assert found.distances.tolist() == lengths.min(axis=1).tolist()


@EXAMPLES
@given(data=st.data())
def test_two_rounds(data):
    width = data.draw(st.integers(1, 2))
    points = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-9, 9, (70, width)).astype(np.float32)
    k, shards = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 20))
    start = data.draw(st.sampled_from([{}, {"first": 40}, {"warm": np.array([69, 3])}]))
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(two_round_module, "LEAST", 1)
        declared = sharding(two_round)
        found = over_shards(two_round, [points], declared.cuts(70, shards), k=k, **start)
        assert bits(found) == bits(two_round(points, k, **start))
    if k * 16 > 70:
        assert found.picks.tolist() == k_center(points, k, **start).picks.tolist()
    centers = points[[*start.get("warm", []), *found.picks]]
    nearest = np.linalg.norm(points[:, None] - centers, axis=2).min(axis=1)
    assert found.radius == pytest.approx(nearest.max(), abs=1e-6)
    exact = k_center(points, k, **start)
    assert bounds(found).least <= exact.radius <= 2 * max(2 * bounds(found).radius, 1e-9)
    assert found.radius <= 4 * exact.radius + 1e-6


def test_two_rounds_cost_little_radius_where_parts_are_alike():
    points = np.random.default_rng(0).normal(size=(4000, 16)).astype(np.float32)
    exact, rough = k_center(points, 50), two_round(points, 50)
    assert set(exact.picks) != set(rough.picks)
    assert exact.radius <= rough.radius * 1.1
    assert rough.radius <= 1.15 * exact.radius
    assert bounds(rough).least <= exact.radius
    assert bounds(exact) == (exact.radius, exact.radius / 2)
