"""Sets of hashes of 16 bytes that are sorted and searched in time that grows with their number, and not faster.

Hashes are evenly spread, so their first bits say where they stand. To sort them, they are dealt by these bits into lots
that fit into a cache; to find one, a table says where the hashes with its first bits begin, of which there are few.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

SHA = np.dtype("S16")
LOT = 8192
"""About the hashes that are sorted at a time."""
EACH = 2
"""About the hashes with the same entry in the table."""


def hashes(shas: pa.ChunkedArray) -> np.ndarray:
    """Hashes of 16 bytes, none of them null, as an array; (n,) S16."""
    joined = shas.combine_chunks()
    if not len(joined):
        return np.empty(0, SHA)
    return np.frombuffer(joined.buffers()[1], SHA)[joined.offset : joined.offset + len(joined)]


def halves(shas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last 8 bytes of hashes as numbers in the order of the bytes; (n,) uint64 each."""
    both = np.ascontiguousarray(shas).view(">u8").reshape(-1, 2)
    return both[:, 0].astype(np.uint64), both[:, 1].astype(np.uint64)


def joined(first: np.ndarray, last: np.ndarray) -> bytes:
    """The hashes with these halves, one after another."""
    return np.stack([first, last], axis=1).astype(">u8").tobytes()


def ascending(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The positions of hashes in ascending order, equal ones in ascending position, and their halves in that order."""
    begin = (first >> np.uint64(48)).astype(np.uint16)
    order = np.argsort(begin, kind="stable")  # a radix sort, as it is of 16 bits
    first, last = first[order], last[order]
    ends = np.cumsum(np.bincount(begin, minlength=1 << 16))
    start = 0
    while start < len(order):
        stop = int(ends[min(np.searchsorted(ends, start + LOT), len(ends) - 1)])
        here = slice(start, stop)
        inner = np.lexsort((last[here], first[here]))
        for each in (order, first, last):
            each[here] = each[here][inner]
        start = stop
    return order, first, last


@dataclass(frozen=True)
class Hashes:
    """Different hashes, ascending, to be searched."""

    first: np.ndarray
    last: np.ndarray
    """The halves; (n,) uint64 each."""
    shift: np.uint64
    table: np.ndarray
    """Where the hashes begin whose first bits are a number, and the end; int64."""

    @classmethod
    def of(cls, first: np.ndarray, last: np.ndarray) -> "Hashes":
        """The set of hashes with these halves, which are ascending and different."""
        bits = max(1, int(np.log2(max(2, len(first) // EACH))))
        shift = np.uint64(64 - bits)
        sizes = np.bincount((first >> shift).astype(np.int64), minlength=1 << bits)
        return cls(first, last, shift, np.concatenate([[0], np.cumsum(sizes)]))

    def positions(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """(m,) int64 positions of hashes here, -1 for those that are not; fastest where they are ascending."""
        begin = (first >> self.shift).astype(np.int64)
        place, end = self.table[begin], self.table[begin + 1]
        found = np.full(len(first), -1)
        open_ = np.flatnonzero(place < end)
        while len(open_):
            at = place[open_]
            equal = (self.first[at] == first[open_]) & (self.last[at] == last[open_])
            found[open_[equal]] = at[equal]
            place[open_] += 1
            open_ = open_[~equal & (self.first[at] <= first[open_]) & (at + 1 < end[open_])]
        return found
