"""Points on a device that k-means assigns to centroids: the labels, sums and distances of `Cloud`, bit for bit.

Tables of estimates stay on the device, and so do the exact distances that settle what estimates cannot (`device`). Of
every pass over the points only sums, (k, d), reach the CPU.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.cloud import grid_of, on_grid
from operators.kernels.device import TABLE, WIDE, blocks, exact_distances, largest_norm, sent
from operators.kernels.distance import finite_matrix, rounding, squared_norms

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

LARGE = 1e17  # a float32 below this is none that `finite_matrix` refuses


class DeviceCloud:
    """Points, to be assigned to centroids. Labels are tensors on the device, (n,) int64."""

    def __init__(self, points: torch.Tensor):
        self.points = points
        self.count = len(points)
        self.radius = math.sqrt(largest_norm(points))

    @classmethod
    def of(cls, points: np.ndarray, device: str) -> DeviceCloud:
        """The points, of any type of float; ValueError for a row that is not finite."""
        placed = sent(points, device)
        least, most = torch.aminmax(placed)
        if not (least > -LARGE and most < LARGE):
            finite_matrix(points)
        return cls(placed)

    def only(self, positions: np.ndarray) -> DeviceCloud:
        """The points at these positions."""
        return DeviceCloud(self._at(positions))

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        """(m, d) float32 points at these positions."""
        return self._at(positions).cpu().numpy()

    def _at(self, positions: np.ndarray) -> torch.Tensor:
        return self.points[torch.from_numpy(positions).to(self.points.device)]

    def labels(self, centroids: np.ndarray) -> torch.Tensor:
        """The label of each point's nearest centroid, the lowest on ties."""
        centers = torch.from_numpy(centroids).to(self.points.device)
        norms = squared_norms(centers)
        error = rounding(centroids.shape[1], max(self.radius, math.sqrt(float(norms.max()))))
        parts = [
            nearest(self.points[start:stop], centers, norms, error)
            for start, stop in blocks((self.count, len(centers)), TABLE)
        ]
        return torch.cat(parts)

    def sums(self, labels: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The sums of the points by label, (k, d) float64, and their numbers, (k,)."""
        width, grid = self.points.shape[1], grid_of(self.count, self.radius)
        total = torch.zeros(k, width, dtype=torch.float64, device=self.points.device)
        for start, stop in blocks(self.points.shape, WIDE):
            total.index_add_(0, labels[start:stop], on_grid(self.points[start:stop], grid))
        return total.cpu().numpy(), torch.bincount(labels, minlength=k).cpu().numpy()

    def assigned(self, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels of all points, (n,) int32, and their distances to their own centroids, (n,) float32."""
        labels = self.labels(centroids)
        return labels.int().cpu().numpy(), self._own(centroids, labels).cpu().numpy()

    def farthest(self, centroids: np.ndarray, labels: torch.Tensor) -> np.ndarray:
        """The positions of the points away from their own centroids, farthest first; ties go to the lowest."""
        own, far = self._own(centroids, labels).sort(descending=True, stable=True)
        return far[own > 0].cpu().numpy()

    def _own(self, centroids: np.ndarray, labels: torch.Tensor) -> torch.Tensor:
        centers = torch.from_numpy(centroids).to(self.points.device)
        parts = [
            exact_distances(self.points[start:stop], centers[labels[start:stop]])
            for start, stop in blocks(self.points.shape, WIDE)
        ]
        return torch.cat(parts)


def nearest(points: torch.Tensor, centers: torch.Tensor, norms: torch.Tensor, error: float) -> torch.Tensor:
    """(n,) int64 center of the least exact distance of each point, the lowest on ties.

    norms: the centers' squared norms. error: of an estimated squared distance.
    """
    squared = torch.addmm(norms, points, centers.T, alpha=-2)
    least, label = squared.min(1)
    reach = (least + 2 * error)[:, None]
    close = torch.nonzero((squared <= reach).sum(1) > 1)[:, 0]
    if len(close):
        pair, rival = torch.nonzero(squared[close] <= reach[close], as_tuple=True)
        label[close] = _settled(points[close], centers, pair, rival)
    return label


def _settled(points: torch.Tensor, centers: torch.Tensor, pair: torch.Tensor, rival: torch.Tensor) -> torch.Tensor:
    """(m,) label of the least exact distance of each point among pairs of a point and a rival."""
    parts = [
        exact_distances(points[pair[start:stop]], centers[rival[start:stop]])
        for start, stop in blocks((len(pair), points.shape[1]), WIDE)
    ]
    exact = torch.cat(parts)
    least = exact.new_full((len(points),), torch.inf).scatter_reduce_(0, pair, exact, "amin")
    tied = torch.where(exact == least[pair], rival, len(centers))
    return rival.new_full((len(points),), len(centers)).scatter_reduce_(0, pair, tied, "amin")
