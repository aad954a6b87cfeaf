"""The highest or lowest of many scores, and scores at a given rank, without sorting all of them.

A score has a key of 64 bits, and keys are in the order of the scores. Shards count the keys by their first 16 bits; the
driver sees which of these the wanted rank falls into, and asks for the next 16 bits of those keys. After four rounds
the key at the rank is known, and only what is above it is sorted. A shard takes a few MB beside its scores.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from operators.kernels.ranking import ranked
from operators.kernels.rows import Positions
from operators.kernels.sharding import Ask, Tell, here, sharded, silent

BLOCK = 1 << 14
"""Scores whose keys are in memory at a time."""
BITS = 16
DIGITS = 64 // BITS
HIGHEST = np.uint64(1 << 63)


class Scores:
    """A shard: some of the scores."""

    def __init__(self, scores: np.ndarray, offset: int = 0):
        self.scores, self.offset = np.asarray(scores), offset

    def kind(self) -> tuple[int, np.dtype]:
        """The number of scores, and their type."""
        return len(self.scores), self.scores.dtype

    def counts(self, sign: int, begin: int, digit: int) -> np.ndarray:
        """(65536,) the number of keys whose first digits are those of `begin`, by their next digit.

        sign: 1, or -1 for the keys of the negated scores. digit: how many digits of `begin` count.
        """
        counts = np.zeros(1 << BITS, np.int64)
        shift = np.uint64(64 - BITS * (digit + 1))
        for _, keys in self._blocks(sign):
            digits = keys >> shift
            if digit:
                digits = digits[digits >> np.uint64(BITS) == begin] & np.uint64((1 << BITS) - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << BITS)
        return counts

    def best(self, sign: int, key: int, ties: int) -> tuple[np.ndarray, np.ndarray]:
        """The positions of all keys above this one and of the first `ties` equal ones, ascending, and these keys."""
        positions, found = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
        for start, keys in self._blocks(sign):
            equal = np.flatnonzero(keys == key)[:ties]
            ties -= len(equal)
            taken = keys > key
            taken[equal] = True
            positions.append(np.flatnonzero(taken) + (self.offset + start))
            found.append(keys[taken])
        return np.concatenate(positions), np.concatenate(found)

    def beside(self, sign: int, key: int) -> tuple[int, int]:
        """The highest key below this one, and the lowest above it; 0 where there is none, or only NaN."""
        below = above = 0
        for _, keys in self._blocks(sign):
            below = max(below, int(keys[keys < key].max(initial=0)))
            higher = keys[keys > key]
            if len(higher):
                above = min(above or int(higher[0]), int(higher.min()))
        return below, above

    def reaching(self, key: int) -> int:
        """The number of keys at or above this one."""
        return sum(int((keys >= key).sum()) for _, keys in self._blocks(1))

    def _blocks(self, sign: int) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(self.scores), BLOCK):
            yield start, keys(self.scores[start : start + BLOCK], sign)


def keys(scores: np.ndarray, sign: int = 1) -> np.ndarray:
    """(n,) uint64 keys in the order of the scores, times the sign; both zeros have one key, and NaN has 0, the lowest.

    >>> np.argsort(keys(np.array([2.0, -np.inf, np.nan, -1.5])))
    array([2, 1, 3, 0])
    """
    numbers = np.asarray(scores, np.float64) * sign + 0.0  # which makes -0.0 to 0.0
    bits = numbers.view(np.uint64)
    found = np.where(bits & HIGHEST, ~bits, bits | HIGHEST)
    found[np.isnan(numbers)] = 0
    return found


def number(key: int) -> float:
    """The score that has a key, or NaN for 0."""
    bits = np.array([key], np.uint64)
    return float(np.where(bits & HIGHEST, bits ^ HIGHEST, ~bits).view(np.float64)[0]) if key else float("nan")


def at_rank(ask: Ask, rank: int, sign: int = 1) -> tuple[int, int]:
    """The key of the score with this rank, from 1, and the number of keys above it; sign: as in `Scores.counts`."""
    key = above = 0
    for digit in range(DIGITS):
        higher = np.cumsum(np.sum(ask("counts", sign, key, digit), axis=0)[::-1])  # of this digit or a higher one
        place = int(np.searchsorted(higher, rank - above))
        above += int(higher[place - 1]) if place else 0
        key = (key << BITS) + len(higher) - 1 - place
    return key, above


def best(ask: Ask, *, count: int, sign: int = 1, tell: Tell = silent) -> Positions:
    """The driver of `highest` and, with sign -1, of `lowest`."""
    count = min(count, sum(rows for rows, _ in ask("kind")))
    if not count:
        return np.empty(0, np.int64)
    key, above = at_rank(ask, count, sign)
    positions, found = map(np.concatenate, zip(*ask("best", sign, key, count - above), strict=True))
    return positions[np.argsort(~found, kind="stable")[:count]]


@sharded(Scores, best)
def highest(scores: np.ndarray, *, count: int) -> Positions:
    """(count,) positions of the highest scores, the highest first; ties in ascending position, NaN last.

    scores: (n,). There are fewer positions where there are fewer scores.

    >>> highest(np.array([1.0, 3.0, np.nan, 3.0]), count=3)
    array([1, 3, 0])
    """
    if 4 * count > len(scores):  # to sort all of them takes less memory then
        return ranked(scores)[:count]
    return best(here(Scores(scores)), count=count)


@sharded(Scores, partial(best, sign=-1))
def lowest(scores: np.ndarray, *, count: int) -> Positions:
    """(count,) positions of the lowest scores, the lowest first; otherwise as `highest`.

    >>> lowest(np.array([1.0, 3.0, np.nan, 3.0]), count=3)
    array([0, 1, 3])
    """
    if 4 * count > len(scores):
        return np.argsort(scores, kind="stable")[:count]  # NaN last, as in `ranked`
    return best(here(Scores(scores)), count=count, sign=-1)
