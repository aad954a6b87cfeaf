"""A model whose logits are those of a few labels only, in float32: a language model, or a classifier of one label.

In bfloat16 a logit between 8 and 32 has steps of 0.06 to 0.125, and a score would have such steps as well. The numbers
of the hidden state are rounded too, but the errors of thousands of them nearly cancel in a sum.
"""

from collections.abc import Sequence
from typing import Any

import torch
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


def predict_in_float32(model: Any) -> None:
    """Replaces the last layer of a classifier with one logit, so that the logit is float32; not of a float32 model.

    The last layer is the linear one with a single output; without one, or with several, the model stays as it is.
    """
    last = [
        (name, each) for name, each in model.named_modules() if isinstance(each, nn.Linear) and each.out_features == 1
    ]
    if len(last) == 1 and last[0][1].weight.dtype != torch.float32:
        name, head = last[0]
        model.set_submodule(name, LabelHead(head, [0]))
