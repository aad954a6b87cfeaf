"""Points on a device that k-means assigns to centroids: the labels, sums and distances of `Cloud`, bit for bit.

Tables of estimates stay on the device, and so do the exact distances that settle what estimates cannot (`device`). Of
every pass over the points only sums, (k, d), reach the CPU.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.kernels.cloud import Cloud, on_grid
from operators.kernels.device import ROWS, TABLE, WIDE, blocks, exact_distances, largest_norm, on_device
from operators.kernels.distance import finite_matrix, float_matrix, full_precision, rounding, spans, squared_norms
from operators.kernels.placed import Placed
from operators.kernels.rough import Rough, float_product

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

LARGE = 1e17  # a float32 below this is none that `finite_matrix` refuses


class DeviceCloud(Cloud):
    """A shard of points on a device. Labels are tensors there, (n,) int64."""

    def __init__(self, points: np.ndarray, offset: int = 0, device: str = "cuda"):
        """ValueError for a row that is not finite."""
        self.offset = offset
        points = float_matrix(points)
        self.points = on_device(points, device, np.zeros(points.shape[1]))
        if not all(bool(block.abs().amax() < LARGE) for *_, block in self.points.blocks(self._size(0, WIDE))):
            finite_matrix(points, offset)
        self.look_at(None)

    def _size(self, width: int, numbers: int) -> int:
        """The rows of a block, for tables of this width and of at most so many numbers."""
        return max(1, min(ROWS, numbers // max(width, self.points.width, 1)))

    def _there(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.points.stored.device)

    def _radius(self) -> float:
        if self.rows is None:
            return math.sqrt(largest_norm(self.points))
        some = self.points.stored[self._there(self.rows)]
        return math.sqrt(largest_norm(Placed(some, np.zeros(self.points.width))))

    def nearest(self, centroids: np.ndarray) -> Any:
        """The label of each point's nearest centroid, the lowest on ties."""
        centers = self._there(centroids)
        norms = squared_norms(centers)
        error = rounding(centroids.shape[1], max(self.radius, math.sqrt(float(norms.max()))))
        size = self._size(len(centers), TABLE)
        with full_precision():
            parts = [nearest(block, centers, norms, error) for *_, block in self._blocks(size)]
        return torch.cat(parts) if parts else self._there(np.empty(0, np.int64))

    def near(self, centroids: np.ndarray) -> Any:
        """The label of a centroid near to each point."""
        rough = Rough(centroids, float_product, self.points.stored.device)
        size = self._size(4 * len(centroids), TABLE)  # four tables exist at once
        parts = [rough.likeness(block).argmax(1) for *_, block in self._blocks(size)]
        return torch.cat(parts) if parts else self._there(np.empty(0, np.int64))

    def _moved(self, before: torch.Tensor) -> np.ndarray:
        return torch.nonzero(before != self.labels)[:, 0].cpu().numpy()

    def _sums(self, some: np.ndarray, labels: Any, k: int, grid: float) -> tuple[np.ndarray, np.ndarray]:
        there = self.points.stored.device
        total = torch.zeros(k, self.points.width, dtype=torch.float64, device=there)
        index = labels[self._there(some)]
        rows = some if self.rows is None else self.rows[some]
        for start, stop in spans(len(rows), self._size(0, WIDE)):
            total.index_add_(0, index[start:stop], on_grid(self.points.at(rows[start:stop]), grid))
        return total.cpu().numpy(), torch.bincount(index, minlength=k).cpu().numpy()

    def farthest(self, centroids: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Cloud.farthest`."""
        own, far = self._own_there(centroids, self.labels).sort(descending=True, stable=True)
        far = far[:count][own[:count] > 0].cpu().numpy()
        return own[: len(far)].cpu().numpy(), self.offset + (far if self.rows is None else self.rows[far])

    def assigned(self, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels of the points, (n,) int32, and their distances to their own centroids, (n,) float32."""
        labels = self.nearest(centroids)
        return labels.int().cpu().numpy(), self._own_there(centroids, labels).cpu().numpy()

    def _own_there(self, centroids: np.ndarray, labels: torch.Tensor) -> torch.Tensor:
        centers = self._there(centroids)
        found = torch.empty(self.count, device=centers.device)
        for start, stop, block in self._blocks(self._size(0, WIDE)):
            found[start:stop] = exact_distances(block, centers[labels[start:stop]])
        return found


def cloud_of(points: np.ndarray, offset: int = 0, device: str = "cpu") -> Cloud:
    """A shard of the points, on the CPU or on a device."""
    return Cloud(points, offset) if device == "cpu" else DeviceCloud(points, offset, device)


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
