"""k_center against the plain loop."""

import warnings
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels import device, shard
from operators.kernels import k_center as kernel
from operators.kernels.device_shard import DeviceShard, FreshBounds
from operators.kernels.k_center import Cover, cover, k_center
from operators.kernels.placed import Placed
from operators.kernels.shard import Shard, StaleBounds


def plain(points, k, first=0, warm=()):
    """The definition: float64 distances rounded to float32, the lowest position among the farthest."""
    points = points.astype(np.float64)

    def to(position):
        return np.sqrt(((points - points[position]) ** 2).sum(axis=1)).astype(np.float32)

    nearest, picks, found = np.full(len(points), np.inf, np.float32), [], []
    for position in warm:
        nearest = np.minimum(nearest, to(position))
    while len(picks) < k:
        free = np.where(np.isin(np.arange(len(points)), [*warm, *picks]), -1, nearest)
        best = first if not picks and not len(warm) else int(free.argmax())
        if free[best] <= 0:
            break
        picks.append(best)
        found.append(nearest[best])
        nearest = np.minimum(nearest, to(best))
    return picks, found, nearest.max()


def on_device(points, offset=0):
    """A shard as on a GPU, on the CPU."""
    return DeviceShard(points, offset, "cpu")


def sharded(points, k, shards, kind=Shard, **options):
    cuts = np.linspace(0, len(points), shards + 1).astype(int).tolist()
    parts = [kind(points[begin:end], begin) for begin, end in pairwise(cuts)]
    return cover(lambda method, *a: [getattr(part, method)(*a) for part in parts], k, **options)


def assert_plain(found: Cover, points, k, **options):
    picks, distances, radius = plain(points, k, **options)
    assert found.picks.tolist() == picks
    assert found.distances.tolist() == distances
    assert found.radius == radius


def cloud(kind, seed, n=None):
    random = np.random.default_rng(seed)
    n, width = n or int(random.integers(20, 200)), int(random.integers(1, 9))
    normal = random.normal(size=(n, width))
    return {
        "normal": normal,
        "grid": random.integers(0, 4, (n, width)).astype(float),
        "far from zero": normal + 1000,
        "corners": random.integers(0, 2, (n, width)) * 0.3,
        "duplicates": normal[random.integers(0, n // 3 + 1, n)],
        "tiny": normal * 1e-20,
        "unit": normal / np.linalg.norm(normal, axis=1, keepdims=True),
    }[kind]


KINDS = ("normal", "grid", "far from zero", "corners", "duplicates", "tiny", "unit")


@pytest.fixture
def small_rounds(monkeypatch):
    """Few candidates and a small front, so that small clouds take many rounds."""
    for name, value in (("CANDIDATES", 8), ("FRONT", 3), ("ROOMY", 1)):
        monkeypatch.setattr(kernel, name, value)
    for name, value in (("STEP", 2), ("SHARE", 50)):
        monkeypatch.setattr(shard, name, value)
    monkeypatch.setattr(device, "ROWS", 30)


@pytest.mark.filterwarnings("ignore:k-center")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.fault("scores are equal", how="points that are equal or equally far", holds="the picks of a plain loop")
def test_k_center_ties_and_duplicates_equals_plain_loop(kind, dtype, small_rounds):
    for seed in (1, 2, 5):
        points = cloud(kind, seed).astype(dtype)
        k = seed * len(points) // 5
        assert_plain(k_center(points, k), points, k)


@pytest.mark.parametrize("kind", KINDS)
def test_k_center_default_sizes_equals_plain_loop(kind):
    points = cloud(kind, 7, 3000).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_plain(k_center(points, 60), points, 60)


@pytest.mark.filterwarnings("ignore:k-center")
@pytest.mark.parametrize("shards", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_cover_any_number_of_shards_gives_the_same_picks(kind, shards, small_rounds):
    points = cloud(kind, shards).astype(np.float32)
    assert_plain(sharded(points, 40, shards), points, 40)
    assert_plain(sharded(points, 15, shards, warm=[3, 9, 3]), points, 15, warm=[3, 9, 3])


@pytest.mark.filterwarnings("ignore:k-center")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_cover_on_a_device_equals_plain_loop(kind, dtype, small_rounds):
    for shards in (1, 3):
        points = cloud(kind, shards).astype(dtype)
        assert_plain(sharded(points, 40, shards, on_device), points, 40)
        assert_plain(sharded(points, 15, shards, on_device, warm=[3, 9, 3]), points, 15, warm=[3, 9, 3])


@pytest.mark.parametrize("kind", KINDS)
def test_cover_on_a_device_default_sizes_equals_plain_loop(kind):
    points = cloud(kind, 7, 3000).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_plain(sharded(points, 60, 1, on_device), points, 60)


def test_cover_more_shards_than_points_gives_the_same_picks():
    points = np.array([[0.0], [1.0], [4.0], [10.0]])
    assert sharded(points, 3, 7).picks.tolist() == [0, 3, 2]


@pytest.mark.filterwarnings("ignore:k-center")
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_k_center_integer_grids_equals_plain_loop(data):
    values = st.integers(-3, 3)
    width = data.draw(st.integers(1, 3))
    rows = data.draw(st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=30))
    points = np.array(rows, np.float32)
    k = data.draw(st.integers(1, len(rows) + 2))
    first = data.draw(st.integers(0, len(rows) - 1))
    assert_plain(k_center(points, k, first=first), points, k, first=first)


@pytest.mark.parametrize(
    ("values", "options", "picks"),
    [
        ([0, 1, 4, 10], {"k": 4}, [0, 3, 2, 1]),
        ([0, -5, 5], {"k": 2}, [0, 1]),
        ([0, 1, 4, 10], {"k": 2, "warm": [1]}, [3, 2]),
        ([0, 0, 7, 7, 3], {"k": 3}, [0, 2, 4]),
    ],
)
def test_k_center_published_vectors_give_their_picks(values, options, picks):
    assert k_center(np.array(values, np.float32)[:, None], **options).picks.tolist() == picks


def test_k_center_ltd_vectors_give_order_and_radius():
    points = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]])
    found = k_center(points, 3, first=1)
    assert found.picks.tolist() == [1, 3, 0]
    assert found.distances == pytest.approx([np.inf, 0.8944, 0.6325], abs=1e-4)
    assert found.radius == pytest.approx(0.2828, abs=1e-4)


