"""Kernels over shards in this process: the result of one process and of a naive definition, for any rows and shards."""

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels import center
from operators.kernels import kmeans as kmeans_module
from operators.kernels import principal_axes as principal_axes_module
from operators.kernels import row_variance as row_variance_module
from operators.kernels import two_round as two_round_module
from operators.kernels.blockers import similarities
from operators.kernels.center import closest, mean_direction
from operators.kernels.distance import unit
from operators.kernels.evol_score import evol_score
from operators.kernels.influence import influences, projected_influences, subtask_cosines, weighted_influence
from operators.kernels.k_center import k_center
from operators.kernels.kmeans import kmeans
from operators.kernels.principal_axes import extremes, moments, principal_axes, turned
from operators.kernels.prototype import prototype_distance
from operators.kernels.repr_filter import repr_filter
from operators.kernels.round_robin import chosen_in_turn
from operators.kernels.row_variance import axes_variance, row_variance
from operators.kernels.sharding import sharding
from operators.kernels.two_round import bounds, two_round
from operators.kernels.words import different, numbered
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
@pytest.mark.fault(
    "rows divide otherwise among workers, batches, files and shards",
    how="k-center over any shards, generated",
    holds="the picks of one process, to the bit",
)
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
@pytest.mark.fault(
    "rows divide otherwise among workers, batches, files and shards",
    how="k-means over any shards, generated",
    holds="the labels and centroids of one process, to the bit",
)
def test_kmeans(data):
    points = data.draw(rows())
    params = {"k": data.draw(st.integers(1, 6)), "seed": data.draw(st.integers(0, 3))}
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(kmeans_module, "SAMPLE", 2)  # the first iterations are on a sample
        patch.setattr(kmeans_module, "EACH", 1)
        patch.setattr(kmeans_module, "MANY", data.draw(st.sampled_from([1, 99])))
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


@EXAMPLES
@given(data=st.data())
def test_repr_filter(data):
    embeddings = data.draw(rows())
    embeddings = embeddings[embeddings.any(axis=1)]
    embeddings = embeddings if len(embeddings) else np.ones((1, 2), np.float32)
    count = len(embeddings)
    threshold = data.draw(st.sampled_from([-0.5, 0.0, 0.5, 0.7, 0.95]))
    size = data.draw(st.one_of(st.none(), st.integers(0, count)))
    block = data.draw(st.integers(1, 7))
    at = data.draw(cuts(count))
    found = over_shards(repr_filter, [embeddings], at, size=size, threshold=threshold, block=block)
    assert bits(found) == bits(repr_filter(embeddings, size, threshold))
    earlier = repr_filter(embeddings[: count // 2 + 1], size and size // 2, threshold)
    if len(earlier.kept) <= len(found.kept):
        again = over_shards(repr_filter, [embeddings], at, size=size, threshold=threshold, earlier=earlier)
        assert bits(again) == bits(found)
    units = unit(embeddings)
    kept = []
    for row in range(count):
        if len(kept) < (count if size is None else size) and not any(
            similarities(units[[row]], units[[other]])[0] > np.float32(threshold) for other in kept
        ):
            kept.append(row)
    assert found.kept.tolist() == kept


@pytest.mark.parametrize("signs", ["loadings", "projections"])
def test_row_variance(signs, monkeypatch):
    monkeypatch.setattr(row_variance_module, "BLOCK", 16)
    monkeypatch.setattr(principal_axes_module, "BLOCK", 16)
    for count in (2, 17, 300, 1000):
        embeddings = np.random.default_rng(count).normal(size=(count, 5)).astype(np.float16)
        expected = row_variance(embeddings, signs=signs)
        for shards in (1, 2, 3, 5, 99):
            at = sharding(row_variance).cuts(count, shards)
            found = over_shards(row_variance, [embeddings], [0, *at], signs=signs)
            assert bits(tuple(found)) == bits(tuple(expected))
        axes = principal_axes(moments(embeddings))
        turned_axes = turned(axes, [extremes(embeddings, axes)]) if signs == "projections" else axes
        assert found.values == pytest.approx(axes_variance(embeddings, turned_axes), rel=1e-9)


@EXAMPLES
@given(data=st.data())
def test_kernels_of_one_row_each(data):
    points = data.draw(rows())
    count, width = points.shape
    random = np.random.default_rng(count)
    labels, centroids = random.integers(0, 3, count), random.integers(-1, 2, (3, width)).astype(float)
    at = data.draw(cuts(count))
    found = over_shards(prototype_distance, [points, labels], at, centroids=centroids)
    assert found.tobytes() == prototype_distance(points, labels, centroids).tobytes()
    vectors = random.normal(size=(count, 24)).astype(np.float32)
    targets = {"targets": random.normal(size=(5, 24)), "subtasks": np.array([0, 1, 1, 0, 2])}
    found = over_shards(chosen_in_turn, [vectors], at, **targets, count=count // 2)
    assert bits(found) == bits(chosen_in_turn(vectors, **targets, count=count // 2))
    words = np.array(["", "joy", "喜"], object)[random.integers(0, 3, count)]
    assert over_shards(different, [words], at) == different(words) == sorted(set(words))
    numbers = over_shards(numbered, [words], at, names=("喜", "joy"))
    assert bits(numbers) == bits(np.array([["喜", "joy"].index(word) if word else -1 for word in words], np.int32))
    both = {**targets, "targets": [targets["targets"]] * 2, "learning_rates": [3e-5, 1e-5]}
    found = over_shards(projected_influences, [vectors, vectors], at, **both)
    assert bits(found) == bits(projected_influences(vectors, vectors, **both))
    cosines = subtask_cosines(vectors, **targets)
    assert found.scores == pytest.approx(weighted_influence([cosines, cosines], [3e-5, 1e-5]).scores)
    tables = [random.normal(size=(count, 3)) for _ in range(2)]
    tables[0][count // 2] = np.nan
    found = over_shards(influences, tables, at, learning_rates=[3e-5, 1e-5])
    assert bits(found) == bits(influences(*tables, learning_rates=[3e-5, 1e-5]))
    weighted = 0.75 * tables[0] + 0.25 * tables[1]
    np.testing.assert_array_equal(found.scores, np.where(np.isnan(weighted[:, 0]), np.nan, weighted.max(axis=1)))
    assert found.subtasks[count // 2] == -1
    known = np.flatnonzero(found.subtasks >= 0)
    np.testing.assert_array_equal(found.at[known, 1], tables[1][known, found.subtasks[known]].astype(np.float32))
    turns = np.empty(count, object)
    turns[:] = [[1.0] * (1 + row % 3) for row in range(count)]
    assert over_shards(evol_score, [turns, turns], at).tolist() == evol_score(turns, turns).tolist()
    turns[count - 1] = []
    with pytest.raises(ValueError, match=f"row {count - 1} has 0 turns"):
        over_shards(evol_score, [turns, turns], at)


@EXAMPLES
@given(data=st.data())
def test_the_mean_direction_and_the_point_closest_to_it(data):
    points = data.draw(rows())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(center, "BLOCK", 4)
        at = sharding(mean_direction).cuts(len(points), data.draw(st.integers(1, 9)))
        mean = over_shards(mean_direction, [points], at)
        assert mean.tobytes() == mean_direction(points).tobytes()
        found = over_shards(closest, [points], data.draw(cuts(len(points))), center=mean)
    exact = points.astype(np.float64)
    total = exact.mean(axis=0)
    assert mean == pytest.approx(total / (np.linalg.norm(total) or 1), abs=1e-12)
    assert found == np.linalg.norm(exact - mean, axis=1).astype(np.float32).argmin()
