"""A text fitted into the number of tokens that a model is shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operators.models.cutting import cut

Tokens = Mapping[str, Sequence[int]]
"""One text as the tokenizer returns it: input_ids, and token_type_ids where it has segments."""


@dataclass(frozen=True)
class Window:
    """The part of a text that a model reads; limit: the maximum number of tokens of the whole input, or None."""

    tokenizer: Any
    limit: int | None

    def exceeded(self, tokens: Tokens) -> int:
        """The number of tokens by which the input exceeds the limit; 0 or less where it fits."""
        return 0 if self.limit is None else len(tokens["input_ids"]) - self.limit

    def bounded(self, text: str) -> str:
        """The text, or a beginning of it with more tokens than the limit; a long text is not tokenized whole."""
        return text if self.limit is None else cut(text, self.limit, lambda part: len(self._starts(part)))

    def fitted(self, text: str, inserted: Callable[[str], Tokens]) -> tuple[str, Tokens]:
        """The text, or the beginning of it with which the input fits, and the tokens of that input.

        inserted: a function from a text to the input with it. The input is tokenized again for each beginning that is
        tried, so that the part after the text is whole and the tokens are those of a real input. Where the input is too
        long even without the text, the returned text is empty and `exceeded` of the tokens is positive.
        """
        kept = self.bounded(text)
        tokens = inserted(kept)
        while kept and (excess := self.exceeded(tokens)) > 0:
            starts = self._starts(kept)
            end = starts[-excess] if excess <= len(starts) else 0
            kept = kept[: min(end, len(kept) - 1)]
            tokens = inserted(kept)
        return kept, tokens

    def _starts(self, text: str) -> list[int]:
        """The position of the first character of each token of the text."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [start for start, _ in encoded["offset_mapping"]]
