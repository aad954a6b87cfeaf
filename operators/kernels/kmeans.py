"""k-means: Lloyd's iterations (1982), the early ones on a sample; the same clustering on any number of threads.

Points are assigned and added up where they are: on the CPU (`cloud`) or on a GPU (`device_cloud`), with the same bits.

A centroid without points moves to the point that is farthest from its own centroid; ties go to the lowest position.
Several such centroids take the next farthest points that differ.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.kernels.cloud import Cloud
from operators.kernels.device_cloud import DeviceCloud
from operators.kernels.distance import float_matrix, full_precision, spans

SHARE = 4  # the sample is one point in four,
SAMPLE = 8192  # but never fewer than this many,
EACH = 40  # nor than this many per centroid
FEW = 256  # points at a time in the search for ones that differ


@dataclass(frozen=True)
class Clustering:
    """Centroids, and the label of each point: its nearest centroid."""

    centroids: np.ndarray
    """(k, d) float32; fewer rows than asked for where points coincide."""
    labels: np.ndarray
    """(n,) int32."""
    distances: np.ndarray
    """(n,) float32 Euclidean distance of each point to its centroid."""
    inertia: float
    """The sum of the squared distances."""
    iterations: int
    """The number of times that the centroids were moved; lower than requested where labels stopped changing."""


def kmeans(
    points: np.ndarray,
    k: int,
    *,
    seed: int,
    iterations: int = 11,
    full_iterations: int = 3,
    device: str = "cpu",
) -> Clustering:
    """Clusters the points around k centroids.

    points: (n, d) float16, float32 or float64, converted to float32. iterations: the most in all. The last
    `full_iterations` use every point; those before use a sample that the seed decides, or all points where they are
    few. The first centroids are k points that differ, in an order that the seed decides. device: where torch keeps the
    points and computes; it changes no bit of the result.

    ValueError for a row with a NaN or an infinity, for no points, for k below 1, and for iterations fewer than the full
    ones.

    >>> kmeans(np.array([[0.0], [1.0], [10.0], [11.0]]), 2, seed=0).inertia
    1.0
    """
    _check(k, iterations, full_iterations)
    points = float_matrix(points)
    if len(points) < 1:
        raise ValueError("no points")
    cloud = Cloud.of(points) if device == "cpu" else DeviceCloud.of(points, device)
    return clustered(cloud, k, seed, iterations, full_iterations)


def clustered(
    cloud: Cloud | DeviceCloud, k: int, seed: int, iterations: int = 11, full_iterations: int = 3
) -> Clustering:
    """`kmeans` of points that are where they are computed with."""
    order = np.random.default_rng(seed).permutation(cloud.count)
    sample = np.sort(order[: max(cloud.count // SHARE, SAMPLE, EACH * k)])
    centroids = _distinct(cloud.vectors, order, k)
    if len(centroids) < k:
        warnings.warn(f"k-means: {len(centroids)} centroids, not {k}: no more points differ", stacklevel=3)
    early, rough = 0, iterations - full_iterations if len(sample) < cloud.count else 0
    with full_precision():
        if rough:
            centroids, early = _lloyd(cloud.only(sample), centroids, rough)
        centroids, late = _lloyd(cloud, centroids, iterations - rough)
        labels, found = cloud.assigned(centroids)
    inertia = float(np.square(found, dtype=np.float64).sum())
    return Clustering(centroids, labels, found, inertia, early + late)


def _lloyd(cloud: Cloud | DeviceCloud, centroids: np.ndarray, iterations: int) -> tuple[np.ndarray, int]:
    before: Any = None
    for iteration in range(iterations):
        labels: Any = cloud.labels(centroids)
        if before is not None and bool((labels == before).all()):
            return centroids, iteration
        before = labels
        total, counts = cloud.sums(labels, len(centroids))
        moved = (total / np.maximum(counts, 1)[:, None]).astype(np.float32)
        empty = np.flatnonzero(counts == 0)
        moved[empty] = centroids[empty]
        if len(empty):
            far = _distinct(cloud.vectors, cloud.farthest(centroids, labels), len(empty))
            moved[empty[: len(far)]] = far
        centroids = moved
    return centroids, iterations


def _distinct(vectors: Callable[[np.ndarray], np.ndarray], order: np.ndarray, k: int) -> np.ndarray:
    """The first k vectors of the positions in this order that differ; fewer where there are no more."""
    seen: dict[bytes, np.ndarray] = {}
    for start, stop in spans(len(order), max(k, FEW)):
        for vector in vectors(order[start:stop]):
            seen.setdefault((vector + 0.0).tobytes(), vector)
            if len(seen) == k:
                return np.stack(list(seen.values()))
    return np.stack(list(seen.values())) if seen else vectors(order[:0])


def _check(k: int, iterations: int, full_iterations: int) -> None:
    if k < 1 or full_iterations < 0 or iterations < full_iterations:
        raise ValueError(
            f"k={k}, iterations={iterations} of which full {full_iterations}: k is at least 1, "
            "and iterations at least as many as the full ones"
        )
