"""k-means: Lloyd's iterations (1982), the early ones on a sample; the same clustering on any number of threads.

Matrix products in float32 assign points to centroids. Where they cannot tell two centroids apart, the exact distances
do, and ties go to the lowest label. Sums are exact: values are first rounded to a grid that is coarse enough for
float64 to add them without error, and fine enough (2**-50 of n times the largest norm) not to matter. So neither
threads nor shards nor the order of addition change a label or a centroid.

A centroid without points moves to the point that is farthest from its own centroid; ties go to the lowest position.
Several such centroids take the next farthest points that differ.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.distance import (
    BLOCK,
    NARROW,
    PAIRS,
    distances,
    finite_matrix,
    full_precision,
    rounding,
    spans,
    squared_norms,
)

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

SHARE = 4  # the sample is one point in four,
SAMPLE = 8192  # but never fewer than this many,
EACH = 40  # nor than this many per centroid


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
    few. The first centroids are k points that differ, in an order that the seed decides. device: where torch computes
    the matrix products.

    ValueError for a row with a NaN or an infinity, for no points, for k below 1, and for iterations fewer than the full
    ones.

    >>> kmeans(np.array([[0.0], [1.0], [10.0], [11.0]]), 2, seed=0).inertia
    1.0
    """
    _check(k, iterations, full_iterations)
    rows = np.ascontiguousarray(finite_matrix(points), np.float32)
    if len(rows) < 1:
        raise ValueError("no points")
    order = np.random.default_rng(seed).permutation(len(rows))
    sample = np.sort(order[: max(len(rows) // SHARE, SAMPLE, EACH * k)])
    seeds = _distinct(rows, order, k)
    if len(seeds) < k:
        warnings.warn(f"k-means: {len(seeds)} centroids, not {k}: no more points differ", stacklevel=2)
    rough = iterations - full_iterations if len(sample) < len(rows) else 0
    with full_precision():
        cloud = Cloud(rows[sample], device) if rough else Cloud(rows, device)
        centroids, early = _lloyd(cloud, seeds, rough) if rough else (seeds, 0)
        cloud = Cloud(rows, device) if rough else cloud
        centroids, late = _lloyd(cloud, centroids, iterations - rough)
        labels = cloud.labels(centroids)
    found = distances_to_own(rows, centroids, labels)
    inertia = float(np.square(found, dtype=np.float64).sum())
    return Clustering(centroids, labels, found, inertia, early + late)


class Cloud:
    """Points on a device, with their norms, to be assigned to centroids."""

    def __init__(self, rows: np.ndarray, device: str = "cpu"):
        self.rows = rows
        self.points = torch.from_numpy(rows).to(device)
        self.norms = squared_norms(self.points)
        self.radius = math.sqrt(float(self.norms.max()))

    def labels(self, centroids: np.ndarray) -> np.ndarray:
        """(n,) int32 label of the nearest centroid, the lowest on ties."""
        centers = torch.from_numpy(centroids).to(self.points.device)
        norms = squared_norms(centers)
        error = rounding(centroids.shape[1], max(self.radius, math.sqrt(float(norms.max()))))
        found = np.empty(len(self.rows), np.int32)
        for start, stop in spans(len(self.rows), BLOCK):
            points = self.points[start:stop]
            squared = torch.addmm(norms, points, centers.T, alpha=-2).cpu().numpy()
            label = squared.argmin(axis=1)
            row = np.arange(stop - start)
            reach = squared[row, label] + np.float32(2 * error)
            squared[row, label] = np.inf
            close = np.flatnonzero(squared.min(axis=1) <= reach)
            found[start:stop] = label
            if len(close):
                squared[row, label] = -np.inf
                pair, rival = np.nonzero(squared[close] <= reach[close, None])
                found[start + close] = self._settled(start + close, pair, rival, centroids)
        return found

    def _settled(self, rows: np.ndarray, pair: np.ndarray, rival: np.ndarray, centroids: np.ndarray) -> np.ndarray:
        """(m,) label of the least exact distance of each row, the lowest on ties."""
        exact = np.empty(len(pair), np.float32)
        for begin, end in spans(len(pair), PAIRS):
            exact[begin:end] = distances(self.rows[rows[pair[begin:end]]], centroids[rival[begin:end]])
        order = np.lexsort((rival, exact, pair))
        return rival[order][np.searchsorted(pair[order], np.arange(len(rows)))]


def sums(rows: np.ndarray, labels: np.ndarray, k: int, grid: float) -> tuple[np.ndarray, np.ndarray]:
    """The sums of the rows by label, (k, d) float64, exact on the grid in any order, and the counts, (k,)."""
    shift = 1.5 * 2.0**52 * grid
    total = torch.zeros(k, rows.shape[1], dtype=torch.float64)
    index, points = torch.from_numpy(labels).long(), torch.from_numpy(rows)
    for start, stop in spans(len(rows), NARROW):
        rounded = points[start:stop].double().add_(shift).sub_(shift)
        total.index_add_(0, index[start:stop], rounded)
    return total.numpy(), np.bincount(labels, minlength=k)


def grid_of(count: int, largest: float) -> float:
    """The finest power of two to whose multiples float64 sums `count` values up to `largest` without error."""
    return 2.0 ** (math.frexp(max(count, 1) * max(largest, 2.0**-100))[1] - 51)


def _lloyd(cloud: Cloud, centroids: np.ndarray, iterations: int) -> tuple[np.ndarray, int]:
    grid = grid_of(len(cloud.rows), cloud.radius)
    before = None
    for iteration in range(iterations):
        labels = cloud.labels(centroids)
        if before is not None and np.array_equal(labels, before):
            return centroids, iteration
        before = labels
        total, counts = sums(cloud.rows, labels, len(centroids), grid)
        moved = (total / np.maximum(counts, 1)[:, None]).astype(np.float32)
        empty = np.flatnonzero(counts == 0)
        moved[empty] = centroids[empty]
        if len(empty):
            far = _farthest(cloud.rows, distances_to_own(cloud.rows, centroids, labels), len(empty))
            moved[empty[: len(far)]] = far
        centroids = moved
    return centroids, iterations


def _farthest(rows: np.ndarray, own: np.ndarray, count: int) -> np.ndarray:
    far = np.argsort(-own, kind="stable")
    return _distinct(rows, far[own[far] > 0], count)


def distances_to_own(rows: np.ndarray, centroids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) float32 distance of each row to the centroid of its label."""
    found = np.empty(len(rows), np.float32)
    for start, stop in spans(len(rows), NARROW):
        found[start:stop] = distances(rows[start:stop], centroids[labels[start:stop]])
    return found


def _distinct(rows: np.ndarray, order: np.ndarray, k: int) -> np.ndarray:
    """The first k rows in this order that differ; fewer where there are no more."""
    seen: dict[bytes, int] = {}
    for position in order:
        seen.setdefault((rows[position] + 0.0).tobytes(), position)
        if len(seen) == k:
            break
    return rows[list(seen.values())]


def _check(k: int, iterations: int, full_iterations: int) -> None:
    if k < 1 or full_iterations < 0 or iterations < full_iterations:
        raise ValueError(
            f"k={k}, iterations={iterations} of which full {full_iterations}: k is at least 1, "
            "and iterations at least as many as the full ones"
        )
