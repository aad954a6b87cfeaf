"""Points on the CPU that k-means assigns to centroids: one shard of them, as they are stored.

Matrix products in float32 assign points to centroids. Where they cannot tell two centroids apart, the exact distances
do, and ties go to the lowest label. Sums are exact: values are first rounded to a grid that is coarse enough for
float64 to add them without error, and fine enough (2**-50 of n times the largest norm) not to matter. So neither
threads nor shards nor the order of addition change a label or a centroid. For the same reason a step only has to move
the points whose labels changed from one sum to another. A rough step takes the labels of `rough`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.kernels.distance import (
    BLOCK,
    NARROW,
    PAIRS,
    distances,
    finite_matrix,
    float_matrix,
    full_precision,
    rounding,
    spans,
    squared_norms,
)
from operators.kernels.placed import Placed, tensor
from operators.kernels.rough import Rough, byte_product

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch


SAFE = 1e16  # a vector of at most this norm has no value that `finite_matrix` refuses


class Cloud:
    """The points at positions `offset`, `offset + 1`, …, with the methods that `clustered` calls."""

    whole: float | None = None
    """The largest norm of all points."""

    def __init__(self, points: np.ndarray, offset: int = 0):
        """ValueError for a row that is not finite."""
        self.offset = offset
        points = float_matrix(points)
        self.points = Placed(tensor(points), np.zeros(points.shape[1]))
        if not self.look_at(None) <= SAFE:
            finite_matrix(points, offset)

    def extent(self) -> tuple[int, int]:
        """The number of points and of dimensions."""
        return len(self.points), self.points.width

    def vectors(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the positions are in this shard, as a mask, and their vectors in float32."""
        here = (positions >= self.offset) & (positions < self.offset + len(self.points))
        rows = positions[here] - self.offset
        order = np.argsort(rows, kind="stable")
        found = np.empty((len(rows), self.points.width), np.float32)
        found[order] = self.points.at(rows[order]).cpu().numpy()
        return here, found

    def look_at(self, positions: np.ndarray | None) -> float:
        """Goes on with the points at these ascending positions, or with all; returns the largest of their norms."""
        self.rows = None
        if positions is not None:
            inside = np.searchsorted(positions, [self.offset, self.offset + len(self.points)])
            self.rows = positions[inside[0] : inside[1]] - self.offset
        self.count = len(self.points) if self.rows is None else len(self.rows)
        self.labels: Any = None
        self.radius = self.whole if positions is None and self.whole is not None else self._radius()
        self.whole = self.radius if positions is None else self.whole
        return self.radius

    def _radius(self) -> float:
        largest = [float(squared_norms(block).max()) for _, _, block in self._blocks(BLOCK)]
        return float(np.sqrt(np.max(largest, initial=0.0)))

    def _blocks(self, size: int) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yields blocks of the points that are looked at; coordinates last until the next block."""
        if self.rows is None:
            yield from self.points.blocks(size)
            return
        room = self.points.room(size)
        for start, stop in spans(self.count, size):
            yield start, stop, self.points.at(self.rows[start:stop], room)

    def step(self, centroids: np.ndarray, grid: float) -> tuple[bool, np.ndarray, np.ndarray]:
        """Assigns the points; whether a label changed, the sums by label, (k, d) float64, and the numbers, (k,)."""
        return self._relabelled(self.nearest(centroids), len(centroids), grid)

    def rough_step(self, centroids: np.ndarray, grid: float) -> tuple[bool, np.ndarray, np.ndarray]:
        """As `step`, with the labels of near centroids; sums and numbers are those of these labels."""
        return self._relabelled(self.near(centroids), len(centroids), grid)

    def _relabelled(self, labels: Any, k: int, grid: float) -> tuple[bool, np.ndarray, np.ndarray]:
        before, self.labels = self.labels, labels
        moved = None if before is None else self._moved(before)
        if moved is None or 2 * len(moved) > self.count:
            self.total, self.counts = self._sums(np.arange(self.count), labels, k, grid)
        else:
            added, arrived = self._sums(moved, labels, k, grid)
            taken, left = self._sums(moved, before, k, grid)
            self.total = self.total + added - taken
            self.counts = self.counts + arrived - left
        return moved is None or len(moved) > 0, self.total, self.counts

    def _moved(self, before: Any) -> np.ndarray:
        """Which of the points that are looked at had another label before, ascending."""
        return np.flatnonzero(before != self.labels)

    def _sums(self, some: np.ndarray, labels: Any, k: int, grid: float) -> tuple[np.ndarray, np.ndarray]:
        """The sums of some of the points that are looked at, and their numbers, by label."""
        room = self.points.room(NARROW)
        total = torch.zeros(k, self.points.width, dtype=torch.float64)
        index = torch.from_numpy(labels[some]).long()
        rows = some if self.rows is None else self.rows[some]
        for start, stop in spans(len(rows), NARROW):
            total.index_add_(0, index[start:stop], on_grid(self.points.at(rows[start:stop], room), grid))
        return total.numpy(), np.bincount(labels[some], minlength=k)

    def nearest(self, centroids: np.ndarray) -> Any:
        """(n,) int32 label of the nearest centroid, the lowest on ties."""
        centers = tensor(centroids)
        norms = squared_norms(centers)
        error = rounding(centroids.shape[1], max(self.radius, math.sqrt(float(norms.max()))))
        found = np.empty(self.count, np.int32)
        table = torch.empty(min(BLOCK, self.count), len(centers))  # new memory for every block would fault in anew
        with full_precision():
            for start, stop, block in self._blocks(BLOCK):
                squared = torch.addmm(norms, block, centers.T, alpha=-2, out=table[: stop - start]).numpy()
                label = squared.argmin(axis=1)
                row = np.arange(stop - start)
                reach = squared[row, label] + np.float32(2 * error)
                squared[row, label] = np.inf
                close = np.flatnonzero(squared.min(axis=1) <= reach)
                if len(close):
                    squared[row, label] = -np.inf
                    pair, rival = np.nonzero(squared[close] <= reach[close, None])
                    label[close] = _settled(block.numpy()[close], pair, rival, centroids)
                found[start:stop] = label
        return found

    def near(self, centroids: np.ndarray) -> Any:
        """(n,) int32 label of a near centroid."""
        rough = Rough(centroids, byte_product)
        found = np.empty(self.count, np.int32)
        for start, stop, block in self._blocks(NARROW):
            found[start:stop] = rough.likeness(block).numpy().argmax(axis=1)
        return found

    def farthest(self, centroids: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The distances to their own centroids of points away from them, farthest first, and the positions.

        They are at most `count`; ties go to the lowest position.
        """
        own = self._own(centroids, self.labels)
        far = np.argsort(-own, kind="stable")[:count]
        far = far[own[far] > 0]
        return own[far], self.offset + (far if self.rows is None else self.rows[far])

    def assigned(self, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels of the points, and their distances to their own centroids, (n,) float32."""
        labels = self.nearest(centroids)
        return labels, self._own(centroids, labels)

    def _own(self, centroids: np.ndarray, labels: np.ndarray) -> np.ndarray:
        found = np.empty(self.count, np.float32)
        for start, stop, block in self._blocks(NARROW):
            found[start:stop] = distances(block.numpy(), centroids[labels[start:stop]])
        return found


def _settled(points: np.ndarray, pair: np.ndarray, rival: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """(m,) label of the least exact distance of each point among pairs of a point and a rival, the lowest on ties."""
    exact = np.empty(len(pair), np.float32)
    for begin, end in spans(len(pair), PAIRS):
        exact[begin:end] = distances(points[pair[begin:end]], centroids[rival[begin:end]])
    order = np.lexsort((rival, exact, pair))
    return rival[order][np.searchsorted(pair[order], np.arange(len(points)))]


def on_grid(points: torch.Tensor, grid: float) -> torch.Tensor:
    """The points in float64, rounded to multiples of the grid."""
    shift = 1.5 * 2.0**52 * grid
    return points.double().add_(shift).sub_(shift)


def grid_of(count: int, largest: float) -> float:
    """The finest power of two to whose multiples float64 sums `count` values up to `largest` without error."""
    return 2.0 ** (math.frexp(max(count, 1) * max(largest, 2.0**-100))[1] - 51)
