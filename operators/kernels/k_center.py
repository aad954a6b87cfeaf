"""k-center greedy: repeatedly picks the point farthest from all centers so far; exact, in few rounds.

The picks are those of the plain loop (Gonzalez 1985; the core-sets of Sener and Savarese 2018; the diversity step of
LTD and MoDS) over `distance.distances`; ties go to the lowest position. The plain loop reads every point for every
pick. Here most points keep an outdated upper bound of their distance, and a round has three steps:

1. Flush. A sample of the points is brought up to date. It shows how large a bound has to be to belong to the two
   thousand largest. Each point above that meets the centers it has missed, by matrix product, as long as its bound
   stays above. The points that stay above are the candidates, and a cap bounds all other points.
2. Pick greedily among the candidates as long as the best one certainly beats the cap. This works the same way once
   more: a few hundred candidates form a front, whose exact distances are kept in cache.
3. Repeat, with more candidates where no pick was certain.

Float32 estimates decide only what an error of `distance.rounding` cannot change. The points may lie in several shards,
each flushed where it is, and stay as they are stored. The picks depend neither on the number of shards and threads nor
on the device.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.device_shard import shard_of
from operators.kernels.distance import Centers, distances, full_precision, rounding, squared_norms
from operators.kernels.placed import Placed, origin_near, placed
from operators.kernels.rows import Position, Positions
from operators.kernels.shard import Bounds, Candidates
from operators.kernels.sharding import Ask, Tell, at_positions, here, sharded, silent

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

CANDIDATES = 2048  # of 384 dimensions: 3 MB, a share of an L3 cache
FRONT = 256  # 400 kB, an L2 cache
NONE = np.empty(0, np.int64)
ROOMY = 16  # candidates per pick that is still wanted; with fewer, fewer points have to be brought up to date


@dataclass(frozen=True)
class Cover:
    """The picks of k-center, best first."""

    picks: Positions
    """(m,) int64 positions in the order in which they were picked, without the warm ones."""
    distances: np.ndarray
    """(m,) float32 distance of each pick to the nearest center before it; inf for a first pick without warm ones."""
    radius: float
    """The largest distance of a point to its nearest center; inf where there is no center."""


class Round:
    """Greedy picks among candidates, as long as they certainly beat every other point."""

    def __init__(self, candidates: Candidates, centers: Centers):
        self.candidates = candidates
        self.centers = centers
        self.points = placed(candidates.vectors, centers.origin)
        near = Placed(self.points, np.zeros_like(centers.origin))
        self.bounds = Bounds(near, candidates.norms, candidates.bounds.copy())
        self.picks: list[int] = []
        self.distances: list[float] = []
        self.exhausted = not len(candidates.positions) and candidates.cap == -np.inf

    def run(self, room: int) -> None:
        """Adds up to `room` rows to `picks`; sets `exhausted` when every point left coincides with a center."""
        size = FRONT
        alive, cap = np.arange(len(self.candidates.positions)), self.candidates.cap
        while len(self.picks) < room and not self.exhausted:
            rows, floor = self.bounds.foremost(alive, cap, size)
            chosen = rows[self._front(rows, floor, room - len(self.picks))]
            self.picks += chosen.tolist()
            if len(chosen):
                self.bounds.bounds[chosen] = -np.inf
                alive = alive[self.bounds.bounds[alive] > cap]
                self.bounds.meet(alive, *self.centers.last(len(chosen)))
            elif floor == cap:
                break
            size = FRONT if len(chosen) else 4 * size

    def _front(self, rows: np.ndarray, floor: float, room: int) -> list[int]:
        """Picks greedily among the rows while the picks certainly beat the floor; returns their places in `rows`."""
        error, lengths = self.centers.error, self.candidates.norms[rows]
        points, norms = self.points.index_select(0, torch.from_numpy(rows)), torch.from_numpy(lengths)
        stored = self.candidates.vectors[rows]
        exact = self.centers.nearest(stored, points, norms)
        squared = exact * exact
        chosen: list[int] = []
        while len(chosen) < min(room, len(rows)):
            best = int(exact.argmax())
            farthest = float(exact[best])
            if not farthest**2 > floor + error:
                break
            if farthest == 0:
                self.exhausted = True
                break
            chosen.append(best)
            self.distances.append(farthest)
            exact[best], squared[best] = -1, -np.inf
            between = torch.mv(points, points[best]).numpy()
            between *= -2
            between += lengths
            between += lengths[best] - error
            lower = np.flatnonzero(between <= squared)
            out = between[lower] < floor - 4 * error  # no pick of this front: its exact distance is not needed
            exact[lower[out]], squared[lower[out]] = 0, -np.inf
            lower = lower[~out]
            if len(lower):
                news = distances(stored[lower], stored[best : best + 1])
                exact[lower] = np.minimum(exact[lower], news)
                squared[lower] = exact[lower] ** 2
        self.centers.add(stored[chosen], points[chosen], norms[chosen])
        return chosen


def cover(
    ask: Ask,
    k: int,
    *,
    first: Position | None = None,
    warm: Positions = NONE,
    tell: Tell = silent,
) -> Cover:
    """The picks among all shards' points, whose positions count from 0; otherwise as `k_center`."""
    extents = ask("extent")
    total = sum(count for count, *_ in extents)
    k, taken = checked(k, first, warm, total)
    if not total or not (k or len(taken)):
        return Cover(np.empty(0, np.int64), np.empty(0, np.float32), np.inf if total else 0.0)
    picks, found = ([], []) if len(taken) else ([first or 0], [np.inf])
    room = min(k, total) + 1 - len(picks)  # one more than asked for: its distance is the radius
    with full_precision():
        more, nearest = _greedy(ask, extents, taken if len(taken) else np.array(picks), room, tell)
    picks, found = picks + more, found + nearest
    radius = found[k] if len(found) > k else 0.0
    picked, found = np.array(picks[:k], np.int64), np.array(found[:k], np.float32)
    if len(picked) < k:
        warnings.warn(
            f"k-center: {len(picked)} picks where {k} were wanted: no other point is left",
            stacklevel=3,
        )
    return Cover(picked, found, radius)


