"""A text fitted into the number of tokens that a model is shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operators.models.cutting import cut

Tokens = Mapping[str, Sequence[int]]
"""One text as the tokenizer gives it: input_ids, and token_type_ids where it has segments."""


@dataclass(frozen=True)
class Window:
    """How much of a text a model is shown: `limit` tokens of the whole input, None for all of it."""

    tokenizer: Any
    limit: int | None

    def exceeded(self, tokens: Tokens) -> int:
        """How many tokens too long the input is; 0 or less where it fits."""
        return 0 if self.limit is None else len(tokens["input_ids"]) - self.limit

    def bounded(self, text: str) -> str:
        """The text, or a beginning that has more tokens than fit, for a text not worth tokenizing to its end."""
        return text if self.limit is None else cut(text, self.limit, lambda part: len(self._starts(part)))

    def fitted(self, text: str, inserted: Callable[[str], Tokens]) -> tuple[str, Tokens]:
        """The text, or a beginning of it, with which the input fits, and that input; inserted: the input with a text.

        The input is tokenized anew for each beginning that is tried, so that what stands after the text is
        whole and its tokens are those of a real input. Where it is too long even without the text, the text
        is empty and `exceeded` says so.
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
        """The character that each token of the text begins in."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [start for start, _ in encoded["offset_mapping"]]
