"""Where a k-center cover begins."""

from typing import Literal

import numpy as np

from jobs.engine.pool.subset import Subset
from operators.kernels.center import closest, mean_direction

First = Literal["center", "random"]


def first_center(
    subset: Subset, how: First, seed: int, *, column: str = "embed", center: np.ndarray | None = None
) -> int:
    """The id of the sample that is closest to the center, or that the seed draws.

    center: (d,), by default the mean direction of the samples themselves.
    """
    if how == "random":
        return int(subset.ids[np.random.default_rng(seed).integers(len(subset))])
    if center is None:
        center = subset.reduce(mean_direction, column)
    return subset.reduce(closest, column, center=center)
