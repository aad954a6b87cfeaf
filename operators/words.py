"""The words of a text in any script; a text that is written without spaces is segmented by ICU's dictionaries.

Between spaces the words are those of the package lexicalrichness, on which published values of lexical diversity rest:
lower case, without digits and dashes, and with the punctuation of ASCII as a border between words.
"""

import re
import string
from collections.abc import Iterator

from operators.base import RowError
from operators.scripts import letters_by_script

DIGITS = re.compile(r"[0-9]+")
WITHOUT_DASHES = str.maketrans("", "", "–—-")
PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))

SEGMENTED = frozenset({"Han", "Kana", "Thai", "Lao", "Khmer", "Myanmar"})
"""The scripts without spaces between words for which ICU has a dictionary."""

NOT_SEGMENTED = frozenset({"Tibetan", "other"})
"""The scripts of which some or all are written without spaces, and for which ICU has none."""

MOST = 0.3
"""The maximum share of letters in a script that cannot be segmented."""


def words(text: str) -> list[str]:
    """The words of a text, in order, in lower case; empty where it has none.

    RowError (no_words) where more than MOST of its letters belong to scripts whose words no library here can tell
    apart: the text would count as a few words, each as long as a sentence.

    >>> words("The cat, the 2 dogs!"), words("我喜欢GPT，你呢？")
    (['the', 'cat', 'the', 'dogs'], ['我', '喜欢', 'gpt', '你', '呢'])
    """
    letters = letters_by_script(text)
    unknown = sum(letters[name] for name in NOT_SEGMENTED)
    if unknown > MOST * letters.total():
        raise RowError("no_words", "the text is in a script whose words are not separated and not in a dictionary")
    pieces = DIGITS.sub("", text.lower()).translate(WITHOUT_DASHES).translate(PUNCTUATION).split()
    if letters.keys().isdisjoint(SEGMENTED):
        return pieces
    return [word for piece in pieces for word in _segmented(piece)]


def _segmented(piece: str) -> Iterator[str]:
    """The words of a piece between spaces, one by one, without its punctuation."""
    if letters_by_script(piece).keys().isdisjoint(SEGMENTED):
        yield piece
        return
    from icu4py.breakers import WordBreaker

    for start, end in WordBreaker(piece, "root").segments():
        word = piece[start:end]
        if any(character.isalnum() for character in word):
            yield word
