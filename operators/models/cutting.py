"""A long text cut before it is tokenized, so that its first tokens stay the same."""

from collections.abc import Callable

CHARACTERS = 16
"""Characters per token of the first piece of a text that is tried; most languages and tokenizers need 1 to 6."""

DOUBLINGS = 6
"""The maximum number of times that this piece is doubled, to 1,024 characters per token."""


def cut(text: str, limit: int, counted: Callable[[str], int]) -> str:
    """The text, or a beginning of it that has the same first `limit` tokens.

    counted: a function that returns the number of tokens of a text.

    Tokenizing 10 MB for the sake of 256 tokens takes seconds and gigabytes. The beginning is twice as long as a piece
    that already has `limit` tokens. Its end is therefore at least CHARACTERS * limit characters away from the last
    token that counts. The tokens can differ from those of the whole text in two cases only. One is a tokenizer with a
    word (a piece between blanks, or between CJK characters) that is longer than this distance. The other is a text
    whose first `limit` tokens need more than 1,024 characters per token, which are runs of blanks or words too long
    for the vocabulary; the result then has 2,048 characters per token.
    """
    piece = CHARACTERS * limit
    for _ in range(DOUBLINGS):
        if len(text) <= 2 * piece or counted(text[:piece]) >= limit:
            break
        piece *= 2
    return text[: 2 * piece]
