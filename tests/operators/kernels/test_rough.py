"""Rough labels against exact distances, and one product of bytes against the other."""

import numpy as np
import pytest
import torch

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


def test_products_of_wide_rows_add_without_error():
    # The sum of a row of largest integers is beyond the 2**24 to which float32 counts.
    signs = np.random.default_rng(0).choice([-127, 127], (10, 4099))
    signs[0] = 127
    a = torch.from_numpy(signs).to(torch.int8)
    exact = a.long() @ a.long().T
    assert exact.max() > 2**24
    assert byte_product(a, a).equal(exact.int())
    assert float_product(a, a).equal(exact.int())


def test_a_point_at_the_mean_of_the_centroids_goes_to_the_one_nearest_to_it():
    centroids = np.array([[2.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], np.float32)
    assert Rough(centroids, byte_product).likeness(torch.zeros(1, 2)).argmax(1).tolist() == [1]
