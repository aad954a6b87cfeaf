"""What models that judge a text share: the text fitted into the model's window, and its logits.

On a CPU every text is computed by itself, so that its numbers are bitwise the same whatever texts are with it. It
costs nothing: 48 texts of 50 to 150 tokens took 19.6 s so and 20.3 s padded to passes of 1,024 tokens (30 layers,
576 wide, one thread). On a GPU texts of like length are padded, masked and computed together, and the last bits may
differ between batches.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from operators.embedding.embed import cut
from operators.models.by_length import batches, pass_tokens

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


@dataclass(frozen=True)
class Passes:
    """The forward passes of a model over inputs of any lengths.

    side "left" is for a causal language model, whose logits at the last token are taken; "right" for a model that
    gives one row of logits a text. `padding` is the token that fills up, `budget` the most tokens of a pass.
    """

    model: Any
    side: Literal["left", "right"]
    padding: int
    budget: int

    def logits(self, rows: Sequence[Tokens], columns: Sequence[int]) -> np.ndarray:
        """The logits of these columns for every row, in the rows' order: (rows, columns) float32."""
        found = np.empty((len(rows), len(columns)), np.float32)
        lengths = [len(row["input_ids"]) for row in rows]
        with torch.inference_mode():
            for group in batches(lengths, self.budget):
                found[group] = self._computed([rows[at] for at in group])[:, columns].float().cpu().numpy()
        return found

    def _computed(self, rows: Sequence[Tokens]) -> Tensor:
        """One forward pass: (rows, all logits)."""
        inputs: dict[str, Any] = {name: self._padded([row[name] for row in rows], 0) for name in rows[0]}
        inputs["input_ids"] = self._padded([row["input_ids"] for row in rows], self.padding)
        mask = self._padded([[1] * len(row["input_ids"]) for row in rows], 0)
        inputs["attention_mask"] = mask
        if self.side == "left":
            inputs |= {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": 1}
        # A tokenizer may give segments to a model that has none; a model without positions takes none.
        known = inspect.signature(self.model.forward).parameters
        logits = self.model(**{name: value for name, value in inputs.items() if name in known}).logits
        return logits[:, -1] if self.side == "left" else logits

    def _padded(self, rows: Sequence[Sequence[int]], filling: int) -> Tensor:
        longest = max(map(len, rows))
        fills = [[filling] * (longest - len(row)) for row in rows]
        pairs = zip(fills, rows, strict=True)
        padded = [[*fill, *row] if self.side == "left" else [*row, *fill] for fill, row in pairs]
        return torch.tensor(padded, device=next(self.model.parameters()).device)


def causal_passes(model: Any) -> Passes:
    """The passes of a causal language model; what fills up is masked, so any token will do."""
    return Passes(model, "left", padding=0, budget=pass_tokens(model))


def classifier_passes(model: Any) -> Passes:
    """The passes of a sequence classifier; texts go alone where its configuration has no padding token.

    Classifiers made of causal models find a text's end by that token, and refuse more than one text without.
    """
    padding = model.config.get_text_config().pad_token_id
    return Passes(model, "right", padding=padding or 0, budget=1 if padding is None else pass_tokens(model))