def checked(k: int, first: int | None, warm: Sequence[int] | np.ndarray, total: int) -> tuple[int, np.ndarray]:
    """The number of picks and the warm positions; ValueError as `k_center`."""
    taken = np.asarray(warm, dtype=np.int64).reshape(-1)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0:
        raise ValueError(f"k is an integer of at least 0, not {k!r}")
    if first is not None and len(taken):
        raise ValueError("first is the first pick where there are no warm positions; give one or the other")
    for position in [*taken.tolist(), *([] if first is None else [first])]:
        if not 0 <= position < total:
            raise ValueError(f"position {position} is not one of the {total} points")
    return int(k), taken


def farthest_of(ask: Ask, centers: np.ndarray) -> float:
    """The largest distance of a point to the nearest of the centers, which are positions."""
    with full_precision():
        _, found = _greedy(ask, ask("extent"), centers, 1, silent)
    return found[0] if found else 0.0


def _greedy(
    ask: Ask, extents: list[tuple[int, int, np.ndarray, float]], taken: np.ndarray, room: int, tell: Tell
) -> tuple[list[int], list[float]]:
    """Up to `room` picks after the centers at the positions `taken`, and their distances."""
    origin = _origin(extents)
    radius = max(ask("place", origin))
    news = at_positions(ask, taken)
    centers = Centers(origin, rounding(len(origin), radius), len(taken) + room, news.dtype)
    points = placed(news, origin)
    centers.add(news, points, squared_norms(points))
    picks: list[int] = []
    found: list[float] = []
    patience, rounds = 1, 0
    while len(picks) < room:
        count = patience * min(CANDIDATES, ROOMY * (room - len(picks)) + 64)
        candidates = _merged(ask("flush", news, taken, count))
        round_ = Round(candidates, centers)
        round_.run(room - len(picks))
        news, taken = candidates.vectors[round_.picks], candidates.positions[round_.picks]
        picks += taken.tolist()
        found += round_.distances
        if round_.exhausted:
            break
        patience, rounds = (1 if round_.picks else 4 * patience), rounds + 1
        tell(f"round {rounds}, {len(picks):,} of {room:,} picks", len(picks) / room)
    return picks, found


def _origin(extents: list[tuple[int, int, np.ndarray, float]]) -> np.ndarray:
    """Zero, or the mean of the sampled points where it is so long that estimates from zero would be coarse."""
    size = max(sum(size for _, size, _, _ in extents), 1)
    mean = np.sum([total for *_, total, _ in extents], axis=0) / size
    square = sum(square for *_, square in extents) / size
    return origin_near(mean) if np.square(mean).sum() > square / 4 else np.zeros_like(mean)


def _merged(answers: list[Candidates]) -> Candidates:
    """The candidates of all shards that may beat every point that is not a candidate."""
    if len(answers) == 1:
        return answers[0]
    cap = max(answer.cap for answer in answers)
    bounds = np.concatenate([answer.bounds for answer in answers])
    may = bounds > cap
    positions = np.concatenate([answer.positions for answer in answers])[may]
    vectors = np.concatenate([answer.vectors for answer in answers])[may]
    norms = np.concatenate([answer.norms for answer in answers])[may]
    return Candidates(positions, vectors, norms, bounds[may], cap)


@sharded(shard_of, cover)
def k_center(
    points: np.ndarray,
    k: int,
    *,
    first: Position | None = None,
    warm: Positions = NONE,
    device: str = "cpu",
) -> Cover:
    """Picks k points greedily, each the farthest from the warm points and the picks before it.

    points: (n, d) float16, float32 or float64. warm: positions of points that count as centers already. Without them
    the first pick is `first`, or position 0. device: where torch keeps the points; it changes no pick.

    Picking stops when every point left coincides with a center; a warning says so where there are fewer than k picks.
    ValueError for a row with a NaN, an infinity or a value beyond 1e17, for a k that is not an integer of at least 0,
    and for a position outside the points.

    >>> k_center(np.array([[0.0], [1.0], [4.0], [10.0]]), 3)
    Cover(picks=array([0, 3, 2]), distances=array([inf, 10.,  4.], dtype=float32), radius=1.0)
    """
    return cover(here(shard_of(points, device=device)), k, first=first, warm=warm)
