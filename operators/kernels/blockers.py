"""Kept rows, and which of them block others because they are too similar: the comparison inside Repr Filter.

The exact similarity of two rows is the float64 product of their float32 unit vectors, rounded to float32. It is
compared with the threshold rounded to float32. Matrix products in float32 only find the pairs that may lie above the
threshold (`margin`), and the exact similarity decides. So the outcome depends neither on the number of threads nor on
the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.distance import spans

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

TILE = 2048  # kept rows that a block is compared with before its blocked rows leave; the products (4 MB) fit a cache
DEVICE_TILE = 2**16  # where there is no such cache: 1 GB of products for each wait for the device


class Kept:
    """The unit vectors of the kept rows, on a device, in memory that doubles when it is full."""

    def __init__(self, width: int, threshold: float, device: str):
        self.threshold = np.float32(threshold)
        # No similarity is above 1; without this, each pair of equal rows would be compared for nothing.
        self.floor = threshold - margin(width) if self.threshold < 1 else np.inf
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
        blocker, similarity = unblocked(len(rows))
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
        blocker, similarity = unblocked(len(rows))
        may = (rows @ rows.T > self.floor).tril(-1).cpu().numpy()
        for row in np.flatnonzero(may.any(axis=1)):
            for other in np.flatnonzero(may[row] & (blocker < 0)):
                found = similarities(units[row : row + 1], units[other : other + 1])[0]
                if found > self.threshold:
                    blocker[row], similarity[row] = other, found
                    break
        return blocker, similarity


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


def unblocked(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Blockers and similarities of `count` rows that no row blocks: -1 and NaN."""
    return np.full(count, -1, np.int64), np.full(count, np.nan, np.float32)
