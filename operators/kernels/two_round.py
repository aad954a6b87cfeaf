"""k-center in two rounds: each part of the points is covered by itself, and then the picks of all parts are covered.

The composable core-sets of Malkomes et al. 2015 ("Fast Distributed k-Center Clustering with Outliers"): the radius is
at most four times the least possible one, where the exact greedy picks are within twice. Parts are covered at the same
time and without a question to one another, so shards answer once instead of once per round. It is for a number of picks
that is a fixed share of very many points.

The parts are PARTS consecutive stretches of the rows, whatever the number of shards, so the picks do not depend on it.
"""

import warnings
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from operators.kernels.device_shard import shard_of
from operators.kernels.k_center import NONE, Cover, checked, cover, farthest_of
from operators.kernels.rows import Position, Positions
from operators.kernels.sharding import Ask, Tell, at_positions, here, sharded, silent

PARTS = 16
"""The number of parts, each of which lies in one shard."""
LEAST = 4
"""Points of a part per pick; with fewer, the picks of all parts would be nearly all points, and the cover is exact."""


class CoreSets:
    """The points of some of the parts; and a shard of all points, for the questions of `cover`."""

    def __init__(self, points: np.ndarray, offset: int = 0, device: str = "cpu"):
        self.points, self.offset, self.device = points, offset, device
        self.whole = shard_of(points, offset, device)
        self.extent, self.place = self.whole.extent, self.whole.place
        self.vectors, self.flush = self.whole.vectors, self.whole.flush

    def core_set(self, total: int, k: int) -> np.ndarray:
        """The positions of the k picks of each part of all `total` points that is in this shard, ascending."""
        found = [NONE]
        for start, stop in pairwise(parts(total)):
            if stop > start and self.offset <= start < self.offset + len(self.points):
                part = shard_of(self.points[start - self.offset : stop - self.offset], device=self.device)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a part with fewer points that differ gives all of them
                    found.append(start + np.sort(cover(here(part), k).picks))
        return np.concatenate(found)


def parts(total: int) -> list[int]:
    """Where the parts of so many points begin, and the end."""
    return [total * part // PARTS for part in range(PARTS + 1)]


def cover_in_two(
    ask: Ask, k: int, *, first: Position | None = None, warm: Positions = NONE, tell: Tell = silent
) -> Cover:
    """The picks among all shards' points; otherwise as `two_round`."""
    total = sum(count for count, *_ in ask("extent"))
    k, taken = checked(k, first, warm, total)
    if not k or total < PARTS * LEAST * k:
        return cover(ask, k, first=first, warm=warm, tell=tell)
    tell(f"covering {PARTS} parts", 0.0)
    starts = taken if len(taken) else np.array([first or 0])
    union = np.unique(np.concatenate([*ask("core_set", total, k), starts]))
    begin = np.searchsorted(union, starts)
    core = here(shard_of(at_positions(ask, union)))
    tell(f"covering the {len(union):,} picks of the parts", 0.5)
    found = cover(core, k, warm=begin) if len(taken) else cover(core, k, first=int(begin[0]))
    picks = union[found.picks]
    radius = farthest_of(ask, np.unique(np.concatenate([starts, picks])))
    return Cover(picks, found.distances, radius)


class Bounds(NamedTuple):
    """The radius of a cover, and a radius that no cover with as many picks is below."""

    radius: float
    least: float


def bounds(found: Cover) -> Bounds:
    """The radius of greedy picks, exact or in two rounds, and the least possible radius.

    The picks, and the point farthest from them, are all at least min(last distance, radius) from one another and from
    the warm points. Any other cover with as many picks serves two of them by one center, or one by a warm point, so its
    radius is at least half of that.
    """
    last = float(found.distances[-1]) if len(found.distances) else np.inf
    return Bounds(found.radius, min(last, found.radius) / 2)


@sharded(CoreSets, cover_in_two, parts)
def two_round(
    points: np.ndarray,
    k: int,
    *,
    first: Position | None = None,
    warm: Positions = NONE,
    device: str = "cpu",
) -> Cover:
    """Picks k points in two rounds; parameters, result and errors are those of `k_center`.

    Where there are fewer than PARTS * LEAST points per pick, the picks are those of `k_center`.

    >>> two_round(np.arange(640, dtype=np.float32)[:, None], 3).picks
    array([  0, 639, 319])
    """
    return cover_in_two(here(CoreSets(points, device=device)), k, first=first, warm=warm)
