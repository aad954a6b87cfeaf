"""Prototype distance, from a point to its own centroid, and quotas of easy and hard points by it.

The distance is the difficulty of Sorscher et al. 2022: one minus the cosine to the k-means centroid. The quotas are the
selection of DEFT-UCS (Das and Khetan 2023): some of the closest and some of the farthest points of each centroid.
"""

import math
from typing import NamedTuple

import numpy as np

from operators.kernels.distance import NARROW, finite_matrix, spans
from operators.kernels.rows import Positions
from operators.kernels.sharding import by_row


@by_row
def prototype_distance(points: np.ndarray, labels: np.ndarray, centroids: np.ndarray, *, offset: int = 0) -> np.ndarray:
    """(n,) float32, one minus the cosine of each point to the centroid of its label; from 0 to 2.

    points: (n, d). labels: (n,) from 0 to k - 1. centroids: (k, d). offset: the position of the first row. A zero
    centroid has no direction: its points get their Euclidean distance to it instead (`without_direction` returns such
    centroids). A zero point has no direction either: it gets 1. ValueError for a NaN, an infinity, or a label without a
    centroid.

    >>> prototype_distance(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([0, 0]), np.array([[0.0, 2.0]]))
    array([1.        , 0.29289323], dtype=float32)
    """
    points = finite_matrix(points, offset)
    centroids = finite_matrix(centroids, name="centroids").astype(np.float64)
    labels = _labels(labels, len(points))
    if len(labels) and labels.max() >= len(centroids):
        raise ValueError(f"label {labels.max()} is not one of the {len(centroids)} centroids")
    undirected = without_direction(centroids)
    directions = _unit(centroids)
    found = np.empty(len(points), np.float32)
    for start, stop in spans(len(points), NARROW):
        block, own = points[start:stop].astype(np.float64), labels[start:stop]
        cosine = (_unit(block) * directions[own]).sum(axis=1)
        length = np.sqrt(np.square(block).sum(axis=1))
        found[start:stop] = np.where(undirected[own], length, np.clip(1 - cosine, 0, 2))
    return found


def without_direction(centroids: np.ndarray) -> np.ndarray:
    """(k,) bool, which centroids are zero; `prototype_distance` measures their points by length."""
    return ~np.any(np.asarray(centroids), axis=1)


class Quota(NamedTuple):
    """The picks of all centroids, one centroid after another."""

    positions: Positions
    """(m,) int64, by label; within a label first the easy ones, closest first, then the hard ones, farthest first."""
    tags: np.ndarray
    """(m,) "easy" or "hard"."""


def quota(distances: np.ndarray, labels: np.ndarray, per_centroid: int, easy: float, hard: float) -> Quota:
    """The floor(easy * per_centroid) closest and floor(hard * per_centroid) farthest points of each centroid.

    distances, labels: (n,). The points of a centroid are ordered by (distance, position): of equal distances the lower
    position is the easier. Easy points are taken first, then hard ones from the rest. A centroid with fewer points than
    per_centroid gives all of them: easy ones up to their quota and the rest as hard, or all as easy where hard is 0.
    ValueError for a NaN distance, and for shares that are negative or exceed 1 together.

    >>> quota(np.array([0.3, 0.1, 0.2]), np.array([0, 0, 0]), 2, 0.5, 0.5).positions
    array([1, 0])
    """
    distances = np.asarray(distances)
    labels = _labels(labels, len(distances))
    if per_centroid < 0 or easy < 0 or hard < 0 or easy + hard > 1 + 1e-9:
        raise ValueError(f"shares easy={easy}, hard={hard} of {per_centroid}: 0 or more, at most 1 together")
    if np.isnan(distances).any():
        raise ValueError(f"the distance of row {int(np.isnan(distances).argmax())} is NaN")
    wanted = whole(easy * per_centroid), whole(hard * per_centroid)
    order = np.lexsort((distances, labels))
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    positions: list[np.ndarray] = [np.empty(0, np.int64)]
    tags: list[np.ndarray] = [np.empty(0, "<U4")]
    for group in np.split(order, starts[1:]) if len(order) else []:
        closest, farthest = _shares(len(group), per_centroid, *wanted)
        positions += [group[:closest], group[len(group) - farthest :][::-1]]
        tags.append(np.repeat(["easy", "hard"], [closest, farthest]))
    return Quota(np.concatenate(positions), np.concatenate(tags))


def _shares(size: int, per_centroid: int, easy: int, hard: int) -> tuple[int, int]:
    if size >= per_centroid:
        return easy, hard
    closest = min(easy, size) if hard else size
    return closest, size - closest


def whole(share: float) -> int:
    """A number of samples, rounded down, where 0.29 * 100 is 29 and not 28."""
    return math.floor(share + 1e-9)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(m, d) float64 vectors of length one; zero ones stay."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    scaled = vectors / np.where(largest > 0, largest, 1)
    length = np.sqrt(np.square(scaled).sum(axis=1, keepdims=True))
    return scaled / np.where(length > 0, length, 1)


def _labels(labels: np.ndarray, count: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or (labels < 0).any():
        raise ValueError(f"labels: {count} integers of at least 0 wanted")
    return labels.astype(np.int64)
