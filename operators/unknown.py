"""What of a text a tokenizer does not know, and a model therefore cannot read.

A tokenizer writes one token, the unknown one, for every piece that its vocabulary cannot spell: BERT's for most Chinese
characters, and for a whole clause of Thai. Texts of little else look alike to the model whatever they say, and what it
computes of them are numbers like any other. Byte-level tokenizers spell everything and have no such token, or never
write it.
"""

import math
from collections.abc import Sequence
from typing import Any

from operators.base import RowError

UNREADABLE = "unreadable"
"""The kind of error."""

MOST = 0.3
"""The share of a text that may be unknown."""

CHARACTERS = 4
"""Characters that a token of English has, about."""

EXCERPT = 60
"""Characters of it that the error shows."""


def refuse_unreadable(tokenizer: Any, shown: Sequence[int], *texts: str, limit: int | None = None) -> None:
    """Nothing; RowError where more than MOST of a text is unknown to the tokenizer.

    shown: the tokens of the model's whole input, in which the texts stand; where none of them is unknown, no text is
    looked at. limit: how many tokens of a text are looked at; None for all.
    """
    if tokenizer.unk_token_id is None or tokenizer.unk_token_id not in shown:
        return
    for text in texts:
        share = unknown_share(tokenizer, text, limit)
        if share > MOST:
            excerpt = " ".join(text[: 2 * EXCERPT].split())[:EXCERPT]
            raise RowError(UNREADABLE, f"{share:.0%} of the text is unknown to the model's tokenizer: {excerpt!r}")


def unknown_share(tokenizer: Any, text: str, limit: int | None = None) -> float:
    """The share of a text's tokens that are unknown, special tokens aside; 0 of no tokens.

    An unknown token counts once for every CHARACTERS that it stands for: a clause of Thai is one, and would else be
    next to nothing after an instruction in English. Of a tokenizer that does not say where its tokens stand in the
    text each counts once. limit: as in `refuse_unreadable`.
    """
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        truncation=limit is not None,
        max_length=limit,
        return_offsets_mapping=tokenizer.is_fast,
        verbose=False,
    )
    tokens = encoded["input_ids"]
    if not tokens:
        return 0.0
    if not tokenizer.is_fast:
        return tokens.count(tokenizer.unk_token_id) / len(tokens)
    pieces = _unknown(tokenizer, text, tokens, encoded["offset_mapping"])
    unknown = sum(max(1, math.ceil(_letters(piece) / CHARACTERS)) for piece in pieces)
    return unknown / (len(tokens) - len(pieces) + unknown)


def further_characters(tokenizer: Any, text: str, tokens: Sequence[int]) -> int:
    """How many characters a text's unknown tokens stand for beyond one each, of a tokenizer that says where they are.

    tokens: all of the text's, without special ones.
    """
    if tokenizer.unk_token_id is None or tokenizer.unk_token_id not in tokens:
        return 0
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return sum(max(_letters(piece), 1) - 1 for piece in _unknown(tokenizer, text, tokens, spans))


def _unknown(tokenizer: Any, text: str, tokens: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[str]:
    """The pieces of a text that are unknown; where it spells the unknown token itself, that is known."""
    unknown = tokenizer.unk_token_id
    pieces = [text[start:end] for token, (start, end) in zip(tokens, spans, strict=True) if token == unknown]
    return [piece for piece in pieces if piece != tokenizer.unk_token]


def _letters(text: str) -> int:
    """How many characters are no blanks."""
    return sum(map(len, text.split()))
