"""The part of a text that is unknown to a tokenizer, and that a model therefore cannot read.

A tokenizer writes the unknown token for each piece that its vocabulary cannot spell: BERT's for most Chinese
characters, and for a whole clause of Thai. Texts that are mostly unknown look alike to the model, yet it computes
ordinary numbers for them. Byte-level tokenizers can spell every text and never write such a token.
"""

import math
from collections.abc import Sequence
from typing import Any

from operators.base import RowError

UNREADABLE = "unreadable"
"""The kind of error."""

MOST = 0.3
"""The maximum share of a text that may be unknown."""

CHARACTERS = 4
"""The approximate number of characters of a token in English."""

EXCERPT = 60
"""The number of characters of the text in the error."""


def refuse_unreadable(tokenizer: Any, shown: Sequence[int], *texts: str, limit: int | None = None) -> None:
    """Raises RowError where more than MOST of a text is unknown to the tokenizer.

    shown: the tokens of the model's whole input, which contains the texts; where none is unknown, the texts are not
    tokenized. limit: the number of tokens of a text to look at; None for all.
    """
    if tokenizer.unk_token_id is None or tokenizer.unk_token_id not in shown:
        return
    for text in texts:
        share = unknown_share(tokenizer, text, limit)
        if share > MOST:
            excerpt = " ".join(text[: 2 * EXCERPT].split())[:EXCERPT]
            raise RowError(UNREADABLE, f"{share:.0%} of the text is unknown to the model's tokenizer: {excerpt!r}")


def unknown_share(tokenizer: Any, text: str, limit: int | None = None) -> float:
    """The share of unknown tokens in a text, without special tokens; 0 for a text without tokens.

    An unknown token counts once per CHARACTERS characters that it stands for. A clause of Thai is one token, and would
    otherwise count next to nothing after an instruction in English. With a tokenizer that does not give the positions
    of its tokens, each counts once. limit: as in `refuse_unreadable`.
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
    """The number of characters of the unknown tokens of a text, less one per token.

    tokenizer: one that gives the positions of its tokens. tokens: of the text, without special tokens.
    """
    if tokenizer.unk_token_id is None or tokenizer.unk_token_id not in tokens:
        return 0
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return sum(max(_letters(piece), 1) - 1 for piece in _unknown(tokenizer, text, tokens, spans))


def _unknown(tokenizer: Any, text: str, tokens: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[str]:
    """The unknown pieces of a text; the literal text of the unknown token is not one of them."""
    unknown = tokenizer.unk_token_id
    pieces = [text[start:end] for token, (start, end) in zip(tokens, spans, strict=True) if token == unknown]
    return [piece for piece in pieces if piece != tokenizer.unk_token]


def _letters(text: str) -> int:
    """The number of characters that are not blanks."""
    return sum(map(len, text.split()))
