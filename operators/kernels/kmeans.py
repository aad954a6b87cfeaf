"""k-means: Lloyd's iterations (1982), the early ones on a sample; the same clustering on any number of shards.

Points are assigned and added up where they are: on the CPU (`cloud`) or on a GPU (`device_cloud`), with the same bits.
Where many points have many centroids, all iterations but the last take a near centroid for the nearest (`rough`).

A centroid without points moves to the point that is farthest from its own centroid; ties go to the lowest position.
Several such centroids take the next farthest points that differ.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from operators.kernels.cloud import grid_of
from operators.kernels.device_cloud import cloud_of
from operators.kernels.distance import spans
from operators.kernels.sharding import Ask, Tell, at_positions, here, sharded, silent

SHARE = 4  # the sample is one point in four,
SAMPLE = 8192  # but never fewer than this many,
EACH = 256  # nor than this many per centroid
MANY = 32  # centroids from which rough steps pay
FEW = 256  # points at a time in the search for ones that differ


@dataclass(frozen=True)
class Clustering:
    """Centroids, and the label of each point: its nearest centroid."""

    centroids: np.ndarray
    """(k, d) float32; fewer rows than asked for where points coincide."""
    labels: np.ndarray
    """(n,) int32."""
    distances: np.ndarray
    """(n,) float32 Euclidean distance of each point to its centroid."""
    inertia: float
    """The sum of the squared distances."""
    iterations: int
    """The number of times that the centroids were moved; lower than requested where labels stopped changing."""


def clustered(
    ask: Ask, k: int, *, seed: int, iterations: int = 11, full_iterations: int = 3, tell: Tell = silent
) -> Clustering:
    """The clustering of all shards' points; otherwise as `kmeans`."""
    _check(k, iterations, full_iterations)
    count = sum(size for size, _ in ask("extent"))
    if count < 1:
        raise ValueError("no points")
    order = np.random.default_rng(seed).permutation(count)
    sample = np.sort(order[: max(count // SHARE, SAMPLE, EACH * k)])
    centroids = _distinct(lambda positions: at_positions(ask, positions), order, k)
    if len(centroids) < k:
        warnings.warn(f"k-means: {len(centroids)} centroids, not {k}: no more points differ", stacklevel=3)
    early = iterations - full_iterations if len(sample) < count else 0
    late = iterations - early
    rough = count > SAMPLE and len(centroids) >= MANY
    step, exact = ("rough_step", min(late, 1)) if rough else ("step", late)
    taken = 0
    if early:
        grid = _grid(ask, sample, len(sample))
        centroids, taken = _lloyd(ask, step, centroids, early, grid, partial(_say, tell, iterations, 0))
    grid = _grid(ask, None, count)
    for name, turns, before in (step, late - exact, early), ("step", exact, iterations - exact):
        centroids, more = _lloyd(ask, name, centroids, turns, grid, partial(_say, tell, iterations, before))
        taken += more
    answers = ask("assigned", centroids)
    labels, found = (np.concatenate(column) for column in zip(*answers, strict=True))
    inertia = float(np.square(found, dtype=np.float64).sum())
    return Clustering(centroids, labels, found, inertia, taken)


def _say(tell: Tell, iterations: int, before: int, turn: int) -> None:
    tell(f"iteration {before + turn} of {iterations}", (before + turn) / (iterations + 1))


def _grid(ask: Ask, sample: np.ndarray | None, count: int) -> float:
    """The grid for sums of the sample, or of all points, which the shards look at from now on."""
    return grid_of(count, max(ask("look_at", sample)))


def _lloyd(
    ask: Ask, step: str, centroids: np.ndarray, iterations: int, grid: float, tell: Callable[[int], None]
) -> tuple[np.ndarray, int]:
    """The centroids after at most so many steps of this name over what the shards look at, and their number."""
    for iteration in range(iterations):
        changed, totals, counts = zip(*ask(step, centroids, grid), strict=True)
        if not any(changed):
            return centroids, iteration
        total, number = np.sum(totals, axis=0), np.sum(counts, axis=0)
        moved = (total / np.maximum(number, 1)[:, None]).astype(np.float32)
        empty = np.flatnonzero(number == 0)
        moved[empty] = centroids[empty]
        if len(empty):
            far = _farthest(ask, centroids, len(empty))
            moved[empty[: len(far)]] = far
        centroids = moved
        tell(iteration + 1)
    return centroids, iterations


def _farthest(ask: Ask, centroids: np.ndarray, count: int) -> np.ndarray:
    """The points farthest from their own centroids, `count` that differ, or as many as there are; (m, d)."""
    asked = max(count, FEW)
    while True:
        answers = ask("farthest", centroids, asked)
        lengths, positions = (np.concatenate(column) for column in zip(*answers, strict=True))
        # Beyond the last answer of a shard that has more, points of that shard may be missing.
        floor = max((own[-1] for own, _ in answers if len(own) == asked), default=-np.inf)
        order = np.lexsort((positions, -lengths))
        order = order[lengths[order] > floor]
        far = _distinct(lambda some: at_positions(ask, some), positions[order], count)
        if len(far) == count or floor == -np.inf:
            return far
        asked *= 4


def _distinct(vectors: Callable[[np.ndarray], np.ndarray], order: np.ndarray, k: int) -> np.ndarray:
    """The first k vectors of the positions in this order that differ; fewer where there are no more."""
    seen: dict[bytes, np.ndarray] = {}
    for start, stop in spans(len(order), max(k, FEW)):
        for vector in vectors(order[start:stop]):
            seen.setdefault((vector + 0.0).tobytes(), vector)
            if len(seen) == k:
                return np.stack(list(seen.values()))
    return np.stack(list(seen.values())) if seen else vectors(order[:0])


@sharded(cloud_of, clustered)
def kmeans(
    points: np.ndarray,
    k: int,
    *,
    seed: int,
    iterations: int = 11,
    full_iterations: int = 3,
    device: str = "cpu",
) -> Clustering:
    """Clusters the points around k centroids.

    points: (n, d) float16, float32 or float64, converted to float32. iterations: the most in all. The last
    `full_iterations` use every point; those before use a sample that the seed decides, or all points where they are
    few. Where many points have many centroids, all iterations but the last assign points to near centroids; the labels
    returned are those of the nearest. The first centroids are k points that differ, in an order that the seed decides.
    device: where torch keeps the points and computes; it changes no bit of the result.

    ValueError for a row with a NaN or an infinity, for no points, for k below 1, and for iterations fewer than the full
    ones.

    >>> kmeans(np.array([[0.0], [1.0], [10.0], [11.0]]), 2, seed=0).inertia
    1.0
    """
    _check(k, iterations, full_iterations)
    cloud = cloud_of(points, device=device)
    return clustered(here(cloud), k, seed=seed, iterations=iterations, full_iterations=full_iterations)


def _check(k: int, iterations: int, full_iterations: int) -> None:
    if k < 1 or full_iterations < 0 or iterations < full_iterations:
        raise ValueError(
            f"k={k}, iterations={iterations} of which full {full_iterations}: k is at least 1, "
            "and iterations at least as many as the full ones"
        )
