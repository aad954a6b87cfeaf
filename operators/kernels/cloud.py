"""Points on the CPU that k-means assigns to centroids.

Matrix products in float32 assign points to centroids. Where they cannot tell two centroids apart, the exact distances
do, and ties go to the lowest label. Sums are exact: values are first rounded to a grid that is coarse enough for
float64 to add them without error, and fine enough (2**-50 of n times the largest norm) not to matter. So neither
threads nor shards nor the order of addition change a label or a centroid.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.distance import (
    BLOCK,
    NARROW,
    PAIRS,
    distances,
    finite_matrix,
    rounding,
    spans,
    squared_norms,
)

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch


class Cloud:
    """Points, to be assigned to centroids."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows
        self.count = len(rows)
        self.points = torch.from_numpy(rows)
        self.radius = math.sqrt(float(squared_norms(self.points).max()))

    @classmethod
    def of(cls, points: np.ndarray) -> Cloud:
        """The points, of any type of float; ValueError for a row that is not finite."""
        return cls(np.ascontiguousarray(finite_matrix(points), np.float32))

    def only(self, positions: np.ndarray) -> Cloud:
        """The points at these positions."""
        return Cloud(self.rows[positions])

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        """(m, d) float32 points at these positions."""
        return self.rows[positions]

    def labels(self, centroids: np.ndarray) -> np.ndarray:
        """(n,) int32 label of the nearest centroid, the lowest on ties."""
        centers = torch.from_numpy(centroids)
        norms = squared_norms(centers)
        error = rounding(centroids.shape[1], max(self.radius, math.sqrt(float(norms.max()))))
        found = np.empty(self.count, np.int32)
        for start, stop in spans(self.count, BLOCK):
            squared = torch.addmm(norms, self.points[start:stop], centers.T, alpha=-2).numpy()
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

    def sums(self, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The sums of the points by label, (k, d) float64, and their numbers, (k,)."""
        return sums(self.rows, labels, k, grid_of(self.count, self.radius))

    def assigned(self, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels of all points, and their distances to their own centroids, (n,) float32."""
        labels = self.labels(centroids)
        return labels, self._own(centroids, labels)

    def farthest(self, centroids: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The positions of the points away from their own centroids, farthest first; ties go to the lowest."""
        own = self._own(centroids, labels)
        far = np.argsort(-own, kind="stable")
        return far[own[far] > 0]

    def _own(self, centroids: np.ndarray, labels: np.ndarray) -> np.ndarray:
        found = np.empty(self.count, np.float32)
        for start, stop in spans(self.count, NARROW):
            found[start:stop] = distances(self.rows[start:stop], centroids[labels[start:stop]])
        return found


def sums(rows: np.ndarray, labels: np.ndarray, k: int, grid: float) -> tuple[np.ndarray, np.ndarray]:
    """The sums of the rows by label, (k, d) float64, exact on the grid in any order, and the counts, (k,)."""
    total = torch.zeros(k, rows.shape[1], dtype=torch.float64)
    index, points = torch.from_numpy(labels).long(), torch.from_numpy(rows)
    for start, stop in spans(len(rows), NARROW):
        total.index_add_(0, index[start:stop], on_grid(points[start:stop], grid))
    return total.numpy(), np.bincount(labels, minlength=k)


def on_grid(points: torch.Tensor, grid: float) -> torch.Tensor:
    """The points in float64, rounded to multiples of the grid."""
    shift = 1.5 * 2.0**52 * grid
    return points.double().add_(shift).sub_(shift)


def grid_of(count: int, largest: float) -> float:
    """The finest power of two to whose multiples float64 sums `count` values up to `largest` without error."""
    return 2.0 ** (math.frexp(max(count, 1) * max(largest, 2.0**-100))[1] - 51)
