"""Any model on a GPU: texts are padded and masked, and vectors may differ in the last bits between batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from operators.embedding.pooling import Pooling, Tokens
from operators.models.by_length import batches
from operators.models.memory import body_budget

Products = Literal["float32", "tf32", "bfloat16"]
"""What matrix products are computed in; tf32: float32 of which a GPU multiplies the first 11 of 24 bits."""


class Padded:
    """Texts of similar length together, padded on the right and masked."""

    def __init__(self, model: Any, padding: int, products: Products = "float32"):
        self.model = model
        self.padding = padding
        self.products: Products = products
        self.groups = batches
        self.budget = body_budget(model)

    def pooled(self, rows: Sequence[Tokens], pooling: Pooling) -> Tensor:
        """The vectors of texts of any lengths."""
        device = next(self.model.parameters()).device
        longest = max(map(len, rows))
        padded = torch.tensor([[*row, *[self.padding] * (longest - len(row))] for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(longest) < lengths[:, None]
        tokens, mask, lengths = (_sent(tensor, device) for tensor in (padded, mask, lengths))
        with multiplied(self.products, device):
            states = self.model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        if pooling == "cls":
            return states[:, 0].float()
        if pooling == "last":
            return states[torch.arange(len(rows), device=device), lengths - 1].float()
        return (states.float() * mask[:, :, None]).sum(1) / lengths[:, None]


def narrow(model: nn.Module) -> None:
    """Rounds the weights of the linear layers to bfloat16, for `multiplied`; embeddings and norms stay float32.

    Over short texts the smallest cosine of MiniLM to float32 is then 0.99996, and 0.99986 with all in bfloat16.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.to(torch.bfloat16)


@contextmanager
def multiplied(products: Products, device: torch.device) -> Iterator[None]:
    """A context in which matrix products, and attention, are computed in this precision."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32" if products == "tf32" else before
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=products == "bfloat16"):
            yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; a copy to a GPU is asynchronous."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
