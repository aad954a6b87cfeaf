"""A language model whose logits are those of a few labels only, in float32.

In bfloat16 a logit between 8 and 32 has steps of 0.06 to 0.125, and a score would have such steps as well. The numbers
of the hidden state are rounded too, but the errors of thousands of them nearly cancel in a sum.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from operators.models.forward import language_head


class LabelHead(nn.Module):
    """The rows of a head that belong to some tokens, in float32."""

    def __init__(self, head: nn.Linear, tokens: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(head.weight.detach()[list(tokens)].float(), requires_grad=False)
        self.bias = None
        if head.bias is not None:
            self.bias = nn.Parameter(head.bias.detach()[list(tokens)].float(), requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        """The logits of hidden states, (..., tokens) float32."""
        return nn.functional.linear(states.float(), self.weight, self.bias)


def predict_only(model: Any, tokens: Sequence[int]) -> None:
    """Replaces the head of the model, so that its logits are those of these tokens, (..., tokens) float32.

    What the model does with its logits, such as a cap or a factor, it does with these. ValueError where the head is not
    a linear layer.
    """
    head = language_head(model)
    if not isinstance(head, nn.Linear):
        raise ValueError(f"{type(model).__name__} has a {type(head).__name__} for a head, not a linear layer")
    model.set_output_embeddings(LabelHead(head, tokens))
