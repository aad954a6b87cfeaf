"""One shard of k-center greedy: points, and upper bounds of their distances, brought up to date where needed.

It is the part of the algorithm that stays where the points are. The driver, in `k_center`, asks it for candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.kernels.distance import BLOCK, finite_matrix, float_matrix, full_precision, spans, squared_norms
from operators.kernels.placed import Placed, placed, tensor

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

SHARE = 50  # one point in fifty is always brought up to date, to estimate how many bounds exceed a value
STEP = 96  # centers, within a half of it, that an outdated point meets before its bound is looked at again
SAFE = 1e33  # a vector whose squared norm is at most this has no value that `finite_matrix` refuses
SAMPLE = 1024  # points from which the driver decides whether to move the origin


@dataclass(frozen=True)
class Candidates:
    """Points that may be picked next. `bounds` estimate their squared distances; `cap` bounds all other points'."""

    positions: np.ndarray
    vectors: np.ndarray
    norms: np.ndarray
    bounds: np.ndarray
    cap: float


class Bounds:
    """Estimates of points' squared distances to the nearest of the centres they have met."""

    def __init__(self, points: Placed, norms: np.ndarray, bounds: np.ndarray):
        self.points = points
        self.norms = norms
        self.bounds = bounds
        self.room = points.room(BLOCK)

    def meet(self, rows: np.ndarray, centers: torch.Tensor, norms: torch.Tensor) -> None:
        """Lowers the bounds of the rows, which are in ascending order, by these centers."""
        for start, stop in spans(len(rows), BLOCK):
            some = rows[start:stop]
            products = torch.addmm(norms[:, None], centers, self.points.at(some, self.room).T, alpha=-2)
            squared = products.amin(0).numpy() + self.norms[some]
            self.bounds[some] = np.minimum(self.bounds[some], squared)

    def values(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The squared norms and the bounds of the rows."""
        return self.norms[rows], self.bounds[rows]

    def foremost(self, rows: np.ndarray, reach: float, count: int) -> tuple[np.ndarray, float]:
        """The rows above `reach` with the largest bounds, at most `count`, and a bound of the others."""
        rows = rows[self.bounds[rows] > reach]
        if len(rows) > count:
            bounds = self.bounds[rows]
            reach = float(np.partition(bounds, ~count)[~count])
            rows = rows[bounds > reach]
        return rows, reach


class StaleBounds(Bounds):
    """Bounds whose points meet a center only when they have to; until then the bounds are too large."""

    def __init__(self, points: Placed, norms: np.ndarray):
        super().__init__(points, norms, np.full(len(points), np.inf, np.float32))
        self.seen = np.zeros(len(points), np.int32)
        self.centers = torch.empty(0, points.width)
        self.center_norms = torch.empty(0)

    def add(self, centers: torch.Tensor, taken: np.ndarray) -> None:
        """Adds centers; the rows `taken`, which they are, stop being candidates."""
        self.centers = torch.cat([self.centers, centers])
        self.center_norms = torch.cat([self.center_norms, squared_norms(centers)])
        self.bounds[taken] = -np.inf

    def top(self, count: int) -> tuple[np.ndarray, float]:
        """The rows with the largest bounds, at most `count` and all up to date, and a bound of all others."""
        sample = np.arange(0, len(self.bounds), SHARE)
        self._refresh(sample, -np.inf)
        fresh = np.sort(self.bounds[sample])[::-1]
        wanted = count
        while True:
            rank = wanted * len(fresh) // max(len(self.bounds), 1)
            reach = float(fresh[rank]) if rank < len(fresh) else -np.inf
            above = np.flatnonzero(self.bounds > reach)
            self._refresh(above, reach)
            above, cap = self.foremost(above, reach, count)
            if 2 * len(above) >= count or reach == -np.inf:
                return above, cap
            wanted *= 2

    def _refresh(self, rows: np.ndarray, reach: float) -> None:
        """Brings the rows up to date, each as long as its bound exceeds `reach`."""
        while True:
            rows = rows[(self.bounds[rows] > reach) & (self.seen[rows] < len(self.centers))]
            if not len(rows):
                return
            seen = self.seen[rows]
            begin = int(seen.min())
            end = (begin + STEP // 2) // STEP * STEP + STEP  # so that rows with different backlogs share later steps
            end = end if end + STEP // 2 < len(self.centers) else len(self.centers)
            group = rows[seen == begin]
            self.meet(group, self.centers[begin:end], self.center_norms[begin:end])
            self.seen[group] = end


class Shard:
    """The points at positions `offset`, `offset + 1`, …, with the methods that `cover` calls, here or on an actor."""

    def __init__(self, points: np.ndarray, offset: int = 0):
        self.stored = float_matrix(points)
        self.offset = offset
        self._see_from(np.zeros(self.stored.shape[1]))
        if not self.largest <= SAFE:
            finite_matrix(self.stored, offset)

    def _see_from(self, origin: np.ndarray) -> None:
        """Sets the origin, the squared norms of the coordinates from it, and the largest of these."""
        self.origin = origin
        self.points = Placed(tensor(self.stored), origin)
        self.norms = np.empty(len(self.stored), np.float32)
        for start, stop, block in self.points.blocks(BLOCK):
            self.norms[start:stop] = squared_norms(block).numpy()
        self.largest = float(self.norms.max(initial=0))

    def _unmet(self) -> Any:
        """The bounds of the points before they meet a center."""
        return StaleBounds(self.points, self.norms)

    def extent(self) -> tuple[int, int, np.ndarray, float]:
        """The number of points, and of a sample of them: its size, sum of vectors and sum of squared norms."""
        sample = self.stored[:: len(self.stored) // SAMPLE + 1].astype(np.float64)
        return len(self.stored), len(sample), sample.sum(axis=0), float(np.square(sample).sum())

    def place(self, origin: np.ndarray) -> float:
        """Moves the points to the origin and forgets all centers; returns the largest norm."""
        if origin.any():
            self._see_from(origin)
        self.bounds = self._unmet()
        return self.largest**0.5

    def vectors(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the positions are in this shard, as a mask, and their vectors as stored."""
        here = (positions >= self.offset) & (positions < self.offset + len(self.stored))
        return here, self.stored[positions[here] - self.offset]

    def flush(self, centers: np.ndarray, taken: np.ndarray, count: int) -> Candidates:
        """The candidates, at most `count`, after adding these centers, which are the points at positions `taken`."""
        here, _ = self.vectors(taken)
        with full_precision():
            self.bounds.add(placed(centers, self.origin), taken[here] - self.offset)
            rows, cap = self.bounds.top(count)
        norms, bounds = self.bounds.values(rows)
        return Candidates(rows + self.offset, self.stored[rows], norms, bounds, cap)
