"""k-center covers of samples: the first center, and the cover around samples that are kept already."""

from typing import Any, Literal

import numpy as np

from jobs.engine.pool.subset import Ranking, Subset
from operators.kernels.center import closest, mean_direction
from operators.kernels.k_center import k_center
from operators.kernels.two_round import bounds, two_round

First = Literal["center", "random"]
Covering = Literal["exact", "two_round"]
KERNELS = {"exact": k_center, "two_round": two_round}


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


def cover_of(subset: Subset, size: int, how: Covering, **start: Any) -> Any:
    """The `Cover` of the samples by `size` of them; its picks are a ranking.

    how: exact, every pick is the farthest of all. two_round, parts are covered first and then their picks; the record
    of the run then has the radius, and the least radius that a cover could have. start: `first` or `warm`, as ids.
    """
    cover = subset.reduce(KERNELS[how], "embed", k=size, **start)
    if how == "two_round":
        radius, least = (round(each, 6) for each in bounds(cover))
        entry = {"samples": len(subset), "picks": len(cover.picks), "radius": radius, "least_radius": least}
        subset.session.log.append({"cover": how, "pool": subset.origin.folder, **entry})
    return cover


def covered(
    subset: Subset, size: int, around: Ranking | None, first: First, seed: int, how: Covering = "exact"
) -> Ranking:
    """At most `size` of the samples, by k-center greedy, in the order of the picks.

    around: the samples that are centers already; they are not picked again. Where there are none, the cover starts
    from `first_center`. how: as in `cover_of`.
    """
    left = subset - around if around is not None else subset
    size = min(size, len(left))
    if not size:
        return subset.ranking(subset.ids[:0])
    if around is not None and len(around):
        return cover_of(subset | around, size, how, warm=around.order).picks
    return cover_of(subset, size, how, first=first_center(subset, first, seed)).picks
