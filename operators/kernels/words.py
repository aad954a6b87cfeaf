"""Columns of a few different words, such as labels: which there are, and each as a number."""

from collections.abc import Sequence

import numpy as np

from operators.kernels.sharding import Ask, Tell, by_row, here, sharded, silent


class Words:
    """A shard of the words, of which it keeps the different ones."""

    condensed = True

    def __init__(self, words: np.ndarray, offset: int = 0):
        self.words = frozenset(words)

    def different(self) -> frozenset[str]:
        """The different words."""
        return self.words


def union(ask: Ask, *, tell: Tell = silent) -> list[str]:
    """The driver of `different`."""
    return sorted(frozenset().union(*ask("different")))


@sharded(Words, union)
def different(words: np.ndarray) -> list[str]:
    """The different words of (n,) strings, sorted.

    >>> different(np.array(["b", "a", "b"], object))
    ['a', 'b']
    """
    return union(here(Words(words)))


@by_row
def numbered(words: np.ndarray, *, names: Sequence[str]) -> np.ndarray:
    """(n,) int32, the position in `names` of each of (n,) strings, -1 for others.

    >>> numbered(np.array(["b", "a", "c"], object), names=["a", "b"])
    array([ 1,  0, -1], dtype=int32)
    """
    places = {name: place for place, name in enumerate(names)}
    return np.fromiter((places.get(word, -1) for word in words), np.int32, len(words))
