"""Repr Filter: goes down the ranks and keeps a row unless it is too similar to a kept row; exact, in blocks.

The diversity step of DEITA (Liu et al. 2024, "What Makes Good Data for Alignment?", Algorithm 1). The paper writes it
with a distance, and its authors run it with the cosine similarity. Only kept rows block others: a row that is similar
to dropped rows only is kept.

The exact similarity of two rows is the float64 product of their float32 unit vectors, rounded to float32. It is
compared with the threshold rounded to float32. Matrix products in float32 only find the pairs that may lie above the
threshold (`margin`), and the exact similarity decides. So the outcome depends neither on the block size nor on the
number of threads nor on the device, nor on whether a walk was continued on more rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.distance import finite_matrix, full_precision, spans, unit

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

BLOCK = 512  # rows that are compared with the kept rows at a time, and then with each other
TILE = 2048  # kept rows that a block is compared with before its blocked rows leave; the products (4 MB) fit a cache
DEVICE_BLOCK, DEVICE_TILE = 4096, 2**16  # where there is no such cache: 1 GB of products for each wait for the device


@dataclass(frozen=True)
class Filtered:
    """The rows, of n, that a walk down the ranks kept, and which rows blocked the others."""

    kept: np.ndarray
    """(m,) int64 positions, best first."""
    blocker: np.ndarray
    """(n,) int64 position of the best kept row that is too similar; -1 where there is none."""
    similarity: np.ndarray
    """(n,) float32 cosine similarity to the blocker; NaN where there is none."""
    looked: int
    """The number of rows that were kept or blocked, from the best down; the walk stops when enough rows are kept."""
    threshold: float


class Kept:
    """The unit vectors of the kept rows, on a device, in memory that doubles when it is full."""

    def __init__(self, width: int, threshold: float, device: str):
        self.floor = threshold - margin(width)
        self.threshold = np.float32(threshold)
        self.rows = torch.empty(0, width, device=device)
        self.tile = TILE if device == "cpu" else DEVICE_TILE
        self.count = 0

    def add(self, rows: torch.Tensor) -> None:
        """Appends rows."""
        count = self.count + len(rows)
        if count > len(self.rows):
            room = self.rows.new_empty(max(count, 2 * len(self.rows)), self.rows.shape[1])
            room[: self.count] = self.rows[: self.count]
            self.rows = room
        self.rows[self.count : count] = rows
        self.count = count

    def blockers(self, rows: torch.Tensor, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number of the best kept row that blocks each row, (b,), -1 for none, and their similarities, (b,).

        units: the same rows, on the CPU.
        """
        blocker, similarity = _unblocked(len(rows))
        free = np.arange(len(rows))
        for start, stop in spans(self.count, self.tile):
            tile = self.rows[start:stop]
            some = rows if len(free) == len(rows) else rows[torch.from_numpy(free).to(rows.device)]
            for row, column, found in self._first(free, units, some @ tile.T, tile):
                blocker[row], similarity[row] = start + column, found
            free = free[blocker[free] < 0]
        return blocker, similarity

    def _first(
        self, rows: np.ndarray, units: np.ndarray, products: torch.Tensor, tile: torch.Tensor
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields blocked rows, the first row of the tile that blocks each of them, and their similarities."""
        near = (products.amax(1) > self.floor).nonzero()[:, 0]
        may = (products[near] > self.floor).cpu().numpy()
        rows = rows[near.cpu().numpy()]
        while len(rows):
            column = may.argmax(axis=1)
            others = tile[torch.from_numpy(column).to(tile.device)].cpu().numpy()
            found = similarities(units[rows], others)
            above = found > self.threshold
            yield rows[above], column[above], found[above]
            may[np.arange(len(rows)), column] = False
            left = ~above & may.any(axis=1)
            rows, may = rows[left], may[left]

    def blockers_within(self, rows: torch.Tensor, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `blockers`, by the rows of the block that are kept themselves."""
        blocker, similarity = _unblocked(len(rows))
        may = (rows @ rows.T > self.floor).tril(-1).cpu().numpy()
        for row in np.flatnonzero(may.any(axis=1)):
            for other in np.flatnonzero(may[row] & (blocker < 0)):
                found = similarities(units[row : row + 1], units[other : other + 1])[0]
                if found > self.threshold:
                    blocker[row], similarity[row] = other, found
                    break
        return blocker, similarity


def repr_filter(
    embeddings: np.ndarray,
    size: int | None,
    threshold: float = 0.9,
    *,
    earlier: Filtered | None = None,
    block: int | None = None,
    device: str = "cpu",
) -> Filtered:
    """Keeps the rows whose cosine similarity to every row kept before them is at most the threshold.

    embeddings: (n, d) float16, float32 or float64, best row first; rows need not have length 1. size: the number of
    kept rows at which the walk stops; None: it goes to the end. earlier: the outcome for the first rows of the same
    embeddings, possibly with a smaller size, from which the walk continues. block: the number of rows at a time; None:
    BLOCK on a CPU, where they take block * (block + 2048) * 4 bytes, and DEVICE_BLOCK elsewhere. device: where torch
    computes the matrix products.

    ValueError for a row that is zero or has a NaN or an infinity, for a size or a block that is not a valid integer,
    for a threshold that no cosine reaches, and for an earlier outcome that is not of this walk.

    >>> rows = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 1.0]])
    >>> repr_filter(rows, None).kept
    array([0, 2])
    >>> first = repr_filter(rows[:2], 2)
    >>> repr_filter(rows, 2, earlier=first).blocker
    array([-1,  0, -1])
    """
    block = (BLOCK if device == "cpu" else DEVICE_BLOCK) if block is None else block
    rows = _directed(embeddings)
    room = _checked(len(rows), size, threshold, block)
    start, positions, blocker, similarity = _begun(len(rows), room, threshold, earlier)
    kept = Kept(rows.shape[1], threshold, device)
    with full_precision():
        for begin, end in spans(len(positions), TILE):
            kept.add(torch.from_numpy(unit(rows[positions[begin:end]])).to(device))
        while start < len(rows) and len(positions) < room:
            stop = min(start + block, len(rows))
            units = unit(rows[start:stop])
            placed = torch.from_numpy(units).to(device)
            before, cosine = kept.blockers(placed, units)
            free = np.flatnonzero(before < 0)
            placed = placed[torch.from_numpy(free).to(device)]
            within, cosine_within = kept.blockers_within(placed, units[free])
            chosen = np.flatnonzero(within < 0)[: room - len(positions)]
            kept.add(placed[torch.from_numpy(chosen).to(device)])

            own = np.where(within < 0, -1, start + free[within])
            found = np.where(before < 0, -1, positions[before] if len(positions) else -1)
            found[free], cosine[free] = own, cosine_within
            positions = np.concatenate([positions, start + free[chosen]])
            if len(positions) == room:
                stop = int(positions[-1]) + 1
            blocker[start:stop], similarity[start:stop] = found[: stop - start], cosine[: stop - start]
            start = stop
    return Filtered(positions, blocker, similarity, start, float(threshold))


def similarities(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(m,) float32 products of the unit vectors in the same row of both, computed in float64; from -1 to 1.

    A row's value depends on that row alone, because NumPy sums each contiguous row by itself.
    """
    products = rows.astype(np.float64) * others.astype(np.float64)
    return np.clip(products.sum(axis=1), -1, 1).astype(np.float32)


def margin(width: int) -> float:
    """A bound on the difference between a float32 product of unit vectors of this width and their exact similarity.

    In units of 2**-24 it is the sum of: the width, for a sum of products in any order; and 8, for lengths that are not
    quite one, for the rounding of threshold and similarity to float32, and for the comparison.
    """
    units = (width + 8) * 2.0**-24
    return units / (1 - units)


def _unblocked(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(count, -1, np.int64), np.full(count, np.nan, np.float32)


def _directed(embeddings: np.ndarray) -> np.ndarray:
    """The embeddings as an array; ValueError, with the first bad row, where a row is not finite or is zero."""
    rows = finite_matrix(embeddings, name="embeddings")
    zero = ~rows.any(axis=1)
    if zero.any():
        raise ValueError(f"embeddings: row {int(zero.argmax())} is zero and has no direction")
    return rows


def _checked(count: int, size: int | None, threshold: float, block: int) -> int:
    """The largest number of rows that can be kept."""
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold is a cosine similarity, from -1 to 1, not {threshold!r}")
    for name, number, least in (("size", count if size is None else size, 0), ("block", block, 1)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
            raise ValueError(f"{name} is an integer of at least {least}, not {number!r}")
    return count if size is None else min(int(size), count)


def _begun(
    count: int, room: int, threshold: float, earlier: Filtered | None
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The row at which the walk continues, the positions kept so far, and blockers and similarities for all rows."""
    blocker, similarity = _unblocked(count)
    if earlier is None:
        return 0, np.empty(0, np.int64), blocker, similarity
    if earlier.threshold != threshold:
        raise ValueError(f"the earlier walk had the threshold {earlier.threshold}, not {threshold}")
    if len(earlier.blocker) > count:
        raise ValueError(f"the earlier walk was over {len(earlier.blocker)} rows; of these only {count} are given")
    if len(earlier.kept) > room:
        raise ValueError(f"the earlier walk kept {len(earlier.kept)} rows, more than the {room} there is room for")
    blocker[: len(earlier.blocker)], similarity[: len(earlier.blocker)] = earlier.blocker, earlier.similarity
    return earlier.looked, earlier.kept, blocker, similarity
