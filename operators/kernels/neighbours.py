"""The nearest neighbours of rows: how far the i-th nearest other row is, and which rows are nearest to given vectors.

InstructMining calls the distance to the sixth neighbour Knn6. It looks neighbours up by their column in a graph, where
column 0 should be the row itself, and is not where rows are equal. Here ids decide what is itself.

The answer is exact, and depends neither on the number of shards nor on threads. Above `EXACT` rows a neighbour is only
looked for in the cells that are nearest to the vector (an inverted file), and the share of the true neighbours that are
found this way is measured. Each part of `EXACT` rows has cells of its own and lies in one shard, so that this answer
does not depend on the number of shards either.
"""

from dataclasses import dataclass

import numpy as np

from operators.kernels.distance import finite_matrix, spans
from operators.kernels.near_rows import Nearest, Part, best, nothing
from operators.kernels.sharding import Ask, Tell, here, sharded, silent

EXACT = 1_000_000
"""The number of rows above which neighbours are approximate, and of a part."""
QUERIES = 4096
"""Rows whose neighbours are looked for at a time."""
MEASURED = 1000
"""The number of rows from which the recall is measured."""


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
        ids = np.arange(offset, offset + len(points)) if ids is None else np.asarray(ids, np.int64)
        self.parts = [Part(self.points[start:stop], ids[start:stop]) for start, stop in spans(len(points), EXACT)]

    def size(self) -> int:
        """The number of rows."""
        return len(self.points)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The rows from position `start` to before `stop`, of which this shard may have some or none."""
        return self.points[max(start - self.offset, 0) : max(stop - self.offset, 0)]

    def divide(self) -> None:
        """Prepares `near`."""
        for part in self.parts:
            part.divide()

    def near(self, queries: np.ndarray, own: np.ndarray, count: int) -> Nearest:
        """Near rows of each query, which are mostly the nearest."""
        return best([nothing(queries, count), *(part.near(queries, own, count) for part in self.parts)], count)

    def nearest(self, queries: np.ndarray, own: np.ndarray, count: int) -> Nearest:
        """The nearest rows of each query but the one whose id is its own; own: (queries,) ids, -1 for none."""
        return best([nothing(queries, count), *(part.nearest(queries, own, count) for part in self.parts)], count)


def nearest(ask: Ask, queries: np.ndarray, count: int, own: np.ndarray | None = None) -> Nearest:
    """The `count` nearest rows of each query among all shards; exact.

    queries: (q, d). own: (q,) the id of each query among the rows, which is not its neighbour; None: they are no rows.
    """
    own = np.full(len(queries), -1) if own is None else own
    return best(ask("nearest", queries, own, count), count)


def isolation(ask: Ask, i: int = 6, *, tell: Tell = silent) -> Neighbours:
    """The distances among all shards' rows, whose ids count from 0; otherwise as `neighbours`."""
    if i < 1:
        raise ValueError(f"the first neighbour is 1, so there is none with the number {i}")
    total = sum(ask("size"))
    count = min(i, total - 1)
    found = np.full(total, np.nan, np.float32)
    if count < 1:
        return Neighbours(found, max(count, 0), 1.0)
    exact = total <= EXACT
    if not exact:
        tell(f"dividing {total:,} rows into cells", 0.0)
        ask("divide")
    for start, stop in spans(total, QUERIES):
        queries, own = _rows(ask, start, stop), np.arange(start, stop)
        found[start:stop] = _farthest(ask, queries, own, count, exact)
        tell(f"the neighbours of {stop:,} of {total:,} rows", stop / total)
    return Neighbours(found, count, 1.0 if exact else _recall(ask, total, count))


def _farthest(ask: Ask, queries: np.ndarray, own: np.ndarray, count: int, exact: bool) -> np.ndarray:
    """The distance of each query to the last of its neighbours."""
    if exact:
        return nearest(ask, queries, count, own).distances[:, -1]
    found = best(ask("near", queries, own, count), count).distances[:, -1]
    few = np.flatnonzero(np.isinf(found))  # the cells that were looked through have fewer rows
    if len(few):
        found[few] = nearest(ask, queries[few], count, own[few]).distances[:, -1]
    return found


def parts(rows: int) -> list[int]:
    """Where the parts of so many rows begin, and the end; where the answer is exact, anywhere."""
    return list(range(rows + 1)) if rows <= EXACT else [*range(0, rows, EXACT), rows]


def _rows(ask: Ask, start: int, stop: int) -> np.ndarray:
    return np.concatenate(ask("rows", start, stop))


def _recall(ask: Ask, total: int, count: int) -> float:
    """The share of the true neighbours of some rows that `near` finds."""
    own = np.unique(np.linspace(0, total - 1, MEASURED).astype(np.int64))
    queries = np.concatenate([_rows(ask, row, row + 1) for row in own.tolist()])
    farthest = nearest(ask, queries, count, own).distances[:, -1:]
    return float((best(ask("near", queries, own, count), count).distances <= farthest).mean())


@sharded(Shard, isolation, parts)
def neighbours(points: np.ndarray, i: int = 6) -> Neighbours:
    """The distance of each row to its i-th nearest other row.

    points: (n, d) float16, float32 or float64. Of equal rows, each is a neighbour of the others at distance 0. Above
    `EXACT` rows the answer is approximate. ValueError for a row with a NaN, an infinity or a value beyond 1e17, and for
    an i below 1.

    >>> neighbours(np.array([[0.0], [1.0], [3.0], [7.0]]), 2).distances
    array([3., 2., 3., 6.], dtype=float32)
    """
    return isolation(here(Shard(points)), i)
