"""How some kept rows cover all rows."""

from typing import NamedTuple

import numpy as np

from operators.kernels.neighbours import Shard, nearest
from operators.kernels.rows import Positions
from operators.kernels.sharding import here


class Coverage(NamedTuple):
    """What the kept rows cover."""

    radius: float
    """The largest distance of a row to the nearest kept row; NaN where none is kept."""
    mean_distance: float
    """The mean of these distances."""
    topics: int
    """The number of centroids that are the nearest one of a kept row."""
    near_duplicates: int
    """The number of kept rows with another kept row at most `near` away."""


def coverage(points: np.ndarray, *, kept: Positions, rows: int, centroids: np.ndarray, near: float) -> Coverage:
    """How the kept rows cover the first `rows` of the points; Euclidean distances.

    points: (n, d). kept: positions among all n, of which the last n - rows need not be covered. centroids: (c, d).

    >>> coverage(np.array([[0.0], [1.0], [5.0]]), kept=np.array([0, 1]), rows=3, centroids=np.array([[0.0], [5.0]]),
    ...          near=1.0)
    Coverage(radius=4.0, mean_distance=1.3333333333333333, topics=1, near_duplicates=2)
    """
    if not len(kept):
        return Coverage(float("nan"), float("nan"), 0, 0)
    chosen = points[kept]
    away = nearest(here(Shard(chosen)), points[:rows], 1).distances[:, 0]
    topics = nearest(here(Shard(np.ascontiguousarray(centroids))), chosen, 1).ids[:, 0]
    twins = nearest(here(Shard(chosen)), chosen, 1, np.arange(len(chosen))).distances[:, 0]
    return Coverage(
        float(away.max(initial=0)),
        float(away.mean(dtype=np.float64)) if len(away) else float("nan"),
        len(np.unique(topics)),
        int((twins <= near).sum()),
    )
