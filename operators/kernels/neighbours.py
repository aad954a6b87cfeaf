"""The nearest neighbours of rows: how far the i-th nearest other row is, and which rows are nearest to given vectors.

InstructMining calls the distance to the sixth neighbour Knn6. It looks neighbours up by their column in a graph, where
column 0 should be the row itself, and is not where rows are equal. Here ids decide what is itself.

faiss proposes candidates by products in float32. Their distances are then computed exactly (`distance.distances`), and
more candidates are looked at where an error of `distance.rounding` could change the answer. So the answer depends
neither on the number of shards nor on threads. Equal rows are looked up once, however many there are.

Above `EXACT` rows a candidate is only looked for in the cells that are nearest to the vector (an inverted file), and
the share of the true neighbours that are found this way is measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from operators.kernels.distance import distances, finite_matrix, rounding, spans

EXACT = 1_000_000
"""The number of rows above which neighbours are approximate."""
QUERIES = 4096
"""Rows whose neighbours are looked for at a time."""
BLOCK = 512
"""Queries of a matrix product at a time."""
SPARE = 8
"""Candidates besides those that are wanted; more are looked at where these leave a doubt."""
PROBES = 64
"""The number of cells that are looked through for a query."""
MEASURED = 1000
"""The number of rows from which the recall is measured."""

Ask = Callable[..., list[Any]]


class Nearest(NamedTuple):
    """The nearest rows of some queries."""

    ids: np.ndarray
    """(queries, count) int64, the nearest first, ties by id; -1 where there are fewer rows."""
    distances: np.ndarray
    """(queries, count) float32; inf where there are fewer rows."""


@dataclass(frozen=True)
class Neighbours:
    """How isolated each row is."""

    distances: np.ndarray
    """(n,) float32 Euclidean distance of each row to its i-th nearest other row; NaN where it is the only row."""
    i: int
    """Which neighbour that is; fewer than asked for where there are not as many other rows."""
    recall: float
    """The share of the true i nearest rows that are found; 1 where the answer is exact."""


class Shard:
    """The rows with the ids `offset`, `offset + 1`, …, or with the given ids, and what `neighbours` asks of them."""

    def __init__(self, points: np.ndarray, offset: int = 0, ids: np.ndarray | None = None):
        self.points = finite_matrix(np.ascontiguousarray(points), offset)
        self.offset = offset
        self.ids = np.arange(offset, offset + len(self.points)) if ids is None else np.asarray(ids, np.int64)
        self._group()
        self.index: Any = None

    def _group(self) -> None:
        """Sets the first row of each group of equal rows, and the ids of the members of each group in order."""
        rows = self.points.view(np.dtype((np.void, self.points.itemsize * self.points.shape[1]))).ravel()
        _, self.heads, group = np.unique(rows, return_index=True, return_inverse=True)
        order = np.lexsort((self.ids, group))
        self.members = self.ids[order]
        self.starts = np.searchsorted(group[order], np.arange(len(self.heads) + 1))

    def size(self) -> int:
        """The number of rows."""
        return len(self.points)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The rows with the ids from `start` to before `stop` that are in this shard; for ids from `offset` on."""
        return self.points[max(start - self.offset, 0) : max(stop - self.offset, 0)]

    def divide(self) -> None:
        """Divides the rows into cells, so that `near` need not look at all of them."""
        import faiss

        heads = self.points[self.heads].astype(np.float32)
        cells = max(1, int(4 * len(heads) ** 0.5))
        self.index = faiss.IndexIVFFlat(faiss.IndexFlatL2(heads.shape[1]), heads.shape[1], cells)
        self.index.cp.min_points_per_centroid = 1  # else it warns of small shards
        self.index.train(heads)
        self.index.add(heads)
        self.index.nprobe = PROBES

    def near(self, queries: np.ndarray, own: np.ndarray, count: int) -> Nearest:
        """As `nearest`, among the rows in the cells that are nearest to each query."""
        found = []
        for start, stop in spans(len(queries), BLOCK):
            some = np.ascontiguousarray(queries[start:stop], np.float32)
            _, groups = self.index.search(some, min(count + SPARE, len(self.heads)))
            found.append(self._chosen(queries[start:stop], own[start:stop], groups, count))
        return stacked(found, count)

    def nearest(self, queries: np.ndarray, own: np.ndarray, count: int) -> Nearest:
        """The nearest rows of each query but the one whose id is its own; own: (queries,) ids, -1 for none."""
        flat = self._flat()
        found = [
            self._nearest(flat, queries[start:stop], own[start:stop], count)
            for start, stop in spans(len(queries), BLOCK)
        ]
        return stacked(found, count)

    def _flat(self) -> np.ndarray:
        """(groups, d + 1) float32, each different row and minus half its squared norm.

        The product with a query and 1 is then largest where the distance is smallest.
        """
        heads = self.points[self.heads]
        flat = np.empty((len(heads), heads.shape[1] + 1), np.float32)
        flat[:, :-1] = heads
        for start, stop in spans(len(heads), BLOCK):
            flat[start:stop, -1] = -np.square(heads[start:stop].astype(np.float64)).sum(axis=1) / 2
        return flat

    def _nearest(self, flat: np.ndarray, queries: np.ndarray, own: np.ndarray, count: int) -> Nearest:
        import faiss

        ids, found = np.full((len(queries), count), -1), np.full((len(queries), count), np.inf, np.float32)
        asked = np.ones((len(queries), flat.shape[1]), np.float32)
        asked[:, :-1] = queries
        squares = np.square(queries.astype(np.float64)).sum(axis=1)
        radius = float(np.sqrt(max(squares.max(initial=0), -2.0 * flat[:, -1].min(initial=0))))
        error = rounding(flat.shape[1], radius)
        left, wanted = np.arange(len(queries)), count + SPARE
        while len(left) and len(flat):
            wanted = min(wanted, len(flat))
            products, groups = faiss.knn(asked[left], flat, wanted, faiss.METRIC_INNER_PRODUCT)
            chosen = self._chosen(queries[left], own[left], groups, count)
            ids[left], found[left] = chosen
            # Every row that is no candidate is at least as far as the last candidate, but for the error.
            floor = squares[left] - 2.0 * products[:, -1] - 2 * error
            last = chosen.distances[:, -1].astype(np.float64)
            certain = (floor > last**2) | (last == 0) | (wanted == len(flat))
            left, wanted = left[~certain], 4 * wanted
        return Nearest(ids, found)

    def _chosen(self, queries: np.ndarray, own: np.ndarray, groups: np.ndarray, count: int) -> Nearest:
        """The nearest `count` members of the groups of each query, by their exact distances; group -1 is none."""
        row, column = np.nonzero(groups >= 0)
        exact = np.full(groups.shape, np.inf, np.float32)
        for start, stop in spans(len(row), QUERIES):
            at, of = row[start:stop], column[start:stop]
            exact[at, of] = distances(self.points[self.heads[groups[at, of]]], queries[at])
        places = self.starts[groups][..., None] + np.arange(count + 1)  # one more: a member may be the query itself
        there = (places < self.starts[groups + 1][..., None]) & (groups >= 0)[..., None]
        ids = np.where(there, self.members[np.minimum(places, len(self.members) - 1)], -1)
        far = np.where(there & (ids != own[:, None, None]), exact[..., None], np.float32(np.inf))
        return best([Nearest(ids.reshape(len(queries), -1), far.reshape(len(queries), -1))], count)


