"""MTLD: how many words of a text it takes, on average, until its vocabulary repeats itself (McCarthy and Jarvis 2010).

The words are walked through once forwards and once backwards. A factor ends where the share of different words among
the words since the last factor has fallen to the threshold. The words at the end count as a part of a factor. The
values are those of the Python package lexicalrichness, whose package index has no wheel.
"""

from collections.abc import Hashable, Iterable, Sequence


def mtld(words: Sequence[Hashable], threshold: float = 0.72) -> float:
    """The number of words per factor, the mean of the two directions; from 1 up, higher is more diverse.

    words: of one text, in order, at least one. threshold: the share of different words at which a factor ends, between
    0 and 1. Where no word is repeated, the value is the number of words. ValueError for no words.

    >>> mtld("the cat sat on the mat and the dog sat on the log".split())
    13.0
    """
    if not words:
        raise ValueError("a text without words has no lexical diversity")
    return (len(words) / _factors(words, threshold) + len(words) / _factors(reversed(words), threshold)) / 2


def _factors(words: Iterable[Hashable], threshold: float) -> float:
    """The number of factors in one direction; 1 where no word is repeated."""
    factors, length, seen, share = 0.0, 0, set(), 1.0
    for word in words:
        length += 1
        seen.add(word)
        share = len(seen) / length
        if share <= threshold:
            factors, length, seen = factors + 1, 0, set()
    if length:
        factors += (1 - share) / (1 - threshold)
    return factors or 1.0
