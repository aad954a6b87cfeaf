"""The points of a shard, and stale bounds of their distances to centres, brought up to date where needed.

The half of k-center greedy that stays with the points: see `k_center`, whose driver asks it for candidates.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from operators.kernels.distance import BLOCK, NARROW, finite_matrix, full_precision, spans, squared_norms

SHARE = 6  # a sixth of the points is brought up to date at a time, wanted or not: fewer, larger products
STEP = 128  # centres a stale point meets before its bound is looked at again
SAMPLE = 4096  # points that decide whether to move the origin


@dataclass(frozen=True)
class Candidates:
    """Points that may be next. `bounds` are estimates of squared distances; `cap` bounds all other points."""

    positions: np.ndarray
    vectors: np.ndarray
    bounds: np.ndarray
    cap: float


class Bounds:
    """Estimates of points' squared distances to a growing list of centres, possibly stale: too large."""

    def __init__(self, points: torch.Tensor, bounds: np.ndarray):
        self.points = points
        self.norms = squared_norms(points)
        self.bounds = bounds
        self.seen = np.zeros(len(points), np.int64)
        self.centers = points[:0]
        self.center_norms = self.norms[:0]

    def add(self, centers: torch.Tensor, taken: np.ndarray) -> None:
        """Take in centres, which no point meets before it has to; the rows `taken` leave."""
        self.centers = torch.cat([self.centers, centers])
        self.center_norms = torch.cat([self.center_norms, squared_norms(centers)])
        self.bounds[taken] = -np.inf

    def top(self, count: int) -> tuple[np.ndarray, float]:
        """Rows, at most `count` and all fresh, whose bounds exceed all others; and the largest other bound."""
        while True:
            cap = self._largest(count)
            above = np.flatnonzero((self.bounds >= cap) & (self.bounds > -np.inf))
            if (self.seen[above] == len(self.centers)).all():
                return above[self.bounds[above] > cap], cap
            reach = min(cap, self._largest(len(self.bounds) // SHARE))
            stale = np.flatnonzero((self.bounds >= reach) & (self.seen < len(self.centers)) & (self.bounds > -np.inf))
            for begin in np.flatnonzero(np.bincount(self.seen[stale])):
                self._meet(stale[self.seen[stale] == begin], int(begin))

    def _largest(self, rank: int) -> float:
        """The bound that `rank` others are at least as large as; minus infinity where there is none."""
        if rank >= len(self.bounds):
            return -np.inf
        return float(np.partition(self.bounds, ~rank)[~rank])

    def _meet(self, rows: np.ndarray, begin: int) -> None:
        end = min(begin + STEP, len(self.centers))
        centers, norms = self.centers[begin:end], self.center_norms[begin:end]
        for start, stop in spans(len(rows), BLOCK):
            some = rows[start:stop]
            if some[-1] - some[0] + 1 == len(some):
                index = slice(int(some[0]), int(some[-1]) + 1)
                points = self.points[index]
            else:
                index = torch.from_numpy(some).to(self.points.device)
                points = self.points.index_select(0, index)
            nearest = torch.addmm(norms, points, centers.T, alpha=-2).amin(1).add_(self.norms[index])
            self.bounds[some] = np.minimum(self.bounds[some], nearest.cpu().numpy())
        self.seen[rows] = end


class Shard:
    """The points at positions `offset`, `offset + 1`, …; what `cover` asks of each, here or on an actor."""

    def __init__(self, points: np.ndarray, offset: int = 0, device: str = "cpu"):
        self.stored = finite_matrix(points, offset)
        self.offset = offset
        self.device = device

    def extent(self) -> tuple[int, int, np.ndarray, float]:
        """How many points there are, and of a sample: its size, sum of vectors, sum of squared norms."""
        sample = self.stored[:: len(self.stored) // SAMPLE + 1].astype(np.float64)
        return len(self.stored), len(sample), sample.sum(axis=0), float(np.square(sample).sum())

    def place(self, origin: np.ndarray) -> float:
        """Move the points to the origin and forget all centres; the largest norm there."""
        self.origin = origin
        points = placed(self.stored, origin).to(self.device)
        self.bounds = Bounds(points, np.full(len(points), np.inf, np.float32))
        return float(self.bounds.norms.max()) ** 0.5 if len(points) else 0.0

    def vectors(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the positions are here (a mask), and their vectors as stored."""
        here = (positions >= self.offset) & (positions < self.offset + len(self.stored))
        return here, self.stored[positions[here] - self.offset]

    def flush(self, centers: np.ndarray, taken: np.ndarray, count: int) -> Candidates:
        """The points, at most `count`, with the largest bounds after these centres; positions `taken` leave."""
        here, _ = self.vectors(taken)
        with full_precision():
            known = placed(centers, self.origin).to(self.device)
            self.bounds.add(known, taken[here] - self.offset)
            rows, cap = self.bounds.top(count)
        return Candidates(rows + self.offset, self.stored[rows], self.bounds.bounds[rows], cap)


def placed(points: np.ndarray, origin: np.ndarray) -> torch.Tensor:
    """(n, d) float32 coordinates from the origin; float32 points seen from zero are not copied."""
    if points.dtype == np.float32 and not origin.any():
        with warnings.catch_warnings():  # read-only arrays, as Ray hands them out, are not written to
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(np.ascontiguousarray(points))
    moved = np.empty(points.shape, np.float32)
    for start, stop in spans(len(points), NARROW):
        np.subtract(
            points[start:stop].astype(np.float64),
            origin,
            out=moved[start:stop],
            casting="same_kind",
        )
    return torch.from_numpy(moved)
