"""Places vectors in a plane so that similar ones are near one another."""

from typing import NamedTuple

import numpy as np

from operators.kernels.distance import spans
from operators.kernels.neighbours import QUERIES, Shard, nearest
from operators.kernels.sharding import here

SMALL = 1_000
"""Fewer vectors than this are placed by their principal components, which is fast."""
WIDE, NARROW = 1_024, 512
"""Vectors with more dimensions than WIDE are projected at random to NARROW ones first."""
PERPLEXITY = 30
EARLY, LATE = 250, 250
"""Steps with and without exaggeration."""


class Layout(NamedTuple):
    """Where each vector lies, and by which method."""

    points: np.ndarray
    """(n, 2) float32, from -1 to 1."""
    method: str


def layout(vectors: np.ndarray, seed: int) -> Layout:
    """The places of n finite vectors, (n, d); the same for the same seed, whatever the number of threads."""
    vectors = np.asarray(vectors, np.float32)
    if vectors.shape[1] > WIDE:
        directions = np.random.default_rng(seed).standard_normal((vectors.shape[1], NARROW), np.float32)
        vectors = vectors @ directions / np.sqrt(np.float32(NARROW))
    if len(vectors) < SMALL:
        return Layout(_scaled(components(vectors)), "the first two principal components")
    return Layout(_scaled(neighbour_map(vectors, seed)), "t-SNE")


def _scaled(points: np.ndarray) -> np.ndarray:
    """The points moved and scaled so that the longer side of the box around them goes from -1 to 1."""
    if not len(points):
        return points.astype(np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    return ((points - (low + high) / 2) / max((high - low).max() / 2, 1e-12)).astype(np.float32)


def components(vectors: np.ndarray) -> np.ndarray:
    """The first two principal components of the vectors; (n, 2), zeros where there are fewer dimensions."""
    centered = vectors - vectors.mean(axis=0) if len(vectors) else vectors
    centered = centered.astype(np.float64)
    axes = np.linalg.eigh(centered.T @ centered)[1][:, ::-1][:, :2]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1, 1)  # the sign of an axis is arbitrary
    found = np.zeros((len(vectors), 2))
    found[:, : axes.shape[1]] = centered @ axes
    return found


def neighbour_map(vectors: np.ndarray, seed: int) -> np.ndarray:
    """The places that t-SNE finds, beginning at the principal components; (n, 2). There must be several vectors."""
    from openTSNE import TSNEEmbedding  # noqa: PLC0415 - it takes seconds to import, and small maps do without it
    from openTSNE.affinity import PerplexityBasedNN  # noqa: PLC0415
    from openTSNE.nearest_neighbors import PrecomputedNeighbors  # noqa: PLC0415

    count = min(3 * PERPLEXITY, len(vectors) - 1)
    ids, distances = nearest_others(vectors, count)
    # One thread: several add numbers up in any order, and t-SNE magnifies the difference.
    index = PrecomputedNeighbors(ids, distances)
    affinities = PerplexityBasedNN(knn_index=index, perplexity=max(count // 3, 1), n_jobs=1, random_state=seed)
    start = components(vectors)
    start *= 1e-4 / max(start[:, 0].std(), 1e-12)
    places = TSNEEmbedding(start, affinities, n_jobs=1, random_state=seed)
    places.optimize(EARLY, exaggeration=12, momentum=0.5, inplace=True)
    places.optimize(LATE, momentum=0.8, inplace=True)
    return np.asarray(places)


def nearest_others(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the nearest other vectors of each, and their distances; (n, count) both, the nearest first."""
    ask = here(Shard(vectors))
    found = [nearest(ask, vectors[a:b], count, np.arange(a, b)) for a, b in spans(len(vectors), QUERIES)]
    return np.concatenate([each.ids for each in found]), np.concatenate([each.distances for each in found])
