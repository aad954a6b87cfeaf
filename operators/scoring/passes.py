"""The logits of texts; on a CPU those of a text are bitwise the same whatever texts are in its batch.

On a CPU each text is computed by itself. This costs nothing: 48 texts of 50 to 150 tokens took 19.6 s, and
20.3 s when padded to passes of 1,024 tokens (30 layers, 576 wide, one thread). On a GPU texts of similar length are
padded, masked and computed together, and the last bits may differ between batches.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from operators.base import RowError
from operators.models.by_length import Budget
from operators.models.memory import forward_budget
from operators.scoring.label_head import predict_in_float32, predict_only
from operators.scoring.windows import Tokens


@dataclass
class Passes:
    """The forward passes of a model over inputs of any lengths.

    side: of the padding; "left" for a causal language model, whose logits at the last token are returned, "right" for
    a model with one row of logits per text. padding: the id of the token that fills rows up. budget: the tokens of a
    pass.
    """

    model: Any
    side: Literal["left", "right"]
    padding: int
    budget: Budget

    def logits(self, rows: Sequence[Tokens]) -> list[np.ndarray | RowError]:
        """The logits of each row, (logits,) float32; the error out_of_memory where a row alone is too large."""
        with torch.inference_mode():
            return self.budget.attempted(
                [len(row["input_ids"]) for row in rows],
                lambda group: self._computed([rows[at] for at in group]).float().cpu().numpy(),
            )

    def _computed(self, rows: Sequence[Tokens]) -> Tensor:
        """The logits of one forward pass, (rows, all logits)."""
        inputs: dict[str, Any] = {name: self._padded([row[name] for row in rows], 0) for name in rows[0]}
        inputs["input_ids"] = self._padded([row["input_ids"] for row in rows], self.padding)
        mask = self._padded([[1] * len(row["input_ids"]) for row in rows], 0)
        inputs["attention_mask"] = mask
        if self.side == "left":
            inputs |= {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": 1}
        # A tokenizer may return segments for a model without them; some models take no positions.
        known = inspect.signature(self.model.forward).parameters
        logits = self.model(**{name: value for name, value in inputs.items() if name in known}).logits
        return logits[:, -1] if self.side == "left" else logits

    def _padded(self, rows: Sequence[Sequence[int]], filling: int) -> Tensor:
        longest = max(map(len, rows))
        fills = [[filling] * (longest - len(row)) for row in rows]
        pairs = zip(fills, rows, strict=True)
        padded = [[*fill, *row] if self.side == "left" else [*row, *fill] for fill, row in pairs]
        return torch.tensor(padded, device=next(self.model.parameters()).device)


def label_passes(model: Any, tokens: Sequence[int]) -> Passes:
    """The passes of a causal language model, from now on with the logits of these tokens only, in this order.

    The padding is masked, so any token serves. ValueError where the head is not a linear layer.
    """
    predict_only(model, tokens)
    return Passes(model, "left", padding=0, budget=forward_budget(model))


def classifier_passes(model: Any) -> Passes:
    """The passes of a sequence classifier, from now on with float32 logits.

    Each text is a pass by itself where the model has no padding token.

    Classifiers made of causal models find the end of a text by that token, and refuse more than one text without it.
    """
    predict_in_float32(model)
    padding = model.config.get_text_config().pad_token_id
    return Passes(model, "right", padding=padding or 0, budget=Budget(1) if padding is None else forward_budget(model))
