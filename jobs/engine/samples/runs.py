"""Ids as runs of consecutive numbers: a whole pool is one run, whatever its size."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


def ids_digest(ids: np.ndarray) -> str:
    """Hex SHA-256 of ids in their order."""
    return hashlib.sha256(np.ascontiguousarray(ids, np.int64).tobytes()).hexdigest()


@dataclass(frozen=True)
class Runs:
    """Ascending ids: all numbers from first[i] up to but not including end[i], for each i."""

    first: np.ndarray
    """(runs,) int64."""
    end: np.ndarray
    """(runs,) int64."""

    @classmethod
    def of(cls, ids: np.ndarray) -> "Runs":
        """The runs of these ids, which are ascending."""
        if not len(ids):
            return cls(np.empty(0, np.int64), np.empty(0, np.int64))
        breaks = np.flatnonzero(ids[1:] != ids[:-1] + 1)
        firsts, lasts = ids[np.append(0, breaks + 1)], ids[np.append(breaks, len(ids) - 1)]
        return cls(firsts.astype(np.int64), lasts.astype(np.int64) + 1)

    def __len__(self) -> int:
        return int((self.end - self.first).sum())

    def ids(self) -> np.ndarray:
        """The ids; (n,) int64, ascending."""
        sizes = self.end - self.first
        return np.repeat(self.first - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())

    def at(self, places: np.ndarray) -> np.ndarray:
        """The ids at these positions, which are ascending."""
        ends = np.cumsum(self.end - self.first)
        run = np.searchsorted(ends, places, side="right")
        return self.end[run] - (ends[run] - places)

    def without(self, ids: np.ndarray) -> "Runs":
        """The runs of the other ids; those left out are ascending, and all in these runs."""
        first = np.sort(np.concatenate([self.first, ids + 1]))
        end = np.sort(np.concatenate([self.end, ids]))
        some = first < end
        return Runs(first[some], end[some])

    def after(self, count: int) -> "Runs":
        """These ids without so many of the first ones."""
        left = np.cumsum(self.end - self.first) - count
        some = left > 0
        return Runs(np.maximum(self.first, self.end - left)[some], self.end[some])

    def pieces(self, size: int) -> Iterator["Runs"]:
        """These ids in pieces of this number, the last one of as many as are left."""
        ends = np.cumsum(self.end - self.first)
        for begin in range(0, len(self), size):
            stop = min(begin + size, int(ends[-1]))
            low = int(np.searchsorted(ends, begin, side="right"))
            high = int(np.searchsorted(ends, stop, side="left"))
            first, end = self.first[low : high + 1].copy(), self.end[low : high + 1].copy()
            first[0] = self.end[low] - (ends[low] - begin)
            end[-1] = self.end[high] - (ends[high] - stop)
            yield Runs(first, end)
