"""k-center covers of samples: the first center, and the cover around samples that are kept already."""

from typing import Literal

import numpy as np

from jobs.engine.pool.subset import Ranking, Subset
from operators.kernels.center import closest, mean_direction
from operators.kernels.k_center import k_center

First = Literal["center", "random"]


def first_center(
    subset: Subset, how: First, seed: int, *, column: str = "embed", center: np.ndarray | None = None
) -> int:
    """The id of the first center: the sample closest to a given center, or a random one.

    how: center or random. column: the embeddings. center: (d,); None: the mean direction of the samples.
    """
    if how == "random":
        return int(subset.ids[np.random.default_rng(seed).integers(len(subset))])
    if center is None:
        center = subset.reduce(mean_direction, column)
    return subset.reduce(closest, column, center=center)


def covered(subset: Subset, size: int, around: Ranking, first: First, seed: int) -> Ranking:
    """At most `size` of the samples, by k-center greedy, in the order of the picks.

    around: the samples that are centers already; they are not picked again. Where there are none, the cover starts
    from `first_center`.
    """
    size = min(size, len(subset - around))
    if not size:
        return around[:0]
    if len(around):
        return (subset | around).reduce(k_center, "embed", k=size, warm=around.order).picks
    return subset.reduce(k_center, "embed", k=size, first=first_center(subset, first, seed)).picks
