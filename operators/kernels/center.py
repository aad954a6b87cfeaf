"""The mean direction of points, and the point closest to a center."""

import numpy as np

from operators.kernels.rows import Position


def mean_direction(points: np.ndarray) -> np.ndarray:
    """The mean of the points, (n, d), divided by its length; (d,) float64. A mean of zero is returned as it is."""
    mean = np.zeros(points.shape[1])
    for start in range(0, len(points), 65_536):
        mean += points[start : start + 65_536].sum(axis=0, dtype=np.float64)
    mean /= max(len(points), 1)
    length = float(np.linalg.norm(mean))
    return mean / length if length else mean


def closest(points: np.ndarray, center: np.ndarray) -> Position:
    """The position of the point, of (n, d), with the least Euclidean distance to the center, (d,).

    Ties go to the lowest position. Distances are compared as float32, so that points which differ only by rounding tie.
    ValueError for no points.

    >>> closest(np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]]), np.array([0.70710678, 0.70710678]))
    1
    """
    if not len(points):
        raise ValueError("no points to choose from")
    distances = np.empty(len(points), np.float32)
    for start in range(0, len(points), 65_536):
        block = points[start : start + 65_536].astype(np.float64)
        distances[start : start + len(block)] = np.linalg.norm(block - center, axis=1)
    return int(np.argmin(distances))