def best(answers: list[Nearest], count: int) -> Nearest:
    """The nearest `count` of all answers about the same queries."""
    ids = np.concatenate([each.ids for each in answers], axis=1)
    far = np.concatenate([each.distances for each in answers], axis=1)
    ids = np.where(np.isinf(far), -1, ids)
    missing = max(count - ids.shape[1], 0)
    ids = np.pad(ids, ((0, 0), (0, missing)), constant_values=-1)
    far = np.pad(far, ((0, 0), (0, missing)), constant_values=np.inf)
    order = np.lexsort((ids, far), axis=1)[:, :count]
    return Nearest(np.take_along_axis(ids, order, 1), np.take_along_axis(far, order, 1))


def stacked(blocks: list[Nearest], count: int) -> Nearest:
    """The answers about one block of queries after another."""
    empty = Nearest(np.empty((0, count), np.int64), np.empty((0, count), np.float32))
    return Nearest(*(np.concatenate(each) for each in zip(empty, *blocks, strict=True)))


def nearest(ask: Ask, queries: np.ndarray, count: int, own: np.ndarray | None = None) -> Nearest:
    """The `count` nearest rows of each query among all shards; exact.

    queries: (q, d). own: (q,) the id of each query among the rows, which is not its neighbour; None: they are no rows.
    """
    own = np.full(len(queries), -1) if own is None else own
    return best(ask("nearest", queries, own, count), count)


def isolation(ask: Ask, i: int = 6, *, exact_below: int = EXACT) -> Neighbours:
    """The distances among all shards' rows, whose ids count from 0; otherwise as `neighbours`."""
    if i < 1:
        raise ValueError(f"the first neighbour is 1, so there is none with the number {i}")
    total = sum(ask("size"))
    count = min(i, total - 1)
    found = np.full(total, np.nan, np.float32)
    if count < 1:
        return Neighbours(found, max(count, 0), 1.0)
    exact = total <= exact_below
    if not exact:
        ask("divide")
    for start, stop in spans(total, QUERIES):
        queries, own = _rows(ask, start, stop), np.arange(start, stop)
        if exact:
            found[start:stop] = nearest(ask, queries, count, own).distances[:, -1]
            continue
        some = best(ask("near", queries, own, count), count).distances[:, -1]
        few = np.flatnonzero(np.isinf(some))  # the cells that were looked through have fewer rows
        if len(few):
            some[few] = nearest(ask, queries[few], count, own[few]).distances[:, -1]
        found[start:stop] = some
    return Neighbours(found, count, 1.0 if exact else _recall(ask, total, count))


def _rows(ask: Ask, start: int, stop: int) -> np.ndarray:
    return np.concatenate(ask("rows", start, stop))


def _recall(ask: Ask, total: int, count: int) -> float:
    """The share of the true neighbours of some rows that `near` finds."""
    own = np.unique(np.linspace(0, total - 1, MEASURED).astype(np.int64))
    queries = np.concatenate([_rows(ask, row, row + 1) for row in own.tolist()])
    farthest = nearest(ask, queries, count, own).distances[:, -1:]
    return float((best(ask("near", queries, own, count), count).distances <= farthest).mean())


def neighbours(points: np.ndarray, i: int = 6, *, exact_below: int = EXACT) -> Neighbours:
    """The distance of each row to its i-th nearest other row.

    points: (n, d) float16, float32 or float64. Of equal rows, each is a neighbour of the others at distance 0.
    exact_below: the number of rows above which the answer is approximate. ValueError for a row with a NaN, an infinity
    or a value beyond 1e17, and for an i below 1.

    >>> neighbours(np.array([[0.0], [1.0], [3.0], [7.0]]), 2).distances
    array([3., 2., 3., 6.], dtype=float32)
    """
    shard = Shard(points)
    return isolation(lambda method, *arguments: [getattr(shard, method)(*arguments)], i, exact_below=exact_below)