def test_k_center_only_duplicates_left_stops_and_warns():
    points = np.array([[0.0], [0.0], [7.0], [7.0], [3.0]])
    with pytest.warns(UserWarning, match="3 picks where 4 were wanted"):
        found = k_center(points, 4)
    assert (found.picks.tolist(), found.radius) == ([0, 2, 4], 0)


def test_k_center_permuted_points_give_permuted_picks():
    points = cloud("normal", 1, 200)
    order = np.random.default_rng(0).permutation(200)
    first = int(np.flatnonzero(order == 0)[0])
    picks = k_center(points[order], 50, first=first).picks
    assert order[picks].tolist() == k_center(points, 50).picks.tolist()


def test_k_center_scaled_points_give_the_same_picks():
    points = cloud("unit", 2, 400)
    expected = k_center(points, 80)
    for scale in (2.0**-30, 8.0, 2.0**20):
        found = k_center(points * scale, 80)
        assert found.picks.tolist() == expected.picks.tolist()
        assert found.radius == pytest.approx(expected.radius * scale)


def test_k_center_radius_is_within_twice_the_optimum():
    points = cloud("normal", 5, 14)
    between = np.linalg.norm(points[:, None] - points[None], axis=2)
    optimum = min(between[:, list(some)].min(axis=1).max() for some in combinations(range(14), 3))
    assert k_center(points, 3).radius <= 2 * optimum + 1e-6


def test_k_center_any_number_of_threads_gives_the_same_picks():
    points = np.random.default_rng(3).normal(size=(2000, 32)).astype(np.float32)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(k_center(points, 30))
    torch.set_num_threads(before)
    assert found[0].picks.tolist() == found[1].picks.tolist()
    assert found[0].distances.tolist() == found[1].distances.tolist()


def test_k_center_read_only_points_are_taken():
    points = cloud("normal", 4, 50).astype(np.float32)
    points.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_plain(k_center(points, 5), points, 5)


def test_k_center_nothing_to_do_gives_nothing():
    assert len(k_center(np.empty((0, 3)), 0).picks) == 0
    nothing = k_center(np.ones((4, 3)), 0)
    assert (len(nothing.picks), nothing.radius) == (0, np.inf)
    assert k_center(np.array([[0.0], [2.0]]), 0, warm=[0]).radius == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": -1}, "k is"),
        ({"k": 1.5}, "k is"),
        ({"k": True}, "k is"),
        ({"k": 1, "first": 9}, "position 9"),
        ({"k": 1, "warm": [-1]}, "position -1"),
        ({"k": 1, "first": 0, "warm": [1]}, "first"),
    ],
)
def test_k_center_wrong_request_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        k_center(np.zeros((3, 2)), **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_k_center_row_that_is_not_finite_is_named(bad):
    points = np.zeros((2000, 2), np.float32)
    points[1500:, 1] = bad
    with pytest.raises(ValueError, match="row 1500"):
        k_center(points, 1)


@pytest.mark.parametrize("place", [Shard, on_device])
@pytest.mark.parametrize(("dtype", "bad"), [(np.float16, np.inf), (np.float64, 1e300), (np.float64, 1.001e17)])
def test_shard_row_with_a_value_out_of_range_is_named_by_position(dtype, bad, place):
    points = np.zeros((700, 3), dtype)
    points[600:, 2] = bad
    with pytest.raises(ValueError, match="row 1600"):
        place(points, offset=1000)


def test_k_center_values_as_large_as_may_be_are_taken():
    points = np.zeros((3, 40))
    points[1], points[2] = -1e17, 1e17
    assert k_center(points, 3, first=1).picks.tolist() == [1, 2, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["normal", "far from zero"])
def test_k_center_points_are_not_written_to(kind, dtype):
    points = cloud(kind, 6, 300).astype(dtype)
    before = points.copy()
    k_center(points, 20)
    assert (points == before).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bounds_of", [StaleBounds, FreshBounds])
def test_top_is_fresh_and_caps_all_others(kind, bounds_of):
    points = torch.from_numpy(cloud(kind, 8, 5000)).float()
    points = points - points.mean(0)
    norms = points.double().square().sum(1).float()
    slack = 1e-5 * float(norms.max())
    bounds = bounds_of(Placed(points, np.zeros(points.shape[1])), norms.numpy() if bounds_of is StaleBounds else norms)
    random = np.random.default_rng(0)
    taken = np.empty(0, np.int64)
    for news, count in ((1, 400), (30, 100), (200, 1000), (3, 4999), (150, 20), (1, 6000)):
        fresh = random.choice(np.setdiff1d(np.arange(5000), taken), news, replace=False)
        taken = np.concatenate([taken, fresh])
        bounds.add(points[fresh], fresh)
        rows, cap = bounds.top(count)
        true = torch.cdist(points.double(), points[taken].double()).square().amin(1).numpy()
        assert len(rows) <= count
        assert np.abs(bounds.values(rows)[1] - true[rows]).max(initial=0) <= slack
        others = np.setdiff1d(np.arange(5000), np.concatenate([rows, taken]))
        assert true[others].max(initial=-np.inf) <= cap + slack
