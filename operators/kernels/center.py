"""The mean direction of points, and the point closest to a center."""

import numpy as np

from operators.kernels.distance import finite_matrix
from operators.kernels.rows import Position
from operators.kernels.sharding import Ask, Tell, here, sharded, silent

BLOCK = 65_536  # rows at a time


class Points:
    """A shard of the points."""

    def __init__(self, points: np.ndarray, offset: int = 0):
        """ValueError for a row that is not finite."""
        self.points, self.offset = finite_matrix(points, offset), offset

    def block_sums(self) -> tuple[int, list[np.ndarray]]:
        """The number of points, and the float64 sum of each block of them."""
        starts = range(0, len(self.points), BLOCK)
        sums = [self.points[at : at + BLOCK].sum(axis=0, dtype=np.float64) for at in starts]
        return len(self.points), sums or [np.zeros(self.points.shape[1])]

    def closest(self, center: np.ndarray) -> tuple[np.float32, int]:
        """The distance and the position of the closest point, the first on ties; infinite where there is no point."""
        distances = np.full(len(self.points) + 1, np.inf, np.float32)
        for start in range(0, len(self.points), BLOCK):
            block = self.points[start : start + BLOCK].astype(np.float64)
            distances[start : start + len(block)] = np.linalg.norm(block - center, axis=1)
        place = int(np.argmin(distances))
        return distances[place], self.offset + place


def blocks(rows: int) -> list[int]:
    """Where the blocks of so many rows begin, and the end."""
    return [*range(0, rows, BLOCK), rows]


def direction(ask: Ask, *, tell: Tell = silent) -> np.ndarray:
    """The mean direction of all shards' points; the sums of blocks are added up in their order."""
    answers = ask("block_sums")
    sums = [each for _, some in answers for each in some]
    mean = np.zeros_like(sums[0])
    for each in sums:
        mean += each
    mean /= max(sum(count for count, _ in answers), 1)
    length = float(np.linalg.norm(mean))
    return mean / length if length else mean


@sharded(Points, direction, blocks)
def mean_direction(points: np.ndarray) -> np.ndarray:
    """The mean of the points, (n, d), divided by its length; (d,) float64. A mean of zero is returned as it is.

    ValueError for a row that is not finite.
    """
    return direction(here(Points(points)))


def nearest(ask: Ask, center: np.ndarray, *, tell: Tell = silent) -> Position:
    """The position of the closest of all shards' points; otherwise as `closest`."""
    distance, position = min(ask("closest", center))
    if distance == np.inf:
        raise ValueError("no points to choose from")
    return position


@sharded(Points, nearest)
def closest(points: np.ndarray, center: np.ndarray) -> Position:
    """The position of the point, of (n, d), with the least Euclidean distance to the center, (d,).

    Ties go to the lowest position. Distances are compared as float32, so that points which differ only by rounding tie.
    ValueError for no points, and for a row that is not finite.

    >>> closest(np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]]), np.array([0.70710678, 0.70710678]))
    1
    """
    return nearest(here(Points(points)), center)
