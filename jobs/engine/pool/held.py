"""Ascending ids in little memory: consecutive ones as two numbers, many as one bit each, and few as an array."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable
from weakref import WeakValueDictionary, ref

import numpy as np

BLOCK = 1 << 16
"""Ids that are in memory as numbers at a time."""
WORD = 64
SPARSE = 32
"""Of how many numbers one is an id, on the average, where an array is as small as a bit and a count for each number."""
_IN_USE: WeakValueDictionary[tuple[int, int], np.ndarray] = WeakValueDictionary()
"""The arrays of consecutive ids that something uses now, by the first id and the one after the last."""


@runtime_checkable
class Held(Protocol):
    """Some ids, ascending."""

    def __len__(self) -> int:
        """How many ids there are."""
        ...

    def ids(self) -> np.ndarray:
        """All of them, (n,) int64, which cannot be written to; the same array as long as somebody uses it."""
        ...

    def at(self, places: np.ndarray) -> np.ndarray:
        """The ids at these positions, in their order."""
        ...

    def find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The positions of some numbers, (m,) int64, and which of them are ids, (m,) bool."""
        ...

    def blocks(self) -> Iterator[np.ndarray]:
        """All ids, at most BLOCK at a time."""
        ...

    def below(self, number: int) -> int:
        """How many ids are below a number."""
        ...

    def where(self, mask: np.ndarray) -> "Held":
        """The ids where a mask over all of them is True."""
        ...


@dataclass(frozen=True)
class Run:
    """Consecutive ids."""

    first: int
    end: int
    """The one after the last."""

    def __len__(self) -> int:
        return self.end - self.first

    def ids(self) -> np.ndarray:
        """As of `Held`, as are all methods here."""
        found = _IN_USE.get((self.first, self.end))
        if found is None:
            found = np.arange(self.first, self.end)
            found.flags.writeable = False
            _IN_USE[self.first, self.end] = found
        return found

    def at(self, places: np.ndarray) -> np.ndarray:
        return places + self.first

    def find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return ids - self.first, (ids >= self.first) & (ids < self.end)

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(self.first, self.end, BLOCK):
            yield np.arange(start, min(start + BLOCK, self.end))

    def below(self, number: int) -> int:
        return min(max(number, self.first), self.end) - self.first

    def where(self, mask: np.ndarray) -> Held:
        return marked(self.first, mask)


