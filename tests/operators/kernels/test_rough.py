"""Rough labels against exact distances, and one product of bytes against the other."""

import numpy as np
import pytest
import torch

from operators.kernels import rough
from operators.kernels.rough import Rough, byte_product, float_product


def cloud(kind, n=700, width=48):
    random = np.random.default_rng(6)
    normal = random.normal(size=(n, width))
    scales = {"normal": 1.0, "long and short": 10.0 ** random.uniform(-6, 6, (n, 1)), "tiny": 1e-20, "huge": 1e15}
    found = normal * scales.get(kind, 1.0)
    if kind == "far from zero":
        found[:, 3] += 50
    return found.astype(np.float32)


KINDS = ["normal", "long and short", "tiny", "huge", "far from zero"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_centroid_of_a_rough_label_is_about_as_near_as_the_nearest(kind):
    points, centroids = cloud(kind), cloud(kind)[::20]
    labels = Rough(centroids, byte_product).likeness(torch.from_numpy(points)).argmax(1).numpy()
    gaps = points.astype(np.float64)[:, None] - centroids.astype(np.float64)
    lengths = np.sqrt(np.square(gaps).sum(axis=2))
    assert lengths[np.arange(len(points)), labels].sum() <= 1.01 * lengths.min(axis=1).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_and_the_product_change_no_bit(kind):
    points, centroids = torch.from_numpy(cloud(kind)), cloud(kind)[::20]
    one, other = (Rough(centroids, product) for product in (byte_product, float_product))
    whole = one.likeness(points)
    assert other.likeness(points).numpy().tobytes() == whole.numpy().tobytes()
    parts = [one.likeness(block) for block in points.split(99)]
    assert torch.cat(parts).numpy().tobytes() == whole.numpy().tobytes()


@pytest.mark.parametrize("width", [1, 2, 384, 4099])
def test_products_of_the_largest_integers_add_without_error(width):
    # 1,041 of them add up to more than the 2**24 to which float32 counts.
    signs = np.random.default_rng(0).choice([-127, 127], (33, width))
    signs[0] = 127
    a = torch.from_numpy(signs).to(torch.int8)
    b = a[:7] // 2
    exact = (a.double() @ b.double().T).int()
    assert byte_product(a, b).equal(exact)
    assert float_product(a, b).equal(exact)


def test_a_cpu_that_adds_bytes_in_16_bits_multiplies_floats(monkeypatch):
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: (a.int() @ b.int()).clamp(max=2**15 - 1))
    rough._adds_bytes.cache_clear()
    a = torch.full((3, 8), 127, dtype=torch.int8)
    found = byte_product(a, a)
    monkeypatch.undo()
    rough._adds_bytes.cache_clear()
    assert (found == 8 * 127**2).all()


def test_a_point_at_the_mean_of_the_centroids_goes_to_the_one_nearest_to_it():
    centroids = np.array([[2.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], np.float32)
    assert Rough(centroids, byte_product).likeness(torch.zeros(1, 2)).argmax(1).tolist() == [1]
