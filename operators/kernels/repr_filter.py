"""Repr Filter: goes down the ranks and keeps a row unless it is too similar to a kept row; exact, in blocks.

The diversity step of DEITA (Liu et al. 2024, "What Makes Good Data for Alignment?", Algorithm 1). The paper writes it
with a distance, and its authors run it with the cosine similarity. Only kept rows block others: a row that is similar
to dropped rows only is kept.

The similarities are exact (operators/kernels/blockers.py). So the outcome depends neither on the block size nor on the
number of threads nor on the device, nor on whether a walk was continued on more rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.blockers import TILE, Kept, unblocked
from operators.kernels.distance import finite_matrix, full_precision, spans, unit
from operators.kernels.placed import tensor
from operators.kernels.sharding import Ask, Tell, at_positions, here, sharded, silent

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

BLOCK = 512  # rows that are compared with the kept rows at a time, and then with each other
BLOCK_OF_SHARDS = 4096  # the same over shards, which are asked once per block
DEVICE_BLOCK = 4096  # the same on a GPU


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


class Ranks:
    """A shard: the rows at ranks `offset`, `offset + 1`, …, and its share of the kept rows, wherever these are from.

    The kept rows are dealt in turn to the shards that have rows, so that all of them compare about as many.
    """

    def __init__(self, embeddings: np.ndarray, offset: int = 0, device: str = "cpu"):
        """ValueError, with the first bad row, where a row is not finite or is zero."""
        self.stored, self.offset, self.device = _directed(embeddings, offset), offset, device

    def extent(self) -> tuple[int, int]:
        """The position of the first row, and the number of rows."""
        return self.offset, len(self.stored)

    def units(self, start: int, stop: int) -> np.ndarray:
        """(b, d) float32 unit vectors of the rows from position `start` to before `stop` that are in this shard."""
        begin, end = (min(max(at - self.offset, 0), len(self.stored)) for at in (start, stop))
        return unit(self.stored[begin:end])

    def vectors(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the positions are in this shard, as a mask, and their vectors as stored."""
        mine = (positions >= self.offset) & (positions < self.offset + len(self.stored))
        return mine, self.stored[positions[mine] - self.offset]

    def begin(self, threshold: float, offsets: np.ndarray) -> None:
        """Forgets all kept rows. offsets: the positions of the first rows of the shards that have rows."""
        self.kept = Kept(self.stored.shape[1], threshold, self.device)
        self.turn, self.turns = int(np.searchsorted(offsets, self.offset)), len(offsets)

    def keep(self, units: np.ndarray, first: int) -> None:
        """Adds its share of the rows that are kept next, the first of which is the kept row number `first`."""
        mine = np.arange(first, first + len(units)) % self.turns == self.turn
        if len(self.stored):
            self.kept.add(torch.from_numpy(units[mine]).to(self.device))

    def blockers(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the first rows among its kept rows that block each of the rows, and their similarities."""
        with full_precision():
            found, cosine = self.kept.blockers(tensor(units).to(self.device), units)
        return np.where(found < 0, -1, found * self.turns + self.turn), cosine

    def within(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `blockers`, by the rows of a block that are kept themselves; the first shard that has rows answers."""
        if self.turn or not len(self.stored):
            return unblocked(0)
        with full_precision():
            return self.kept.blockers_within(tensor(units).to(self.device), units)


def walked(
    ask: Ask,
    size: int | None,
    threshold: float = 0.9,
    *,
    earlier: Filtered | None = None,
    block: int | None = None,
    tell: Tell = silent,
) -> Filtered:
    """The outcome for all shards' rows; otherwise as `repr_filter`."""
    extents = ask("extent")
    count = sum(rows for _, rows in extents)
    block = (BLOCK if len(extents) == 1 else BLOCK_OF_SHARDS) if block is None else block
    room = _checked(count, size, threshold, block)
    start, positions, blocker, similarity = _begun(count, room, threshold, earlier)
    ask("begin", threshold, np.array([offset for offset, rows in extents if rows], np.int64))
    for begin, end in spans(len(positions), TILE):
        ask("keep", unit(at_positions(ask, positions[begin:end])), begin)
    while start < count and len(positions) < room:
        stop = min(start + block, count)
        units = np.concatenate(ask("units", start, stop))
        before, cosine = _best(ask("blockers", units))
        free = np.flatnonzero(before < 0)
        within, cosine_within = (np.concatenate(column) for column in zip(*ask("within", units[free]), strict=True))
        chosen = np.flatnonzero(within < 0)[: room - len(positions)]
        ask("keep", units[free[chosen]], len(positions))

        found = np.where(before < 0, -1, positions[before] if len(positions) else -1)
        found[free], cosine[free] = np.where(within < 0, -1, start + free[within]), cosine_within
        positions = np.concatenate([positions, start + free[chosen]])
        if len(positions) == room:
            stop = int(positions[-1]) + 1
        blocker[start:stop], similarity[start:stop] = found[: stop - start], cosine[: stop - start]
        start = stop
        tell(f"{start:,} rows compared, {len(positions):,} of {room:,} kept", max(start / count, len(positions) / room))
    return Filtered(positions, blocker, similarity, start, float(threshold))


def _best(answers: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest number of a blocker of each row, -1 for none, and the similarity to it."""
    numbers, cosines = (np.stack(column) for column in zip(*answers, strict=True))
    none = np.iinfo(np.int64).max
    first = np.where(numbers < 0, none, numbers).argmin(axis=0)
    row = np.arange(numbers.shape[1])
    return numbers[first, row], cosines[first, row]


@sharded(Ranks, walked)
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
    return walked(here(Ranks(embeddings, device=device)), size, threshold, earlier=earlier, block=block)


def _directed(embeddings: np.ndarray, offset: int) -> np.ndarray:
    """The embeddings as an array; ValueError, with the first bad row, where a row is not finite or is zero."""
    rows = finite_matrix(embeddings, offset, "embeddings")
    zero = ~rows.any(axis=1)
    if zero.any():
        raise ValueError(f"embeddings: row {offset + int(zero.argmax())} is zero and has no direction")
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
    blocker, similarity = unblocked(count)
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
