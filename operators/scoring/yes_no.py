"""How much more an encoder-decoder says yes than no to its inputs, from the first step of its decoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from operators.base import RowError
from operators.models.by_length import Budget
from operators.models.memory import body_budget
from operators.scoring.label_head import predict_only


def answer_ids(tokenizer: Any) -> tuple[int, int]:
    """The first tokens of "Yes" and of "No"; ValueError where they are the same or unknown."""
    yes, no = (tokenizer(word, add_special_tokens=False)["input_ids"][:1] for word in ("Yes", "No"))
    if not yes or not no or yes == no or tokenizer.unk_token_id in (*yes, *no):
        raise ValueError(f"{tokenizer.name_or_path} cannot tell Yes from No by the first token")
    return yes[0], no[0]


@dataclass
class YesNo:
    """A model that answers inputs of any lengths; those of similar length are computed together on a GPU."""

    model: Any
    answers: tuple[int, int]
    """The logits of yes and no: their tokens, or, of a model that is not float32, the two that are left."""
    budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        head = self.model.get_output_embeddings()
        if head.weight.dtype != torch.float32:
            predict_only(self.model, self.answers)
            self.answers = (0, 1)
        self.budget = body_budget(self.model)

    def shares(self, rows: Sequence[Sequence[int]]) -> list[float | RowError]:
        """P(yes) / (P(yes) + P(no)) of each input; the error out_of_memory where an input alone is too large."""
        with torch.inference_mode():
            return self.budget.attempted(
                [len(row) for row in rows], lambda group: self._computed([rows[at] for at in group]).tolist()
            )

    def _computed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """The shares of one forward pass, (rows,) float64."""
        device = next(self.model.parameters()).device
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self.model.config.pad_token_id] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        first = torch.full((len(rows), 1), self.model.config.decoder_start_token_id)
        logits = self.model(
            input_ids=ids.to(device), attention_mask=mask.to(device), decoder_input_ids=first.to(device)
        ).logits[:, 0, list(self.answers)]
        # The other tokens of the vocabulary cancel out of the ratio of the two probabilities.
        return logits.double().softmax(1)[:, 0]
