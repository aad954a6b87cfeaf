"""Euclidean distances that can be compared exactly, for k_center, kmeans and prototype.

The exact distance of two stored vectors is computed in float64 from their stored values and rounded to float32
(`distances`). Matrix products in float32 estimate its square with an error of at most `rounding`. Only comparisons
closer than that need the exact distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

BLOCK = 1024  # rows of a matrix product at a time
NARROW = 256  # rows at a time in float64: the allocator returns larger temporaries, which then fault in again
PAIRS = 4096  # distances at a time


def float_matrix(points: np.ndarray, name: str = "points") -> np.ndarray:
    """The points as an array; ValueError where they are not an (n, d) matrix of floats."""
    points = np.asarray(points)
    if points.ndim != 2 or points.dtype not in (np.float16, np.float32, np.float64):
        shape = f"{points.dtype} of shape {points.shape}"
        raise ValueError(f"{name}: (n, d) float16, float32 or float64 wanted, not {shape}")
    return points


def finite_matrix(points: np.ndarray, offset: int = 0, name: str = "points") -> np.ndarray:
    """The points as an array; ValueError where they are not an (n, d) matrix of finite floats.

    The message names the first bad row, counted from `offset`. Values beyond 1e17 are refused too, because sums of
    their squares overflow float32.
    """
    points = float_matrix(points, name)
    limit = min(1e17, float(np.finfo(points.dtype).max))
    for start, stop in spans(len(points), NARROW):
        block = points[start:stop]
        if not (block.max(initial=0) <= limit and block.min(initial=0) >= -limit):
            row = start + int((~(np.abs(block) <= limit).all(axis=1)).argmax())
            raise ValueError(f"{name}: row {offset + row} holds a NaN, an infinity or a huge value")
    return points


def spans(stop: int, size: int, start: int = 0) -> list[tuple[int, int]]:
    """The (start, stop) pairs of consecutive blocks of `size`."""
    return [(begin, min(begin + size, stop)) for begin in range(start, stop, size)]


def distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(m,) float32 exact distance of each point, of (m, d), to the other in the same row, of (m, d) or (1, d).

    A row's value depends on that row alone, because NumPy sums each contiguous row by itself.

    >>> distances(np.array([[0.0, 0.0], [3.0, 1.0]]), np.array([[3.0, 4.0]]))
    array([5., 3.], dtype=float32)
    """
    if len(points) <= NARROW:
        gap = np.ascontiguousarray(points, np.float64) - others.astype(np.float64)
        return np.sqrt(np.square(gap, out=gap).sum(axis=1)).astype(np.float32)
    found = np.empty(len(points), np.float32)
    for start, stop in spans(len(points), NARROW):
        other = others if len(others) == 1 else others[start:stop]
        found[start:stop] = distances(points[start:stop], other)
    return found


def unit(vectors: np.ndarray) -> np.ndarray:
    """(m, d) float32 vectors of length one, computed in float64; no vector may be zero."""
    found = np.empty(vectors.shape, np.float32)
    for start, stop in spans(len(vectors), NARROW):
        block = vectors[start:stop].astype(np.float64)
        block /= np.abs(block).max(axis=1, keepdims=True)
        found[start:stop] = block / np.sqrt(np.square(block).sum(axis=1, keepdims=True))
    return found


def squared_norms(points: torch.Tensor) -> torch.Tensor:
    """(n,) float32 squared norms, summed in float64."""
    blocks = [block.double().square_().sum(1).float() for block in points.split(NARROW)]
    return torch.cat(blocks) if blocks else points.new_zeros(0)


def rounding(width: int, radius: float) -> float:
    """A bound on the error of an estimated squared distance, for vectors of this width with norms up to radius.

    In units of radius**2, with u = 2**-24, it is the sum of: 3(d + 1)u for the product with a norm as its bias, in any
    order of summation; 8u for coordinates rounded to float32; 12u for norms and additions; 16u, so that distances which
    round to the same float32 lie within the bound of each other; and 4u to spare. A last term covers underflow.
    """
    units = (3 * (width + 1) + 40) * 2.0**-24
    return radius**2 * units / (1 - units) + (width + 1) * 2.0**-120


def estimates(
    points: torch.Tensor, norms: torch.Tensor, centers: torch.Tensor, center_norms: torch.Tensor
) -> torch.Tensor:
    """(n, k) float32 estimates of the squared distances."""
    return torch.addmm(center_norms, points, centers.T, alpha=-2).add_(norms[:, None])


def near_pairs(squared: torch.Tensor, error: float) -> tuple[np.ndarray, np.ndarray]:
    """The rows and the columns of the estimates that may be the smallest of their row, in order of rows."""
    reach = squared.amin(1, keepdim=True) + 2 * error
    row, column = torch.nonzero(squared <= reach, as_tuple=True)
    return row.cpu().numpy(), column.cpu().numpy()


class Centers:
    """A growing list of centers, in memory for all: as stored, and as float32 coordinates from an origin."""

    def __init__(self, origin: np.ndarray, error: float, room: int, dtype: np.dtype):
        self.origin = origin
        self.error = error
        self.stored = np.empty((room, len(origin)), dtype)
        self.points = torch.empty(room, len(origin))
        self.norms = torch.empty(room)
        self.count = 0

    def add(self, stored: np.ndarray, points: torch.Tensor, norms: torch.Tensor) -> None:
        """Appends centers."""
        span = slice(self.count, self.count + len(stored))
        self.stored[span], self.points[span], self.norms[span] = stored, points, norms
        self.count += len(stored)

    def last(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The last `count` centers and their squared norms."""
        span = slice(self.count - count, self.count)
        return self.points[span], self.norms[span]

    def nearest(self, stored: np.ndarray, points: torch.Tensor, norms: torch.Tensor) -> np.ndarray:
        """(m,) float32 exact distance of each point to its nearest center."""
        found = np.full(len(stored), np.inf, np.float32)
        for start, stop in spans(len(stored), BLOCK):
            for begin, end in spans(self.count, PAIRS):
                block = (
                    points[start:stop],
                    norms[start:stop],
                    self.points[begin:end],
                    self.norms[begin:end],
                )
                row, center = near_pairs(estimates(*block), self.error)
                for at, to in spans(len(row), PAIRS):
                    rows = start + row[at:to]
                    exact = distances(stored[rows], self.stored[begin + center[at:to]])
                    np.minimum.at(found, rows, exact)
        return found


@contextmanager
def full_precision() -> Iterator[None]:
    """A context in which float32 products are computed in float32, whatever the process has set in torch."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