@dataclass(frozen=True, eq=False)
class Bits:
    """Ids as one bit for each number from the first one on."""

    first: int
    words: np.ndarray
    """(w,) uint64; the bits of a word from the lowest on."""
    before: np.ndarray = field(init=False)
    """The number of ids before each word, and of all; (w + 1,) int64."""
    made: list[Any] = field(init=False, repr=False)
    """A weak reference to the array of all ids, once it was asked for."""

    def __post_init__(self) -> None:
        before = np.zeros(len(self.words) + 1, np.int64)
        np.cumsum(np.bitwise_count(self.words), out=before[1:])
        vars(self).update(before=before, made=[])

    def __reduce__(self) -> tuple[Any, ...]:
        return Bits, (self.first, self.words)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bits):
            return NotImplemented
        return self is other or (self.first == other.first and np.array_equal(self.words, other.words))

    def __len__(self) -> int:
        return int(self.before[-1])

    def ids(self) -> np.ndarray:
        """As of `Held`, as are all methods here."""
        found = self.made[0]() if self.made else None
        if found is None:
            found, begin = np.empty(len(self), np.int64), 0
            for block in self.blocks():
                found[begin : begin + len(block)] = block
                begin += len(block)
            found.flags.writeable = False
            self.made[:] = [ref(found)]
        return found

    def at(self, places: np.ndarray) -> np.ndarray:
        word = np.searchsorted(self.before, places, side="right") - 1
        bits, left, found = self.words[word], places - self.before[word], self.first + word * WORD
        for half in (32, 16, 8, 4, 2, 1):
            lower = np.bitwise_count(bits & np.uint64((1 << half) - 1)).astype(np.int64)
            above = left >= lower  # it is in the upper half of the bits that are left
            left -= np.where(above, lower, 0)
            found += np.where(above, half, 0)
            bits = np.where(above, bits >> np.uint64(half), bits)
        return found

    def find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offset = ids - self.first
        inside = (offset >= 0) & (offset < len(self.words) * WORD)
        word, bit = np.divmod(np.where(inside, offset, 0), WORD)
        bits, bit = self.words[word], bit.astype(np.uint64)
        below = np.bitwise_count(bits & ((np.uint64(1) << bit) - np.uint64(1)))
        return self.before[word] + below, inside & ((bits >> bit) & np.uint64(1)).astype(bool)

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.words), BLOCK // WORD):
            bits = np.unpackbits(self.words[start : start + BLOCK // WORD].view(np.uint8), bitorder="little")
            if len(found := np.flatnonzero(bits)):
                yield found + (self.first + start * WORD)

    def below(self, number: int) -> int:
        if not self.first < number < self.first + len(self.words) * WORD:
            return 0 if number <= self.first else len(self)
        return int(self.find(np.array([number]))[0][0])

    def where(self, mask: np.ndarray) -> Held:
        marks, begin = np.zeros(len(self.words) * WORD, bool), 0
        for block in self.blocks():
            marks[block[mask[begin : begin + len(block)]] - self.first] = True
            begin += len(block)
        return marked(self.first, marks)


@dataclass(frozen=True, eq=False)
class Listed:
    """Ids as an array."""

    array: np.ndarray
    """(n,) int64."""

    def __post_init__(self) -> None:
        own = self.array.view()
        own.flags.writeable = False
        vars(self).update(array=own)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Listed):
            return NotImplemented
        return self is other or np.array_equal(self.array, other.array)

    def __len__(self) -> int:
        return len(self.array)

    def ids(self) -> np.ndarray:
        """As of `Held`, as are all methods here."""
        return self.array

    def at(self, places: np.ndarray) -> np.ndarray:
        return self.array[places]

    def find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(self.array):
            return np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
        places = np.minimum(np.searchsorted(self.array, ids), len(self.array) - 1)
        return places, self.array[places] == ids

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.array), BLOCK):
            yield self.array[start : start + BLOCK]

    def below(self, number: int) -> int:
        return int(np.searchsorted(self.array, number))

    def where(self, mask: np.ndarray) -> Held:
        return held(self.array[mask])


def held(ids: np.ndarray) -> Held:
    """Ascending ids, (n,) int64, in as little memory as they need."""
    if not len(ids):
        return Listed(ids)
    first, span = int(ids[0]), int(ids[-1]) - int(ids[0]) + 1
    if span == len(ids):
        return Run(first, first + span)
    if span >= SPARSE * len(ids):
        return Listed(ids)
    marks = np.zeros(span, bool)
    for start in range(0, len(ids), BLOCK):
        marks[ids[start : start + BLOCK] - first] = True
    return _bits(first, marks)


def marked(first: int, marks: np.ndarray) -> Held:
    """The ids where a mask over the numbers from `first` on is True."""
    count = int(np.count_nonzero(marks))
    begin, end = (int(marks.argmax()), len(marks) - int(marks[::-1].argmax())) if count else (0, 0)
    if count and end - begin == count:
        return Run(first + begin, first + end)
    if end - begin >= SPARSE * count:
        return Listed(np.flatnonzero(marks) + first)
    return _bits(first + begin, marks[begin:end])


def _bits(first: int, marks: np.ndarray) -> Bits:
    words = np.zeros(-(-len(marks) // WORD), np.uint64)
    packed = np.packbits(marks, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return Bits(first, words)


def between(ids: Held, start: int, stop: int) -> Held:
    """The ids from `start` to before `stop`, less `start`."""
    return held(ids.at(np.arange(ids.below(start), ids.below(stop))) - start)
