"""The nearest rows of some vectors among a part of all rows: candidates from faiss, then exact distances.

faiss proposes candidates by products in float32. Their distances are then computed exactly (`distance.distances`), and
more candidates are looked at where an error of `distance.rounding` could change the answer. Equal rows are looked up
once, however many there are.
"""

from typing import Any, NamedTuple

import numpy as np

from operators.kernels.distance import PAIRS, distances, rounding, spans

BLOCK = 512
"""Queries of a matrix product at a time."""
SPARE = 8
"""Candidates besides those that are wanted; more are looked at where these leave a doubt."""
PROBES = 64
"""The number of cells that are looked through for a query."""


class Nearest(NamedTuple):
    """The nearest rows of some queries."""

    ids: np.ndarray
    """(queries, count) int64, the nearest first, ties by id; -1 where there are fewer rows."""
    distances: np.ndarray
    """(queries, count) float32; inf where there are fewer rows."""


class Part:
    """Some rows with their ids, equal ones together."""

    def __init__(self, points: np.ndarray, ids: np.ndarray):
        self.points = points
        rows = points.view(np.dtype((np.void, points.itemsize * points.shape[1]))).ravel()
        _, self.heads, group = np.unique(rows, return_index=True, return_inverse=True)
        order = np.lexsort((ids, group))
        self.members = ids[order]
        self.starts = np.searchsorted(group[order], np.arange(len(self.heads) + 1))
        self.index: Any = None
        self.flat: np.ndarray | None = None

    def divide(self) -> None:
        """Divides the rows into cells, so that `near` need not look at all of them."""
        import faiss

        heads = self.points[self.heads].astype(np.float32)
        cells = min(max(1, int(4 * len(heads) ** 0.5)), len(heads))  # faiss refuses more cells than rows
        self.index = faiss.IndexIVFFlat(faiss.IndexFlatL2(heads.shape[1]), heads.shape[1], cells)
        self.index.cp.min_points_per_centroid = 1  # else it warns of small parts
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
        flat = self.flat if self.flat is not None else self._flat()
        if self.index is None:  # else only few queries come here
            self.flat = flat
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

        ids, found = nothing(queries, count)
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
        for start, stop in spans(len(row), PAIRS):
            at, of = row[start:stop], column[start:stop]
            exact[at, of] = distances(self.points[self.heads[groups[at, of]]], queries[at])
        groups, exact = _foremost(groups, exact, count + 1)
        places = self.starts[groups][..., None] + np.arange(count + 1)  # one more: a member may be the query itself
        there = (places < self.starts[groups + 1][..., None]) & (groups >= 0)[..., None]
        ids = np.where(there, self.members[np.minimum(places, len(self.members) - 1)], -1)
        far = np.where(there & (ids != own[:, None, None]), exact[..., None], np.float32(np.inf))
        candidates = Nearest(ids.reshape(len(queries), -1), far.reshape(len(queries), -1))
        return best([nothing(queries, count), candidates], count)


def _foremost(groups: np.ndarray, exact: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The groups of each query whose distances are among the `count` lowest, ties included, and other near ones.

    Among thousands of rows that are nearly equal, all are candidates, and their members would fill the memory.
    """
    if exact.shape[1] <= count:
        return groups, exact
    within = exact <= np.partition(exact, count - 1, axis=1)[:, count - 1 : count]
    order = np.argsort(~within, axis=1, kind="stable")[:, : int(within.sum(axis=1).max(initial=0))]
    return np.take_along_axis(groups, order, 1), np.take_along_axis(exact, order, 1)


def nothing(queries: np.ndarray, count: int) -> Nearest:
    """The answer where there are no rows."""
    shape = (len(queries), count)
    return Nearest(np.full(shape, -1), np.full(shape, np.inf, np.float32))


def best(answers: list[Nearest], count: int) -> Nearest:
    """The nearest `count` of all answers about the same queries."""
    ids = np.concatenate([each.ids for each in answers], axis=1)
    far = np.concatenate([each.distances for each in answers], axis=1)
    ids = np.where(np.isinf(far), -1, ids)
    order = np.lexsort((ids, far), axis=1)[:, :count]
    return Nearest(np.take_along_axis(ids, order, 1), np.take_along_axis(far, order, 1))


def stacked(blocks: list[Nearest], count: int) -> Nearest:
    """The answers about one block of queries after another."""
    empty = Nearest(np.empty((0, count), np.int64), np.empty((0, count), np.float32))
    return Nearest(*(np.concatenate(each) for each in zip(empty, *blocks, strict=True)))
