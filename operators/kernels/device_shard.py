"""One shard of k-center greedy whose points are on a device, where every point meets every center.

On a CPU it pays to look up which points have to meet which centers (`shard`). A GPU multiplies all of them in less time
than the look-up takes. Bounds that are all up to date suit the driver as well, so the picks are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.device import TABLE, blocks, float32_norms, on_device
from operators.kernels.distance import spans, squared_norms
from operators.kernels.placed import Placed
from operators.kernels.shard import Shard

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

MET = 1024  # centers of a matrix product at a time


class FreshBounds:
    """Estimates of points' squared distances to the nearest center, on the device of the points."""

    def __init__(self, points: Placed, norms: torch.Tensor):
        self.points = points
        self.norms = norms
        self.bounds = torch.full_like(norms, torch.inf)

    def add(self, centers: torch.Tensor, taken: np.ndarray) -> None:
        """Adds centers; the rows `taken`, which they are, stop being candidates."""
        centers = centers.to(self.bounds.device)
        for begin, end in spans(len(centers), MET):
            self._meet(centers[begin:end])
        self.bounds[torch.from_numpy(taken).to(self.bounds.device)] = -torch.inf

    def _meet(self, centers: torch.Tensor) -> None:
        center_norms = squared_norms(centers)
        for start, stop in blocks((len(self.points), max(len(centers), self.points.width)), TABLE):
            products = torch.addmm(center_norms, self.points.span(start, stop), centers.T, alpha=-2)
            bounds = self.bounds[start:stop]
            torch.minimum(bounds, products.amin(1).add_(self.norms[start:stop]), out=bounds)

    def top(self, count: int) -> tuple[np.ndarray, float]:
        """The rows with the largest bounds, at most `count`, and a bound of all others."""
        reach = -np.inf if count >= len(self.bounds) else float(self.bounds.topk(count + 1).values[-1])
        return torch.nonzero(self.bounds > reach)[:, 0].cpu().numpy(), reach

    def values(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The squared norms and the bounds of the rows."""
        index = torch.from_numpy(rows).to(self.bounds.device)
        return self.norms[index].cpu().numpy(), self.bounds[index].cpu().numpy()


class DeviceShard(Shard):
    """A shard whose points, norms and bounds are on a device. The stored points stay in memory for exact distances."""

    def __init__(self, points: np.ndarray, offset: int = 0, device: str = "cuda"):
        self.device = device
        super().__init__(points, offset)

    def _see_from(self, origin: np.ndarray) -> None:
        moved = hasattr(self, "points")
        self.origin = origin
        if moved and self.stored.dtype != np.float64:
            self.points = Placed(self.points.stored, origin)
        else:
            self.points = Placed(torch.empty(0, 0), origin[:0])  # frees those of the origin before
            self.points = on_device(self.stored, self.device, origin)
        self.norms = float32_norms(self.points)
        self.largest = float(self.norms.max()) if len(self.norms) else 0.0

    def _unmet(self) -> FreshBounds:
        return FreshBounds(self.points, self.norms)


def shard_of(points: np.ndarray, offset: int = 0, device: str = "cpu") -> Shard:
    """A shard of the points, on the CPU or on a device."""
    return Shard(points, offset) if device == "cpu" else DeviceShard(points, offset, device)
