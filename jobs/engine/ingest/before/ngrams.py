"""The n-grams of texts in any script: of words where a script has spaces, of characters where it has none.

Case, punctuation and the forms of a character (full-width letters, for instance) make no difference.
"""

import hashlib
import re
import sys
import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np

from operators.scripts import BLOCKS
from operators.words import NOT_SEGMENTED, SEGMENTED

MOST_HASHES = 1 << 20
PRIME = np.uint64(0x9E3779B97F4A7C15)


def units(text: str) -> list[str]:
    """Returns the words of a text, and its characters where it is in a script without spaces; emoji are characters.

    >>> units("The CAT’s 2 dogs. 我喜欢ＧＰＴ！ 👍🏽"), units("किताबें अच्छी हैं।")
    (['the', 'cat', 's', '2', 'dogs', '我', '喜', '欢', 'gpt', '👍'], ['किताबें', 'अच्छी', 'हैं'])
    """
    return _pattern().findall(unicodedata.normalize("NFKC", text).casefold())


@cache
def _pattern() -> re.Pattern[str]:
    """A character of a script without spaces or a pictograph; or letters, digits and marks of other scripts."""
    ends = [start for start, _ in BLOCKS[1:]] + [sys.maxunicode + 1]
    blocks = [(start, end, name) for (start, name), end in zip(BLOCKS, ends, strict=True)]
    alone = "".join(
        f"{chr(start)}-{chr(end - 1)}" for start, end, name in blocks if name in SEGMENTED or name in NOT_SEGMENTED
    )
    pictographs = "\u2600-\u27bf\U0001f000-\U0001f3fa\U0001f400-\U0001faff"  # without the tones of skin
    marks = "".join(chr(point) for point in range(0x300, 0xFE30) if unicodedata.category(chr(point))[0] == "M")
    spaced = f"(?![{alone}])[^\\W_]"
    return re.compile(f"(?:{spaced}|(?![{alone}])[{marks}])+|[{pictographs}]|(?=[^\\W_])[{alone}][{marks}]*")


class _Hashes(dict[str, int]):
    """The hash of each unit, computed once."""

    def __missing__(self, unit: str) -> int:
        if len(self) >= MOST_HASHES:
            self.clear()
        found = hashlib.blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return self.setdefault(unit, int.from_bytes(found, "little"))


class Grams(NamedTuple):
    """The n-grams of a text."""

    units: list[str]
    hashes: np.ndarray
    """uint64, one for each place at which an n-gram begins; empty for a text of fewer units."""


class Hashing:
    """Hashes the n-grams of texts."""

    def __init__(self, n: int):
        self.n, self.known = n, _Hashes()

    def grams(self, text: str) -> Grams:
        """Returns the n-grams of a text."""
        found = units(text)
        count = len(found) - self.n + 1
        if count < 1:
            return Grams(found, np.empty(0, np.uint64))
        each = np.fromiter(map(self.known.__getitem__, found), np.uint64, len(found))
        hashes = np.zeros(count, np.uint64)
        for place in range(self.n):
            hashes = hashes * PRIME + each[place : place + count]
        return Grams(found, hashes ^ (hashes >> np.uint64(29)))
