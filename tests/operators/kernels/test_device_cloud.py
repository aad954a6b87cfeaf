"""The points of k-means on a device, which is the CPU here, against those on the CPU, bit for bit."""

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from operators.kernels import device, kmeans
from operators.kernels.cloud import Cloud
from operators.kernels.device import exact_distances, largest_norm, sent
from operators.kernels.device_cloud import DeviceCloud
from operators.kernels.distance import distances, squared_norms
from operators.kernels.kmeans import clustered
from operators.kernels.placed import Placed
from operators.kernels.sharding import here


def cloud(kind, dtype=np.float32, n=3000, width=12):
    random = np.random.default_rng(3)
    normal = random.normal(size=(n, width))
    return {
        "normal": normal,
        "grid": random.integers(0, 4, (n, 3)).astype(float),
        "duplicates": normal[random.integers(0, 60, n)],
        "unit": normal / np.linalg.norm(normal, axis=1, keepdims=True),
        "tiny": normal * 1e-20,
    }[kind].astype(dtype)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, so that small clouds take many."""
    monkeypatch.setattr(device, "ROWS", 100)


class Read(TorchFunctionMode):
    """Notes the shape of every tensor that is brought to the CPU."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist):
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


def on_device(points, offset=0):
    """A shard as on a GPU, on the CPU."""
    return DeviceCloud(points, offset, "cpu")


def placed(points):
    return Placed(points, np.zeros(points.shape[1]))


def assert_same(found, expected):
    for name in ("labels", "centroids", "distances"):
        there, here = getattr(found, name), getattr(expected, name)
        assert (there.dtype, there.tobytes()) == (here.dtype, here.tobytes())
    assert (found.inertia, found.iterations) == (expected.inertia, expected.iterations)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("kind", "many"), [("normal", 99), ("normal", 2), ("grid", 99), ("grid", 2), ("duplicates", 99), ("unit", 2)]
)
def test_clustering_on_a_device_has_the_bits_of_the_cpu(kind, many, dtype, monkeypatch, small_blocks):
    for name, value in (("SAMPLE", 512), ("EACH", 20), ("MANY", many)):
        monkeypatch.setattr(kmeans, name, value)
    points = cloud(kind, dtype)
    expected = kmeans.kmeans(points, 30, seed=1)
    assert_same(clustered(here(on_device(points)), 30, seed=1), expected)
    parts = here(on_device(points[:1000]), on_device(points[1000:1001], 1000), on_device(points[1001:], 1001))
    assert_same(clustered(parts, 30, seed=1), expected)


def test_centroids_left_without_points_move_to_the_same_points():
    points = cloud("normal")
    far = np.concatenate([points[:5], np.full((20, 12), 1e3, np.float32)])
    clouds = Cloud(points), on_device(points)
    for each in clouds:
        each.step(far, 2.0**-30)
    assert clouds[1].labels.tolist() == clouds[0].labels.tolist()
    found = [[array.tolist() for array in each.farthest(far, 3000)] for each in clouds]
    assert found[0] == found[1]
    for step in ("step", "rough_step"):
        (moved, _), (expected, _) = (
            kmeans._lloyd(here(each), step, far, 2, 2.0**-30, lambda turn: None) for each in clouds
        )
        assert moved.tobytes() == expected.tobytes()


def test_a_device_multiplies_as_many_rows_at_a_time_as_its_table_has_room_for():
    assert device.blocks((300_000, 2048), device.TABLE)[0] == (0, 2**17)
    assert device.blocks((300_000, 10_000), device.TABLE)[0] == (0, 2**28 // 10_000)
    assert device.blocks((300, 2**30), device.TABLE)[0] == (0, 1)


def test_no_table_of_a_device_is_brought_to_the_cpu():
    points = cloud("normal")
    there = on_device(points)
    with Read() as read:
        there.step(points[:64], 2.0**-30)
    assert max(int(np.prod(shape)) for shape in read.shapes) < len(points)


@pytest.mark.parametrize("kind", ["normal", "grid", "unit", "tiny"])
def test_exact_distances_and_the_largest_norm_have_the_bits_of_the_cpu(kind, small_blocks):
    points = cloud(kind)
    others = points[::-1].copy()
    found = exact_distances(torch.from_numpy(points), torch.from_numpy(others))
    assert found.numpy().tobytes() == distances(points, others).tobytes()
    assert largest_norm(placed(torch.from_numpy(points))) == float(squared_norms(torch.from_numpy(points)).max())


def test_exact_distances_halfway_between_two_numbers_are_asked_of_the_cpu(monkeypatch):
    # 1 + 2**-24 lies halfway between two numbers of float32, and 1 + 2**-20 is one of them.
    points = torch.tensor([[2.0], [2.0], [2.0]])
    others = torch.tensor([[1 - 2.0**-24], [1 - 2.0**-20], [1.0]])
    asked = []
    monkeypatch.setattr(device, "distances", lambda *pair: asked.append(len(pair[0])) or distances(*pair))
    found = exact_distances(points, others)
    assert asked == [1]
    assert found.numpy().tobytes() == distances(points.numpy(), others.numpy()).tobytes()


def test_a_sum_in_another_order_changes_no_bit(monkeypatch):
    # A device that adds from the last square to the first.
    points = cloud("unit", n=20_000, width=64)
    backwards = torch.from_numpy(np.ascontiguousarray(points[:, ::-1]))
    assert largest_norm(placed(backwards)) == float(squared_norms(torch.from_numpy(points)).max())
    others = backwards.roll(1, 0)
    expected = distances(points, np.roll(points, 1, axis=0))
    assert exact_distances(backwards, others).numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize(("dtype", "value"), [(np.float16, np.inf), (np.float32, np.nan), (np.float64, -1e300)])
def test_a_row_that_is_not_finite_is_named(dtype, value):
    points = cloud("normal", dtype)
    points[7, 3] = value
    with pytest.raises(ValueError, match="row 7"):
        on_device(points)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sent_coordinates_are_those_of_the_cpu(dtype, small_blocks):
    points = cloud("normal", dtype)
    points.flags.writeable = False
    origin = np.linspace(-1, 1, 12)
    assert sent(points, "cpu", np.zeros(12)).numpy().tobytes() == points.astype(np.float32).tobytes()
    moved = (points.astype(np.float64) - origin).astype(np.float32)
    assert sent(points, "cpu", origin).numpy().tobytes() == moved.tobytes()
